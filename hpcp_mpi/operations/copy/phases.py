"""The phases of a copy, on rank 0: scan and copy, separate hard links, verify, link, mirror, settle directories."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from hpcp_mpi.cluster.feed import Feed, Stream
from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.checkpoints import CopyState
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.operation import Operation
from hpcp_mpi.host.entries import identity
from hpcp_mpi.operations.copy.big_files.rank0 import WithRanges
from hpcp_mpi.operations.copy.big_files.rules import Holes
from hpcp_mpi.operations.copy.totals import Totals
from hpcp_mpi.operations.scan.deferred import leading_batches, link_batches, separation_batches, settle_batches
from hpcp_mpi.operations.scan.records import (
    CONTENT_CHANGED,
    DirectoryMetadata,
    LinkedName,
    SharedName,
    directory_metadata,
    trusted,
)
from hpcp_mpi.rules.landing import counterpart_of
from hpcp_mpi.vocab.errors import EXIT_OK, Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome, first_of_each
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.progress import InRanges
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, Tally, left_of
from hpcp_mpi.vocab.units import Batch, Kind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hpcp_mpi.operations.copy.resume import ResumeRecorder, StartedFiles
    from hpcp_mpi.operations.prepare.copy_job import Prepared
    from hpcp_mpi.operations.prepare.preflight import Preflight
    from hpcp_mpi.operations.prepare.space_watch import SpaceWatch
    from hpcp_mpi.operations.scan.copy_scan import CopyScan, ScanMaker
    from hpcp_mpi.operations.verify.rank0 import Verification
    from hpcp_mpi.vocab.checkpoint import Relist, ResumeState

COPYING = "copying"
COMPARING = "comparing"  # a dry run moves no content
_MOST_TOUCHED = 10_000  # directories that are remembered before they are put aside


class _Copy(Operation):
    """One copy from scan to report, on rank 0."""

    def __init__(self, wire: Wire, prepared: "Prepared", frontend: Frontend, scan: "ScanMaker | None") -> None:
        from hpcp_mpi.operations.scan.rank0 import Scan

        self._memory: ResumeRecorder | None = None
        saved = frontend.checkpoints.resume_state() if frontend.checkpoints is not None else None
        started: StartedFiles = []
        if saved is not None:
            prepared, started = _with_started(prepared, saved)
        self._prepared = prepared
        self._started = started  # big files that an earlier run began
        self._feed: WithRanges | None = None
        self._before = 0  # bytes of ranges that an earlier run copied
        self._holes = Holes()  # of big files of feeds before that one
        self._coordinator = coordinator = Coordinator(wire, prepared.job, frontend, self)
        self._scan: CopyScan = (scan or Scan)(
            coordinator.context, prepared.landings, prepared.made_root, wire.wake, lambda: coordinator.supply
        )
        self._totals = Totals({})  # with those of earlier runs that this one resumes
        self._verification = _verification(coordinator)
        if saved is not None and not saved.complete:
            coordinator.wait_for_earlier_runs()
        self._todo = self._recall(saved) if frontend.checkpoints is not None else None
        if frontend.checkpoints is not None and saved is not None and self._todo is None:
            frontend.checkpoints.restart(saved)
        self._space: SpaceWatch | None = None
        self.report = Report()
        self._stopped = EXIT_OK

    def run(self) -> None:
        """Do everything. Raises StoppedEarly, FatalError."""
        options = self._prepared.job.options
        if not options.compare:
            self._space = self._preflight().check()
        self._coordinator.begin()
        if self._prepared.made_root:
            with self._coordinator.context.dest.handle(b"") as root:
                self._coordinator.outcome.made.append((b"", identity(root)))
        self._scan.start(self._todo)
        try:
            with self._marked():
                phase = COMPARING if options.dry_run else COPYING
                self._coordinator.drive_scan(phase, self._scan, self._wrapped, self._scan.relists)
            self._space = None  # there is no more to come
            waiting = self._scan.waiting
            outcome = self._coordinator.outcome
            outcome.skipped = outcome.skipped.minus(waiting.tear_apart())
            shared = map(SharedName._make, waiting.shared)
            self._drive(
                "separating hard links", Stream(self._uncounted(separation_batches(shared, options.split_size)))
            )
            self._verify()  # before other names are given to what is not good
            self._link()
            self._verify()  # what could not be linked and was copied
            if options.mirror and not options.compare:
                self._mirror()
            self._note_touched()
            self._settle(map(DirectoryMetadata._make, waiting.settled))
        finally:
            self._scan.end()

    def _uncounted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches of what was counted as identical and is copied after all."""
        for batch in batches:
            outcome = self._coordinator.outcome
            outcome.skipped = outcome.skipped.minus(batch.units.tally)
            yield batch

    def _repeated(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches of what an earlier run may have found, and done."""
        for batch in batches:
            self._totals.repeated = self._totals.repeated.plus(batch.units.tally)
            yield batch

    def _marked(self) -> "AbstractContextManager[None]":
        """Mark the destination while sources are listed that are to go: one of them may show it."""
        options = self._prepared.job.options
        if not options.move or options.dry_run:
            return nullcontext()
        from hpcp_mpi.operations.prepare.same_tree import marked

        return marked(self._coordinator.context)

    def _link(self) -> None:
        """Give files their other names."""
        linked = self._scan.waiting.linked
        if self._scan.builder.links.partial:
            self._drive("linking", Stream(self._repeated(leading_batches(map(LinkedName._make, linked)))))
        self._drive("linking", Stream(self._repeated(link_batches(map(LinkedName._make, linked)))))

    def _mirror(self) -> None:
        """Remove what the sources do not have."""
        from hpcp_mpi.operations.mirror.rank0 import Mirror

        mirror = Mirror(self._coordinator, self._scan.waiting)
        self._scan.count()
        mirror.run(self._totals.found(self._scan.numbers), len(self._failures()), self._drive)
        self._stopped = mirror.stopped
        self._verify()

    def _failures(self) -> list[Failure]:
        """Return what failed so far, one failure a path."""
        return list(first_of_each([*self._scan.outcome.failures, *self._coordinator.outcome.failures]))

    def _drive(self, phase: str, feed: Feed) -> None:
        self._coordinator.drive(phase, self._wrapped(feed))

    def _wrapped(self, feed: Feed) -> Feed:
        """Return feed with what follows from it."""
        started, self._started = self._started, []
        self._holes = self._all_holes()
        self._feed = with_ranges = WithRanges(feed, self._prepared.job.options.split_size, started)
        self._before += with_ranges.before
        return with_ranges if self._verification is None else self._verification.recorded(with_ranges)

    def _recall(self, saved: "ResumeState | None") -> "list[Relist] | None":
        """Begin to record the state that another run resumes; return the directories that an earlier one left."""
        from hpcp_mpi.operations.copy.resume import ResumeRecorder, left_to_do, reading_records

        scan = self._scan.resumable
        if scan is None or self._prepared.job.options.move:  # what a move removes is found by looking at everything
            return None
        self._memory = memory = ResumeRecorder(self._coordinator, scan, self._prepared.landings)
        if self._verification is not None:
            self._verification.take_new()
        todo = left_to_do(saved, self._prepared.landings, self._prepared.job) if saved is not None else None
        if todo is None or saved is None:
            return None
        with reading_records():
            memory.restore(saved)
            if self._verification is not None:
                self._verification.restore(saved.records)
        self._totals = Totals(saved.latest.tallies)
        self._coordinator.frontend.say(
            f"hpcp-mpi: resumes {saved.runs:,} earlier run{'s' if saved.runs > 1 else ''}: "
            f"{saved.latest.tallies['copied'].entries:,} entries copied before, "
            f"{len(todo):,} {'directory' if len(todo) == 1 else 'directories'} to scan again"
        )
        return todo

    def _verify(self) -> None:
        if self._verification is not None:
            self._verification.run(self._drive)

    def _settle(self, records: Iterator[DirectoryMetadata]) -> None:
        """Settle directories, deepest first."""
        if os.geteuid() == 0:
            self._drive("setting directory metadata", Stream(self._repeated(settle_batches(records))))
            return
        # Who is not root may lock themselves out of what lies below: level by level.
        for _, level in groupby(records, key=lambda record: record.height):
            self._drive("setting directory metadata", Stream(self._repeated(settle_batches(level))))

    def fail(self, error: OSError) -> None:
        """Record why rank 0 cannot continue: what was not started stays undone."""
        name = error.filename
        path = os.fsencode(name) if isinstance(name, str | bytes) else self._prepared.job.destination
        self._coordinator.outcome.failures.append(Failure(path, f"rank 0 cannot continue: {reason_of(error)}"))
        self.report.broken_off = True

    def end(self, stopped: int = 0) -> Report:
        """Return the report. stopped: the exit code of an early end."""
        report, scan = self.report, self._scan
        self._coordinator.write_down()
        self._coordinator.fill(report)
        outcome = scan.outcome
        outcome.skipped = NOTHING  # counted below
        outcome.add(self._coordinator.outcome)  # in this order: what the scan could not read explains what failed later
        outcome.failures = list(first_of_each(outcome.failures))
        outcome.note_losses()
        outcome.copied = left_of(outcome.copied)  # a file that was verified may have grown since it was counted
        report.sources = [landing.argument for landing in self._prepared.landings]
        report.destination = self._prepared.job.destination
        report.dry_run = self._prepared.job.options.dry_run
        report.abilities = {report.destination: self._prepared.job.abilities}
        above = counterpart_of(self._prepared.landings, [root.path for root in self._prepared.job.sources])
        report.counterparts = None if above is None else (above, report.destination)
        report.outcome = outcome
        scan.count()
        self._totals.fill(report, scan.numbers)
        report.scan_seconds, report.listed_by_all = scan.seconds, scan.shared_since
        report.stopped = stopped or self._stopped
        return report

    def _note_touched(self) -> None:
        """Record the existing directories that were written to and have a counterpart in the source."""
        outcome = self._coordinator.outcome
        touched, outcome.touched = outcome.touched, set()
        made, outcome.made = outcome.made, []
        if self._prepared.job.options.directory_sync:
            landings = self._prepared.landings
            self._scan.waiting.settled.add(
                directory_metadata(*each, CONTENT_CHANGED) for each in touched if landings[each[0]].name is None
            )
            self._scan.waiting.settled.add(trusted(*each) for each in made)

    def _preflight(self) -> "Preflight":
        from hpcp_mpi.operations.prepare.preflight import Preflight

        def say(path: bytes, note: str) -> None:
            self._coordinator.outcome.warn(path, note)
            self._coordinator.frontend.say(f"{printable(path)}: {note}")

        return Preflight(self._coordinator.context, say)

    # --- what the coordinator asks

    def scanned(self) -> Tally:
        return self._scan.builder.scanned

    def scan_done(self) -> bool:
        return self._scan.done

    def in_ranges(self) -> InRanges:
        copied = self._feed.copied if self._feed is not None else 0
        return InRanges(copied, self._before, *self._all_holes())

    def _all_holes(self) -> Holes:
        return self._holes if self._feed is None else self._holes.plus(self._feed.holes)

    def listed(self) -> Outcome:
        self._scan.outcome.skipped = self._scan.builder.skipped
        return self._scan.outcome

    @property
    def remembers(self) -> bool:
        return self._memory is not None

    def remember(self) -> CopyState:
        if self._memory is None:
            return CopyState()
        self._note_touched()
        state = self._memory.state(self._feed, self._totals)
        new = {} if self._verification is None else self._verification.take_new()
        return replace(state, records={**state.records, **new})

    def forget(self) -> None:
        if self._memory is not None:
            self._memory.forget()
            self._memory = None
        if self._verification is not None:
            self._verification.forget_new()

    def tick(self) -> None:
        if self._space is not None:
            waiting = partial(self._coordinator.planner.waiting, (Kind.COPY, Kind.RANGE))
            found, copied = self._scan.builder.scanned, self._coordinator.outcome.copied
            found = found._replace(bytes=found.bytes - self._scan.builder.holes)
            copied = copied._replace(bytes=max(0, copied.bytes - self._all_holes().passed))
            self._space.look(found, copied, waiting, self._scan.done)
        outcome = self._coordinator.outcome
        if max(len(outcome.touched), len(outcome.made)) > _MOST_TOUCHED:
            self._note_touched()


def _with_started(prepared: "Prepared", saved: "ResumeState") -> "tuple[Prepared, StartedFiles]":
    """Return prepared with the big files that an earlier run started, and those."""
    from hpcp_mpi.engine.context import JobContext
    from hpcp_mpi.host.commands import Commands
    from hpcp_mpi.operations.copy.resume import stages_of, started_before

    context = JobContext(prepared.job, Commands(), 0)
    started = started_before(saved, context)
    context.release()
    context.stages.close()
    # After the copying, no rank lists directories: what a killed run left in them is found when they are settled. It
    # may have come further than its ledger says.
    options = prepared.job.options
    sizes = [finish.big.size for finish, _ in started if finish.big is not None]
    if sizes and not 0 < options.split_size <= min(sizes):
        # The run before split smaller files: they have to be known as what they are wherever they are found.
        options = replace(options, split_size=min(sizes))
    job = replace(prepared.job, options=options, adopted=stages_of(started), resumed=True)
    return replace(prepared, job=job), started


def _verification(coordinator: Coordinator) -> "Verification | None":
    if not coordinator.job.options.verify or coordinator.job.options.dry_run:
        return None
    from hpcp_mpi.operations.verify.rank0 import Verification

    return Verification(coordinator)


def run_copy(wire: Wire, prepared: "Prepared", frontend: Frontend, scan: "ScanMaker | None" = None) -> Report:
    """Do what is prepared, with all workers of the wire. scan: makes another scan than that of all landings.

    Raises FatalError. A signal ends it early: the report's exit code says so.
    """
    run = _Copy(wire, prepared, frontend, scan)
    try:
        run.run()
    except StoppedEarly as early:
        return run.end(early.code)
    except OSError as error:
        run.fail(error)
    return run.end()
