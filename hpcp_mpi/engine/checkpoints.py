"""Checkpoints: a run is written down while it goes, so that it can be looked at, and resumed.

The ledger is the file; what is in it comes from here. A run whose ledger cannot be written continues without one.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hpcp_mpi.vocab.checkpoint import AGAIN, UNDER_WAY, Checkpoint, RankState, Relist, ResumeState, Sample
from hpcp_mpi.vocab.errors import EXIT_OK, Failure, FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import RankShare, Report
from hpcp_mpi.vocab.tally import NOTHING, Tally

EVERY = 5.0  # seconds between checkpoints, in the long run
_FIRST = 1.0  # before the first one, and at least between the next ones
_SHARE = 0.5  # of a short run that may have passed since the last one: else five seconds would be all it has done


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a job at one moment."""

    phase: str
    scanned: Tally
    scan_done: bool
    outcome: Outcome  # of what ranks did so far
    listed: Outcome  # what rank 0 could not list, what it noted, and what it saw to be identical
    chunks: int
    steals: int
    messages: int
    active: int  # ranks that have work
    alive: int
    ranks: Sequence[tuple[RankShare, int, Tally]]  # how many chunks each is granted, and about what it did of them
    under_way: Tally = NOTHING  # about how much is copied of what is in no outcome

    @property
    def tallies(self) -> dict[str, Tally]:
        """The counts, by their names in a ledger."""
        outcome = self.outcome
        return {
            "found": self.scanned,
            "copied": outcome.copied,
            "updated": outcome.updated,
            "identical": outcome.skipped.plus(self.listed.skipped),
            "removed": outcome.removed,
            "verified": outcome.verified,
        }


class Ledger(Protocol):
    """A ledger that is written."""

    path: bytes

    def checkpoint(self, cp: Checkpoint) -> None: ...
    def end(self, cp: Checkpoint | None, exit_code: int) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CopyState:
    """The state of a copy that the next run resumes."""

    todo: tuple[Relist, ...] = ()
    records: Mapping[str, bytes] = field(default_factory=dict)  # that came since the last time
    packed: bytes = b""  # empty: another run looks at everything again
    tallies: Mapping[str, Tally] = field(default_factory=dict)  # of the job, instead of those of the snapshot


class _Recorded:
    """How many failures and notes of a job are written down."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, int]] = {}
        self._losses: set[str] = set()  # kinds

    def new(self, *outcomes: Outcome) -> tuple[list[Failure], list[tuple[bytes, str]]]:
        """Return what came since the last call. Others may be adding to it."""
        failures: list[Failure] = []
        notes: list[tuple[bytes, str]] = []
        for index, outcome in enumerate(outcomes):
            first, second = self._counts.get(index, (0, 0))
            some, others = outcome.failures[first:], outcome.notes[second:]
            self._counts[index] = first + len(some), second + len(others)
            failures += some
            notes += others
            for kind, loss in list(outcome.losses.items()):
                if kind not in self._losses:
                    self._losses.add(kind)
                    notes.append((loss.path, loss.note))  # how many there are is known at the end
        return failures, notes


class CheckpointWriter:
    """The writer of checkpoints, on rank 0. saved: what an earlier run left, for the first operation that takes it."""

    def __init__(self, ledger: Ledger, saved: ResumeState | None, say: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._saved = saved
        self._before = dict(saved.latest.tallies) if saved is not None else {}
        self._before.pop(UNDER_WAY, None)
        again = self._before.pop(AGAIN, NOTHING)
        if again:
            self._before["found"] = self._before.get("found", NOTHING).minus(again)
        self._copied = self._before.get("copied", NOTHING)
        self._restarted = False  # everything is looked at again, and found identical if it was copied before
        self._linked = saved.latest.linked if saved is not None else 0
        self._seconds = saved.latest.seconds if saved is not None else 0.0
        self._say = say
        self._began = time.monotonic()
        self._next = self._began + _FIRST
        self._recorded = _Recorded()  # of the job at hand
        self._tallies: dict[str, Tally] = {}  # of the job at hand
        self._past: dict[str, Tally] = {}  # what the jobs before it did
        self._broken = ""
        self._restart = False  # the next checkpoint is the first of a run that looks at everything

    def resume_state(self) -> ResumeState | None:
        """Return what an earlier run left, once."""
        saved, self._saved = self._saved, None
        return saved

    def restart(self, saved: ResumeState) -> None:
        """Record that everything is looked at again. saved: what the earlier run left, of which nothing is used"""
        self._restart = self._restarted = True
        for name in ("found", "updated", "identical"):
            self._before.pop(name, None)
        if saved.complete and saved.exit_code == EXIT_OK:  # else this run resumes that one's work
            self._before, self._copied, self._linked = {}, NOTHING, 0

    @property
    def copied_before(self) -> Tally:
        """The entries that earlier runs copied."""
        return self._copied

    def add_before(self, report: Report) -> None:
        """Add to the report of a run that looked at everything again what earlier runs copied."""
        if self._restarted:
            skipped = report.outcome.skipped
            report.scanned, report.outcome.skipped = _with_copied(report.scanned, skipped, self._copied)
            report.before = self._copied

    @property
    def broken(self) -> str:
        """Why nothing is written any more; empty: it is."""
        return self._broken

    @property
    def path(self) -> bytes:
        return self._ledger.path

    def next_job(self) -> None:
        """Record that what comes now is another job of the same run, and counts from nothing."""
        for name, tally in self._tallies.items():
            self._past[name] = self._past.get(name, NOTHING).plus(tally)
        self._tallies, self._recorded = {}, _Recorded()

    def due(self) -> bool:
        """Return whether a checkpoint is to be written now. Called very often."""
        return not self._broken and time.monotonic() >= self._next

    def write(self, snapshot: Snapshot, state: CopyState) -> None:
        """Write a checkpoint."""
        now = time.monotonic()
        self._next = now + min(EVERY, max(_FIRST, _SHARE * (now - self._began)))
        if self._broken:
            return
        try:
            self._ledger.checkpoint(self._checkpoint(snapshot, state))
        except FatalError as error:
            self._break_off(error)

    def end(self, exit_code: int) -> None:
        """Record that the run came to its end."""
        if self._broken:
            self._ledger.close()
            return
        try:
            self._ledger.end(None, exit_code)
        except FatalError as error:
            self._break_off(error)

    def close(self) -> None:
        """End writing: the run breaks down."""
        self._ledger.close()

    def _break_off(self, error: FatalError) -> None:
        self._broken = f"{error.message}; the run continues without it and cannot be resumed"
        self._say(f"hpcp-mpi: {self._broken}")

    def _checkpoint(self, snapshot: Snapshot, state: CopyState) -> Checkpoint:
        seconds = self._seconds + time.monotonic() - self._began
        self._tallies = {**snapshot.tallies, **state.tallies}
        tallies = {
            name: tally.plus(self._before.get(name, NOTHING)).plus(self._past.get(name, NOTHING))
            for name, tally in self._tallies.items()
        }
        if self._restarted:
            tallies["found"], tallies["identical"] = _with_copied(tallies["found"], tallies["identical"], self._copied)
        failures, notes = self._recorded.new(snapshot.listed, snapshot.outcome)
        tallies[UNDER_WAY] = snapshot.under_way
        copied = tallies["copied"].plus(snapshot.under_way)
        restart, self._restart = self._restart, False
        return Checkpoint(
            phase=snapshot.phase,
            seconds=seconds,
            tallies=tallies,
            linked=self._linked + snapshot.outcome.linked,
            scan_done=snapshot.scan_done,
            chunks=snapshot.chunks,
            steals=snapshot.steals,
            messages=snapshot.messages,
            ranks=tuple(_state(*rank) for rank in snapshot.ranks),
            todo=state.todo,
            sample=Sample(seconds, copied.files, copied.bytes, snapshot.active, snapshot.alive),
            state=state.packed,
            records=state.records,
            failures=tuple(failures),
            notes=tuple(notes),
            restart=restart,
        )


def _with_copied(found: Tally, identical: Tally, copied: Tally) -> tuple[Tally, Tally]:
    """Return what was found and is identical, if what earlier runs copied is counted as copied.

    What of it is not identical is not found any more, as it was moved, or not yet.
    """
    there = copied.common(identical)
    return found.plus(copied).minus(there), identical.minus(there)


def _state(share: RankShare, granted: int, under_way: Tally) -> RankState:
    return RankState(
        rank=share.rank,
        node=share.node,
        slots=share.slots,
        state="lost" if share.lost else "working",
        files=share.copied.files,
        bytes=share.copied.bytes + under_way.bytes,
        chunks=share.chunks,
        granted=granted,
        stolen=share.stolen,
        busy=share.seconds,
    )


def remembered_failures(saved: ResumeState) -> Iterable[tuple[bytes, bool]]:
    """Return the paths of entries that failed in earlier runs and have to be tried again, and whether what is below
    was found.
    """
    return [(failure.path, not failure.reason.startswith("cannot list")) for failure in saved.latest.failures]
