"""What a run records while it works, so that it can be looked at, and resumed by another one.

Operations make it and read it, the ledger keeps it; neither knows the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.tally import NOTHING, Tally, left_of

AGAIN = "again"  # the tally of what was found and will be found again by the run that resumes
UNDER_WAY = "under_way"  # the tally of about how much is done of what is not done: it is in no other one


class Relist(NamedTuple):
    """A directory of a source that has to be looked at again: something in it is not known to be done."""

    source: int  # which source root
    source_dir: bytes  # relative to it
    dest_dir: bytes  # its counterpart, relative to the destination root
    recursive: bool  # with all below it; else only its entries that are no directories
    seen: bytes = b""  # if recursive: names of directories in it, each ended by NUL, that need not be looked at
    found: bool = False  # if recursive: all below it was found by the run that is resumed. Not in a ledger


class Sample(NamedTuple):
    """The progress of a run at a time."""

    seconds: float  # since the first run of the ledger began; the time between runs is not counted
    files: int  # copied by then, by all runs
    bytes: int
    active: int  # ranks that had work
    ranks: int  # that were there


@dataclass(frozen=True, slots=True)
class RankState:
    """A worker of the run that writes."""

    rank: int
    node: str
    slots: int
    state: str  # working, lost
    files: int  # copied
    bytes: int
    chunks: int  # done
    granted: int  # and not done
    stolen: int  # chunks that were first granted to another rank
    busy: float  # seconds of its slots


@dataclass(frozen=True, slots=True)
class RunHeading:
    """The heading of a run in its ledger."""

    verb: str
    sources: tuple[bytes, ...]  # absolute
    destination: bytes  # absolute; b"" where there is none
    command: tuple[str, ...]  # as it was called
    fingerprint: str  # equal for command lines that mean the same work
    version: str
    host: str
    pid: int
    job: str = ""  # the batch system's number of it
    started: float = 0.0  # seconds since 1970-01-01 UTC


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a run needs to resume here.

    Lists of what happened (records, failures, notes) are added to those of earlier checkpoints; all else replaces it.
    """

    phase: str
    seconds: float  # that all runs have taken
    tallies: Mapping[str, Tally]  # found, copied, updated, identical, removed, verified; AGAIN, UNDER_WAY
    linked: int  # hard links made
    scan_done: bool
    chunks: int
    steals: int
    messages: int
    ranks: tuple[RankState, ...]
    todo: tuple[Relist, ...]
    sample: Sample
    state: bytes = b""  # what only operations understand
    records: Mapping[str, bytes] = field(default_factory=dict)  # by what they are of: packed records that came since
    failures: tuple[Failure, ...] = ()
    notes: tuple[tuple[bytes, str], ...] = ()
    restart: bool = False  # everything is looked at again: records of earlier runs mean nothing any more

    @property
    def left(self) -> Tally:
        """What was found by then and neither copied nor identical, less the bytes of it that are copied."""
        under_way = Tally(bytes=self.tallies.get(UNDER_WAY, NOTHING).bytes)
        done = (under_way, *(self.tallies.get(name, NOTHING) for name in ("copied", "updated", "identical")))
        return left_of(self.tallies.get("found", NOTHING), *done)


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What a ledger holds for the run that resumes it."""

    runs: int  # that wrote it before
    started: float  # when the first of them began
    latest: Checkpoint  # with all failures and notes, and without records
    records: Mapping[str, Iterable[bytes]]  # the blocks of all checkpoints, in order; read when they are iterated
    complete: bool  # the last run came to its end: exit_code says how
    exit_code: int | None
