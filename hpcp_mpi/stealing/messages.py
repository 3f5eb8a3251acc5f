"""What ranks tell each other. Small, frozen, and all there is.

worker -> planner   Hello, Done, GaveBack, Broken
planner -> worker   Begin, Grant, GiveBack, Leave
"""

from dataclasses import dataclass
from typing import Any

from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch, Chunk


@dataclass(frozen=True, slots=True)
class Begin:
    """The job: what a worker needs to do chunks. The operation knows what is in it."""

    job: Any


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
class Done:
    """Chunks that are finished, each with its outcome.

    None when all the news is that a slot has nothing to do, or what a bite of an unfinished chunk found.
    """

    results: tuple[tuple[int, Outcome], ...]
    unstarted: float  # seconds of a slot that nobody has started yet, as rank 0 said
    latest: int  # the number of the last chunk that had come: a later one is on its way, and not in unstarted
    hungry: bool  # a slot has nothing to do
    more: tuple[Batch, ...] = ()  # work that was found, for anyone to do
    news: tuple[Any, ...] = ()  # for rank 0's side of the operation


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Others are idle: return half of what you have not started."""


@dataclass(frozen=True, slots=True)
class GaveBack:
    """What a worker returns: by chunk number, the batches it will not do. Empty when all is started."""

    parts: tuple[tuple[int, tuple[Batch, ...]], ...]
    unstarted: float
    latest: int  # as in Done
    hungry: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker cannot go on; the run ends with this message. code: the exit code."""

    message: str
    code: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The run is over. report: for the callers of the Python API."""

    report: Any = None
    stop: bool = False  # at once: end what is running


Message = Begin | Hello | Grant | Done | GiveBack | GaveBack | Broken | Leave
