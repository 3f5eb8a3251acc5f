"""The verb: copy, as rank 0 leads it."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from hpcp_mpi.cluster.run import Feed, Lead, StoppedEarly, Stream
from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.cluster.wire import Wire
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.host.system import allow_open_files
from hpcp_mpi.operations.big_files import WithRanges
from hpcp_mpi.operations.sorted_items import SortedItems
from hpcp_mpi.operations.workplace import Workplace
from hpcp_mpi.plan.backlog import Backlog
from hpcp_mpi.plan.ending import link_batches, parting_batches, settle_batches
from hpcp_mpi.plan.listed import TOUCHED, LinkedName, Settling, SharedName, settling
from hpcp_mpi.plan.weights import Weights
from hpcp_mpi.stealing.planner import Planner
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.options import CopyOptions
from hpcp_mpi.vocab.report import Outcome, Report
from hpcp_mpi.vocab.tally import Tally

if TYPE_CHECKING:
    from hpcp_mpi.operations.preparing import Prepared

_MOST_TOUCHED = 10_000  # directories that are remembered before they are put aside


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is."""

    phase: str  # copying, linking, settling
    scanned: Tally
    scan_done: bool
    outcome: Outcome
    active: int  # ranks that have work
    ranks: int  # that work
    seconds: float


class Watcher(Protocol):
    """Who shows how far a run is."""

    def due(self) -> bool:
        """Tell whether show() is to be called now. Called very often."""

    def show(self, status: Status) -> None: ...


class Unwatched:
    """Nobody is told."""

    def due(self) -> bool:
        return False

    def show(self, status: Status) -> None:
        """Nothing to show."""


class _Run:
    """Rank 0's: one copy from scan to report."""

    def __init__(
        self, wire: Wire, prepared: "Prepared", stop: StopRequest, watcher: Watcher, items: SortedItems | None
    ) -> None:
        from hpcp_mpi.operations.scanning import Scan

        allow_open_files()
        options = prepared.job.options
        self._prepared = prepared
        self._watcher = watcher
        self._items = items
        self._workers = wire.size - 1
        weights = Weights(options.chunk_seconds, options.chunk_files, options.chunk_size)
        self._backlog = Backlog(weights)
        self._planner = Planner(self._backlog, weights, options.chunk_seconds, options.single)
        self._lead = Lead(wire, self._planner, lambda: self._backlog.memory, stop, self._watch)
        place = Workplace(prepared.job, Commands(), wire.rank)
        self._scan = Scan(place, prepared.landings, prepared.made_root, wire.wake, lambda: self._planner.slots)
        self._phase = "copying"
        self._began = time.monotonic()
        self.report = Report()

    def run(self) -> None:
        """Do everything. Raises StoppedEarly, FatalError."""
        options = self._prepared.job.options
        self._lead.begin(self._prepared.job)
        self._scan.start()
        try:
            self._drive(self._scan)
            waiting = self._scan.waiting
            shared = map(SharedName._make, waiting.shared)
            self._drive(Stream(parting_batches(shared, options.split_size)))
            self._phase = "linking"
            self._drive(Stream(link_batches(map(LinkedName._make, waiting.linked))))
            self._phase = "settling"
            self._note_touched()
            self._settle(map(Settling._make, waiting.settled))
        finally:
            self._scan.end()

    def _drive(self, feed: Feed) -> None:
        self._lead.drive(WithRanges(feed, self._prepared.job.options.split_size))

    def _settle(self, records: Iterator[Settling]) -> None:
        """Settle directories, deepest first."""
        if os.geteuid() == 0:
            self._drive(Stream(settle_batches(records)))
            return
        # Whoever is not root may lock themselves out of what lies below: level by level.
        for _, level in groupby(records, key=lambda record: record.height):
            self._drive(Stream(settle_batches(level)))

    def end(self, stopped: int = 0) -> Report:
        """Return the report. stopped: the exit code of an early end."""
        self._watch()
        report, planner, outcome = self.report, self._planner, self._scan.outcome
        outcome.skipped = outcome.skipped.plus(self._scan.gather.skipped)
        outcome.add(planner.outcome)  # in this order: what the scan could not read explains what failed later
        outcome.failures = list(_first_of_each(outcome.failures))
        report.sources = [landing.argument for landing in self._prepared.landings]
        report.destination = self._prepared.job.destination
        report.dry_run = self._prepared.job.options.dry_run
        report.scanned = self._scan.gather.scanned
        report.outcome = outcome
        report.ranks = planner.shares
        report.chunks, report.steals, report.messages = planner.chunks, planner.steals, self._lead.messages
        report.scan_seconds = self._scan.seconds
        report.seconds = time.monotonic() - self._began
        report.stopped = stopped
        return report

    def _note_touched(self) -> None:
        """Note the existing directories that were written to and have a counterpart in the source."""
        touched, self._planner.outcome.touched = self._planner.outcome.touched, set()
        if self._prepared.job.options.directory_sync:
            landings = self._prepared.landings
            self._scan.waiting.settled.add(
                settling(*each, TOUCHED) for each in touched if landings[each[0]].name is None
            )

    def _watch(self) -> None:
        if len(self._planner.outcome.touched) > _MOST_TOUCHED:
            self._note_touched()
        if self._items is not None and self._planner.outcome.items:
            self._items.add(self._planner.outcome.items)
            self._planner.outcome.items = []
        if self._watcher.due():
            self._watcher.show(
                Status(
                    self._phase,
                    self._scan.gather.scanned,
                    self._scan.exhausted,
                    self._planner.outcome,
                    self._planner.active,
                    self._workers,
                    time.monotonic() - self._began,
                )
            )


def _first_of_each(failures: Iterable[Failure]) -> Iterable[Failure]:
    """Yield the first failure of each path: what follows from it is no news."""
    seen: set[bytes] = set()
    for failure in failures:
        if failure.path not in seen:
            seen.add(failure.path)
            yield failure


def lead_copy(
    wire: Wire,
    sources: Iterable[bytes],
    destination: bytes,
    options: CopyOptions,
    stop: StopRequest,
    watcher: Watcher,
    items: SortedItems | None = None,
) -> Report:
    """Copy sources to destination with all workers of the wire; rank 0 calls it, the others follow.

    items: takes what was or would be changed; without it that is in the report.
    Raises FatalError. A signal ends it early: the report's exit code says so.
    """
    # Only rank 0 needs these: what a thousand workers import is a load for the file system.
    from hpcp_mpi.operations.preparing import prepare

    run = _Run(wire, prepare(sources, destination, options), stop, watcher, items)
    try:
        run.run()
    except StoppedEarly as early:
        return run.end(early.code)
    return run.end()
