"""All ranks at one job: what rank 0 of every operation works with.

coordinator = Coordinator(wire, job, frontend)
coordinator.begin()
coordinator.drive("removing", feed)      # as often as there are phases
coordinator.fill(report)
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from hpcp_mpi.cluster.coordinator_loop import CoordinatorLoop
from hpcp_mpi.cluster.feed import Feed
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.as_one import as_one, shares_as_one
from hpcp_mpi.engine.checkpoints import Snapshot
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.frontend import Frontend, Unwatched
from hpcp_mpi.engine.itemize import take_replaced
from hpcp_mpi.engine.operation import Operation
from hpcp_mpi.engine.progress_meter import Counted, ProgressMeter
from hpcp_mpi.engine.timeline import Timeline
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.host.listing import entries_of
from hpcp_mpi.host.machine import allow_open_files
from hpcp_mpi.host.stage import sweep
from hpcp_mpi.rules.excludes import unmatched
from hpcp_mpi.rules.relisting import least
from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.scheduling.rate_limit import RateLimiter
from hpcp_mpi.scheduling.supply import Supply
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.errors import reason_of
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, Tally, total_of
from hpcp_mpi.vocab.units import Kind


class Lookable(Feed, Protocol):
    """A scan, that can look at directories again."""

    def again(self, todo: Sequence[Relist]) -> None: ...


def _rate_limiter(options: Options) -> RateLimiter | None:
    """Return what limits the rates that options name; None where they are free."""
    if options.dry_run or not (options.rate_bytes or options.rate_files):
        return None
    return RateLimiter(options.rate_bytes, options.rate_files)


class Coordinator:
    """The coordinator of a job, on rank 0: a planner, its backlog, and the loop that drives them."""

    def __init__(self, wire: Wire, job: Job, frontend: Frontend, operation: Operation | None = None) -> None:
        """operation: what this is done for. It is asked nothing before begin()."""
        allow_open_files()
        self._operation = operation or Operation()
        options, job = job.options, replace(job, own=frontend.own)
        self.wire = wire
        self.job = job
        self.frontend = frontend
        self.context = JobContext(job, Commands(), wire.rank)
        self.context.lost |= wire.lost  # in an earlier job
        self.context.pin_roots(wire.rank, wire.node)
        self._costs = costs = CostModel(options.chunk_seconds, options.chunk_files, options.chunk_size)
        self.backlog = Backlog(costs)
        fallible = wire.united or (wire.fallible and options.heartbeat_timeout > 0)
        self.planner = Planner(
            self.backlog,
            costs,
            options.chunk_seconds,
            options.single,
            _rate_limiter(options),
            fallible or frontend.checkpoints is not None,
            wire.stand_in,
        )
        self._loop = CoordinatorLoop(
            wire,
            self.planner,
            lambda: self.backlog.memory,
            frontend.stop,
            self.watch,
            options.heartbeat_timeout,
            self._on_lost,
            frontend.checkpoints is not None or not isinstance(frontend.watcher, Unwatched),
        )
        self._began = time.monotonic()
        self._timeline = Timeline()
        self._meter = ProgressMeter()
        self._failed = (0, NOTHING)  # failures that were looked at, and what was to be done of them
        self.phase = ""
        self.removal: Callable[[], tuple[Tally, bool]] | None = None  # what one has found, and whether that is all
        if frontend.checkpoints is not None:
            frontend.checkpoints.next_job()

    @property
    def outcome(self) -> Outcome:
        """The outcome of the work so far."""
        return self.planner.outcome

    @property
    def excluding(self) -> int:
        """The exclude patterns that matched something so far, on any rank, a bit for each."""
        own = self.context.excluded
        return self.outcome.excluding | (own.matched if own is not None else 0)

    def unmatched_excludes(self) -> list[bytes]:
        """Return the exclude patterns that matched nothing so far, and should."""
        options = self.job.options
        return unmatched(options.all_excludes, len(options.excludes), self.excluding)

    @property
    def supply(self) -> Supply:
        """What ranks have to do."""
        return self.planner.supply

    @property
    def slots(self) -> int:
        """The number of slots of all ranks that have said Hello."""
        return self.planner.slots

    def begin(self) -> None:
        """Give all ranks the job."""
        self._loop.begin(self.job, together=self.job.stored)

    def wait_for_earlier_runs(self) -> None:
        """Wait until no node is shown the destination as it was before a killed run's last changes."""
        seconds = self.job.stale_seconds
        if seconds:
            self.frontend.say(f"hpcp-mpi: waiting up to {seconds:g} s until all nodes see the earlier run's writes")
            self.context.looks.wait_for_earlier_runs()

    def _on_lost(self, rank: int, why: str) -> None:
        self.context.lost.add(rank)
        share = next((share for share in self.planner.shares if share.rank == rank), None)
        where = f"rank {rank}" + (f" on {share.node}" if share is not None and share.node else "")
        self.frontend.warn(f"hpcp-mpi: {where} {why}; its work goes to other ranks")

    def drive_scan(
        self,
        phase: str,
        scan: Lookable,
        wrapped: Callable[[Feed], Feed] = lambda feed: feed,
        relists: bool = False,
    ) -> None:
        """Have all of a scan's work done, also what ranks had that were lost. wrapped: what follows from a feed

        relists: what a lost rank had is found by looking at its directories again; else others do all of it
        """
        self.planner.whole = not relists
        self.drive(phase, wrapped(scan))
        while self.planner.todo:
            todo, self.planner.todo, self.planner.below = self.planner.todo, [], NOTHING
            scan.again(least(todo))
            self.drive(phase, wrapped(scan))
        self.planner.whole = True  # what is copied from now on is in no listing

    def drive(self, phase: str, feed: Feed) -> None:
        """Have all of feed's work done. phase: what it is called. Raises StoppedEarly, FatalError."""
        self.phase = phase
        self._loop.drive(feed)
        self._clear_away()

    def _clear_away(self) -> None:
        """Remove the stages that lost ranks left. Nothing is under way."""
        left, self.planner.left = self.planner.left, set()
        if self.job.options.dry_run:
            return
        for dest_dir in left:
            try:
                with self.context.copied(dest_dir) as directory:
                    for stage in entries_of(directory)[1]:
                        if self.context.own(stage) and not self.context.in_use(stage):
                            sweep(directory, stage, lost=True, over=True)
            except FileNotFoundError:
                continue  # nothing was made there
            except OSError as error:
                path = self.context.dest_path(dest_dir)
                note = f"a lost rank may have left a staging directory in it: {reason_of(error)}"
                self.outcome.warn(path, note)

    def watch(self) -> None:
        """Put items aside, and show how far it is."""
        self._operation.tick()
        outcome = self.planner.outcome
        take_replaced(self.context, outcome)
        if self.frontend.items is not None and outcome.items:
            self.frontend.items.add(outcome.items)
            outcome.items = []
        self._timeline.look(outcome, self._shown(self.planner.active), self._shown(self.planner.alive))
        if self.frontend.checkpoints is not None and self.frontend.checkpoints.due():
            self.write_down()
        if self.frontend.watcher.due():
            self.frontend.watcher.show(self._meter.read(self._counted()))

    def _shown(self, ranks: int) -> int:
        """Return how many ranks its user takes so many for."""
        return min(1, ranks) if self.wire.united else ranks

    def _counted(self) -> Counted:
        outcome, listed = self.planner.outcome, self._operation.listed()
        new = outcome.failures[self._failed[0] :]
        attempted = total_of(failure.attempted for failure in new)
        self._failed = self._failed[0] + len(new), self._failed[1].plus(attempted)
        options = self.job.options
        # What a mirror removes is nothing that its scan found in the sources.
        found = self._operation.scanned(), self._operation.scan_done()
        scanned, scan_done = found if self.removal is None else self.removal()
        return Counted(
            phase=self.phase,
            scanned=scanned,
            scan_done=scan_done,
            outcome=outcome,
            active=self._shown(self.planner.active),
            ranks=self._shown(self.wire.size - 1),
            seconds=time.monotonic() - self._began,
            under_way=self.planner.under_way,
            in_ranges=self._operation.in_ranges(),
            identical=listed.skipped,
            failed=self._failed[1],
            entry_bytes=self._entry_bytes(),
            rates=(options.rate_bytes, options.rate_files),
        )

    def _entry_bytes(self) -> float:
        """Return how many bytes take as long as an entry does, as far as is known."""
        entry, byte = self._costs.costs(Kind.COPY)
        limit = self.job.options.rate_bytes
        return entry * limit / max(1, self.slots) if limit else entry / byte

    def write_down(self) -> None:
        """Write the run down as it is now."""
        checkpoints = self.frontend.checkpoints
        if checkpoints is None:
            return
        if not checkpoints.broken:
            state = self._operation.remember()  # first: it may be older than what is counted, and not newer
            checkpoints.write(self._snapshot(), state)
        if checkpoints.broken and self._operation.remembers:
            self._operation.forget()
            self.outcome.warn(checkpoints.path, checkpoints.broken)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            phase=self.phase,
            scanned=self._operation.scanned(),
            scan_done=self._operation.scan_done(),
            outcome=self.outcome,
            listed=self._operation.listed(),
            chunks=self.planner.chunks,
            steals=self.planner.steals,
            messages=self._loop.messages,
            active=self._shown(self.planner.active),
            alive=self._shown(self.planner.alive),
            ranks=as_one(self.planner.load()) if self.wire.united else self.planner.load(),
            under_way=self._under_way(),
        )

    def _under_way(self) -> Tally:
        """Return about how much is copied of what is in no outcome."""
        verifying = self.phase == "verifying"  # then it is read
        copied = NOTHING if verifying else self.planner.under_way
        return copied.plus(Tally(bytes=self._operation.in_ranges().copied))

    def fill(self, report: Report) -> None:
        """Put into a report what is the same for all verbs. Its outcome is the caller's."""
        self.watch()
        if self.frontend.shows_end:
            self.frontend.watcher.show(self._meter.read(self._counted()))
        report.ranks = shares_as_one(self.planner.shares) if self.wire.united else self.planner.shares
        report.chunks, report.steals, report.messages = self.planner.chunks, self.planner.steals, self._loop.messages
        report.seconds = time.monotonic() - self._began
        report.timeline = self._timeline.samples
        report.unmatched = frozenset(self.unmatched_excludes())
