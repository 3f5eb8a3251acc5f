"""Moving, on rank 0: when all is copied, verified and settled, the sources go, but for what has no good copy.

A source directory itself goes too, as with `mv`, if nothing stays in it; not if it is the working directory, or if a
file system is mounted there.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.operation import Operation
from hpcp_mpi.host.mounts import mounts_below
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.host.roots import name_of
from hpcp_mpi.operations.prepare.copy_job import Prepared
from hpcp_mpi.operations.remove.rank0 import RemovalFeed
from hpcp_mpi.operations.remove.rules import others, walks
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.vocab.errors import EXIT_MAX_DELETE, Failure, reason_of
from hpcp_mpi.vocab.job import Job, Root
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import first_few, is_within, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally
from hpcp_mpi.vocab.units import Batch, Kind

_NAMED = 3  # sources that the question names
MOST_LEFT = 10_000  # paths that all ranks are given


def move(wire: Wire, prepared: Prepared, frontend: Frontend, report: Report) -> None:
    """Remove from the sources what has a good copy, if nothing is against it. Raises FatalError.

    report: of the copy; what is done now becomes a part of it. What failed stays, with all below it.
    """
    job, limit = prepared.job, prepared.job.options.max_delete
    if report.ended_early or report.broken_off:
        return
    if limit is not None and report.scanned.entries > limit:
        report.stopped = EXIT_MAX_DELETE
        note = f"{report.scanned.entries:,} entries to move, more than --max-delete {limit:,}: nothing was moved"
        report.outcome.warn(job.sources[0].path, note)
        return
    if job.options.dry_run:
        report.outcome.removed = report.outcome.removed.plus(report.scanned)
        return
    moving = _Move(wire, prepared, frontend, report.failures)
    try:
        named = first_few([landing.argument for landing in prepared.landings], _NAMED)
        if frontend.confirm(f"Remove {named}, which was copied to {printable(job.destination)}?"):
            moving.run()
        else:
            report.outcome.warn(job.sources[0].path, "nothing was removed here: not confirmed")
    except StoppedEarly as early:
        report.stopped = early.code
    finally:
        report.add(moving.report())


class _Move(Operation):
    """The removal of what was copied, on rank 0."""

    def __init__(self, wire: Wire, prepared: Prepared, frontend: Frontend, failures: Iterable[Failure]) -> None:
        # What is only in memory is no copy yet: after a power failure it would be nowhere.
        self._job = replace(prepared.job, stored=True, keep_paths=coarsened(failure.path for failure in failures))
        self._landings = prepared.landings
        self._wire = wire
        self._frontend = frontend
        self._coordinator: Coordinator | None = None
        self._removal: RemovalFeed | None = None
        self._emptied = 0  # sources, which are removed when nothing is left in them
        self._all_tried = False

    def run(self) -> None:
        """Remove. Raises StoppedEarly, FatalError."""
        self._coordinator = coordinator = Coordinator(self._wire, self._job, self._frontend, self)
        coordinator.begin()
        self._removal = removal = RemovalFeed(coordinator, _batches(self._job, self._landings))
        removal.drive("removing")
        for index, root in enumerate(self._job.sources):
            if index in removal.emptied and self._landings[index].name is None:
                self._emptied += 1
                _remove_root(root, coordinator.outcome)
        self._all_tried = True

    def scanned(self) -> Tally:
        return NOTHING if self._removal is None else self._removal.found.plus(Tally(directories=self._emptied))

    def scan_done(self) -> bool:
        return self._removal is None or self._all_tried

    def report(self) -> Report:
        """Return what was done."""
        report = Report()
        if self._coordinator is not None:
            self._coordinator.fill(report)
            report.outcome = self._coordinator.outcome
            report.outcome.skipped = NOTHING  # what is excluded is nothing that was found
        return report


def _batches(job: Job, landings: Sequence[Landing]) -> Iterator[Batch]:
    for index, landing in enumerate(landings):
        if any(is_within(job.sources[index].path, left) for left in job.keep_paths):
            continue  # too much of it failed
        if landing.name is None:
            yield Batch(Kind.REMOVE_COPIED, index, b"", b"", walks([b""]))
        else:
            yield Batch(Kind.REMOVE_COPIED, index, b"", landing.target, others([landing.name]))


def _remove_root(root: Root, outcome: Outcome) -> None:
    """Remove a source that is empty, by its descriptor: what has its name by now may be something else."""
    try:
        with name_of(root) as (parent, name):
            with suppress(OSError):
                working = os.stat(b".")
                if (working.st_dev, working.st_ino) == (root.device, root.inode) or name in mounts_below(parent):
                    return
            retried(lambda: os.rmdir(name, dir_fd=parent))
    except FileNotFoundError:
        return
    except OSError as error:
        outcome.failures.append(Failure(root.path, f"emptied, but cannot be removed: {reason_of(error)}"))
        return
    outcome.removed = outcome.removed.plus(ONE_DIRECTORY)


def coarsened(paths: Iterable[bytes], most: int = MOST_LEFT) -> frozenset[bytes]:
    """Return absolute paths that hold all the given ones, at most so many: the directories that those are in, if need
    be the directories of these, and so on.
    """
    found = set(paths)
    while len(found) > most:
        deepest = max(path.count(b"/") for path in found)
        found = {path if path.count(b"/") < deepest else path.rpartition(b"/")[0] or b"/" for path in found}
    return frozenset(found)
