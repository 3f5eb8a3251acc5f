"""The messages between ranks, all of them: small and frozen.

worker -> rank 0    Hello, Progress, UnderWay, Reclaimed, StopRequested, WorkerFailed
rank 0 -> worker    StartJob, Grant, Reclaim, Drain, Shutdown
both                Heartbeat
"""

from dataclasses import dataclass
from typing import Any

from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Chunk


@dataclass(frozen=True, slots=True)
class StartJob:
    """The job: what a worker needs to do chunks. The operation knows what is in it."""

    job: Any
    heartbeat: float = 0.0  # seconds after which a rank that is silent is taken for lost; 0: as before
    watched: float = 0.0  # seconds between two messages of what is under way; 0: nobody asks


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker is ready, with so many slots."""

    node: str
    slots: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Chunks for a worker's queue."""

    chunks: tuple[Chunk, ...]
    seconds: tuple[float, ...]  # of a slot, that each of them will take on this rank, as far as rank 0 knows


@dataclass(frozen=True, slots=True)
class Progress:
    """Chunks that are finished, each with its outcome.

    None when all the news is that a slot has nothing to do, or what a bite of an unfinished chunk found.
    """

    results: tuple[tuple[int, Outcome], ...]
    unstarted: float  # seconds of a slot that none has started yet, as rank 0 said
    latest: int  # the number of the last chunk that had come: a later one is on its way, and not in unstarted
    wants_work: bool  # a slot has nothing to do
    new_work: tuple[Batch, ...] = ()  # work that was found, for any rank
    findings: tuple[Any, ...] = ()  # for rank 0's side of the operation
    # By chunk that is not finished: what is done of it, and what became of that. Only of kinds that are never looked at
    # again: their `new_work` and `findings` must not come twice, and what they say must not be lost with the rank.
    partly: tuple[tuple[int, tuple[Batch, ...], Outcome], ...] = ()
    under_way: Tally = NOTHING  # as in UnderWay


@dataclass(frozen=True, slots=True)
class UnderWay:
    """About how much is done by now of what no outcome was sent of. It replaces what was said before."""

    tally: Tally


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Others are idle: return half of what you have not started."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What a worker returns: by chunk number, the batches it will not do. Empty when all is started."""

    parts: tuple[tuple[int, tuple[Batch, ...]], ...]
    unstarted: float
    latest: int  # as in Progress
    wants_work: bool
    drained: bool = False  # the answer to Drain


@dataclass(frozen=True, slots=True)
class Drain:
    """The run is to end in good order: return what is not started, but for big files that are only to be finished."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing is new, but the sender lives."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A signal asked this rank to end the run. code: the exit code; urgent: at once."""

    signal: str
    code: int
    patience: float  # seconds that what is begun has to end
    urgent: bool


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """A worker cannot continue; the run ends with this message. code: the exit code."""

    message: str
    code: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The run is over. report: for the callers of the Python API."""

    report: Any = None
    stop: bool = False  # at once: end what is running
    alone: bool = False  # do not wait for others: some of them are lost
    lost: bool = False  # the receiver is taken for lost: what it has begun is others' now


Message = (
    StartJob
    | Hello
    | Grant
    | Progress
    | UnderWay
    | Reclaim
    | Reclaimed
    | Drain
    | Heartbeat
    | StopRequested
    | WorkerFailed
    | Shutdown
)
