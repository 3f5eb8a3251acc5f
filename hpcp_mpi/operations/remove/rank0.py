"""Removing, on rank 0: count for the limit, ask, remove; and the removal that mirrors and moves end with."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.itemize import GONE
from hpcp_mpi.engine.operation import Operation
from hpcp_mpi.engine.walk_feed import WalkResult, most_asked
from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.host.entries import first_in
from hpcp_mpi.host.roots import REPLACED, name_of, pin_of
from hpcp_mpi.operations.remove.empty_directory import KEPT
from hpcp_mpi.operations.remove.rules import FinishedUnits, PendingDirectories, RemovalProgress, chain, is_walk
from hpcp_mpi.rules.excludes import UNDOUBTED, in_doubt
from hpcp_mpi.vocab.errors import EXIT_MAX_DELETE, Failure, failure_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import first_few, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally
from hpcp_mpi.vocab.units import Batch, Kind, Units

if TYPE_CHECKING:
    from hpcp_mpi.operations.remove.prepare import Pinned, RemovalJob

_AT_ONCE = 1000  # directories per slot that others are asked for
_TAKEN = 100  # batches that are taken at once of those that are known
_NAMED = 5  # of what a question names


class RemovalFeed:
    """Removes, or counts, what batches name, with all below it. A feed.

    removal = RemovalFeed(coordinator, batches)
    removal.drive("removing")

    found: what was found so far and may go
    """

    def __init__(
        self,
        coordinator: Coordinator,
        batches: Iterable[Batch],
        counting: bool = False,
        marks: Mapping[tuple[int, bytes], bytes] | None = None,
    ) -> None:
        """batches: REMOVE or REMOVE_COPIED, taken one by one; their units are operations.remove.rules.walks or others.

        counting: they are COUNT. marks: which directories of a source root are meant, if it matters: (source, name)
        """
        self._marks = marks or {}
        self._coordinator = coordinator
        self._counting = counting
        self._batches: Iterator[Batch] | None = iter(batches)
        self._stack: list[Batch] = []  # directories that were found; the last found go first
        self._ready: list[Batch] = []  # what needs no walk, and what is at once to be done
        self._asked = 0  # directories that others walk through
        self._held = False
        self._emptying = PendingDirectories()
        self.found: Tally = NOTHING

    @property
    def emptied(self) -> set[int]:
        """The sources of which the root, which was the unit b"" of the directory b"", is empty now."""
        return self._emptying.emptied

    def drive(self, phase: str) -> None:
        """Have all of it done, directories too. phase: what it is called. Raises StoppedEarly, FatalError."""
        self._coordinator.removal = lambda: (self.found, self.done)
        try:
            self._coordinator.drive(phase, self)
        finally:
            self._coordinator.removal = None

    @property
    def done(self) -> bool:
        return not (self._batches or self._stack or self._ready or self._asked)

    def next_batches(self) -> list[Batch]:
        taken, self._ready = self._ready, []
        most = most_asked(self._coordinator.slots, _AT_ONCE)
        while self._asked < most and len(taken) < _TAKEN and not self._held:
            batch = self._next()
            if batch is None:
                break
            if is_walk(batch):
                if len(batch.units) > most - self._asked:
                    batch, rest = batch.split(most - self._asked)
                    self._stack.append(rest)
                self._asked += len(batch.units)
            taken.append(batch)
        return taken

    def _next(self) -> Batch | None:
        if self._stack:
            return self._stack.pop()
        batch = next(self._batches, None) if self._batches is not None else None
        if batch is None:
            self._batches = None
            return None
        self.found = self.found.plus(_named(batch))
        return batch

    def on_findings(self, news: list[WalkResult]) -> None:
        for walked in news:
            self._asked -= walked.done
            for batch in walked.found:
                (self._stack if is_walk(batch) else self._ready).append(batch)
            self.found = self.found.plus(walked.payload.found)
            self._on_progress(walked.payload)

    def _on_progress(self, progress: RemovalProgress) -> None:
        self._emptying.update(progress)
        while self._emptying.due:
            due, self._emptying.due = self._emptying.due, []
            for batch in map(self._marked, due):
                if is_walk(batch):
                    self._stack.append(batch)
                elif self._counting:
                    self._count(batch)
                else:
                    self._ready.append(batch)

    def _marked(self, batch: Batch) -> Batch:
        """Return what is due with the mark of the directory that was named, if it is one of the last."""
        (unit,) = batch.units
        top = unit.name if is_walk(batch) else chain(unit)[-2]
        mark = self._marks.get((batch.source, top)) if not batch.source_dir else None
        return batch if mark is None else batch.with_units(Units.of([unit._replace(dest_name=mark)]))

    def pause(self, held: bool) -> None:
        self._held = held

    def _count(self, batch: Batch) -> None:
        """Count directories that would be empty now."""
        for unit in batch.units:
            directories = chain(unit)
            outcome = self._coordinator.outcome
            outcome.removed = outcome.removed.plus(Tally(directories=len(directories) - 1))
            self._emptying.update(RemovalProgress(finished=[FinishedUnits(batch.source, directories[-1], 1, False)]))


def _named(batch: Batch) -> Tally:
    """Return what a batch's units are, without what is in them, and without the roots."""
    units = batch.units
    if is_walk(batch):
        return Tally(directories=sum(name != b"" for name in units.names))
    each = Tally(files=1) if units.more is None else units.more[0][0]
    return Tally(*(len(units) * count for count in each))


def counted(
    coordinator: Coordinator, batches: Iterable[Batch], marks: Mapping[tuple[int, bytes], bytes] | None = None
) -> Tally:
    """Return how much would go of what COUNT batches name; a root counts only what is in it. marks: see RemovalFeed

    The coordinator's outcome is left as it was: what cannot be removed is a failure when it is tried. Raises
    StoppedEarly, FatalError.
    """
    before, coordinator.planner.outcome = coordinator.planner.outcome, Outcome()
    try:
        RemovalFeed(coordinator, batches, counting=True, marks=marks).drive("counting")
        before.excluding |= coordinator.planner.outcome.excluding
        return coordinator.planner.outcome.removed
    finally:
        coordinator.planner.outcome = before


class _Remove(Operation):
    """One removal from question to report, on rank 0."""

    def __init__(self, wire: Wire, removable: "RemovalJob", frontend: Frontend) -> None:
        self._wire = wire
        self._removable = removable
        self._options = removable.job.options
        self._frontend = frontend
        self._coordinator: Coordinator | None = None
        self._removal: RemovalFeed | None = None
        self._all_tried = False
        self._report = Report(sources=[target.argument for target in removable.targets])
        self._report.dry_run = self._options.dry_run

    def run(self) -> None:
        """Do everything. Raises StoppedEarly, FatalError."""
        removable, limit = self._removable, self._options.max_delete
        if not removable.targets:
            return
        if not self._options.dry_run:
            self._frontend.expect_answer()
            amount = ""
            doubtful = bool(self._options.excludes) and not self._options.unmatched_excludes
            if limit is not None or doubtful:  # what is excluded is known before anything is removed
                count = self._count()
                if limit is not None and count > limit:
                    self._exceeded(count, limit)
                    return
                amount = f" ({count:,} entries)"
            if not self._agreed(f"Remove {_names(removable)}{amount}?", doubtful):
                return
        coordinator = self._begun()
        self._removal = removal = RemovalFeed(coordinator, removable.batches(Kind.REMOVE), marks=removable.marks())
        removal.drive("counting" if self._options.dry_run else "removing")
        for pinned in removable.pinned:
            if pinned.source in removal.emptied:
                self._remove_root(coordinator, pinned)
        self._all_tried = True
        count = coordinator.outcome.removed.entries
        if self._options.dry_run and limit is not None and count > limit:
            self._exceeded(count, limit)

    def _agreed(self, question: str, doubtful: bool) -> bool:
        """Return whether to remove. doubtful: patterns may have matched nothing. Raises StoppedEarly, UsageError."""
        idle = self._begun().unmatched_excludes() if doubtful else []
        if not idle:
            return self._frontend.confirm(question)
        agreed = self._frontend.confirm_doubt(f"{in_doubt(idle)} {question}")
        if agreed is None:
            path = self._removable.targets[0].path
            self._report.outcome.failures.append(Failure(path, f"nothing was removed. {in_doubt(idle)} {UNDOUBTED}"))
        return bool(agreed)

    def scanned(self) -> Tally:
        if self._removal is None:
            return NOTHING
        return self._removal.found.plus(Tally(directories=len(self._removable.pinned)))  # which hold what it finds

    def scan_done(self) -> bool:
        return self._removal is None or self._all_tried

    def _begun(self) -> Coordinator:
        if self._coordinator is None:
            self._coordinator = Coordinator(self._wire, self._removable.job, self._frontend, self)
            self._coordinator.outcome.excluding = self._removable.excluding
            self._coordinator.begin()
        return self._coordinator

    def _count(self) -> int:
        removable = self._removable
        found = counted(self._begun(), removable.batches(Kind.COUNT), removable.marks())
        return found.entries + len(removable.pinned)

    def _exceeded(self, count: int, limit: int) -> None:
        self._report.stopped = EXIT_MAX_DELETE
        note = f"{count:,} entries would be removed, and --max-delete allows {limit:,}"
        self._report.outcome.warn(self._removable.targets[0].path, note)

    def _remove_root(self, coordinator: Coordinator, pinned: "Pinned") -> None:
        """Remove a directory that was emptied, if its name still is its own."""
        target, outcome = pinned.target, coordinator.outcome
        assert target.root is not None
        above = pin_of(target.parent)
        try:
            with name_of(target.root, target.parent):
                if not self._options.dry_run:
                    os.rmdir(target.name, dir_fd=above.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.strerror == REPLACED:
                outcome.failures.append(Failure(target.path, KEPT))
                return
            intruder = first_in(above.fd, target.name) if error.errno == errno.ENOTEMPTY else None
            closed = _why_not_opened(above.fd, target.name) if error.errno == errno.ENOTEMPTY else None
            if closed is not None:
                outcome.failures.append(failure_of(target.path, closed, "cannot open"))
                return
            reason = f"not empty: something was written here meanwhile: {printable(intruder)}" if intruder else ""
            failure = Failure(target.path, reason) if reason else failure_of(target.path, error, "cannot remove")
            outcome.failures.append(failure)
            return
        outcome.removed = outcome.removed.plus(ONE_DIRECTORY)
        if self._options.itemize:
            outcome.items.append((GONE, (self._removable.job.landed[pinned.source] or b"") + b"/", b""))

    def end(self, stopped: int = 0) -> Report:
        """Return the report. stopped: the exit code of an early end."""
        report, coordinator = self._report, self._coordinator
        if coordinator is not None:
            coordinator.fill(report)
            report.outcome.add(coordinator.outcome)
        outcome = report.outcome
        # What could not be removed from a huge directory was tried more than once.
        outcome.failures = list({failure.path: failure for failure in outcome.failures}.values())
        outcome.skipped = outcome.skipped.plus(self._removable.skipped)
        if self._removal is not None:
            report.scanned = self.scanned()
        report.stopped = stopped or report.stopped
        return report


def _why_not_opened(parent: int, name: bytes) -> OSError | None:
    """Return why a directory cannot be opened; None where it can."""
    try:
        os.close(os.open(name, FLAGS, dir_fd=parent))
    except OSError as error:
        return error
    return None


def _names(removable: "RemovalJob") -> str:
    """Return what is to go, in words."""
    targets = removable.targets
    named = first_few([target.argument for target in targets], _NAMED)
    if not any(target.is_directory for target in targets):
        return named
    return f"{named}, with all that is in {'it' if len(targets) == 1 else 'them'}"


def lead_remove(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Remove sources with all workers of the wire; rank 0 calls it, the others follow.

    Raises FatalError. A signal ends it early: the report's exit code says so.
    """
    from hpcp_mpi.operations.remove.prepare import removable

    found = removable(request.sources, request.options)
    run = _Remove(wire, found, frontend)
    try:
        run.run()
    except StoppedEarly as early:
        return run.end(early.code)
    return run.end()
