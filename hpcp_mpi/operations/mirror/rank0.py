"""Mirroring, on rank 0: when all is copied, what the destination has and the sources do not is removed.

Only if nothing failed: what could not be listed, or was not copied, may be why something looks extra. And not without a
yes, nor if it were more entries than --max-delete allows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby, islice

from hpcp_mpi.cluster.feed import Feed, Stream
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.engine.destination import IN_THE_WAY
from hpcp_mpi.operations.mirror.batches import extra_batches
from hpcp_mpi.operations.remove.rank0 import RemovalFeed, counted
from hpcp_mpi.operations.scan.deferred import link_batches
from hpcp_mpi.operations.scan.link_targets import spared
from hpcp_mpi.operations.scan.records import CONTENT_CHANGED, Extra, LinkedName, directory_metadata
from hpcp_mpi.operations.scan.waiting import Waiting
from hpcp_mpi.rules.excludes import UNDOUBTED, in_doubt
from hpcp_mpi.vocab.errors import EXIT_MAX_DELETE, EXIT_OK, Failure
from hpcp_mpi.vocab.paths import join, printable
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind, Units, link_paths

_NAMED = 3  # extra entries that the question names

Drive = Callable[[str, Feed], None]


class Mirror:
    """The end of a copy that mirrors, on rank 0.

    stopped: the exit code that it ends the run with, if there is nothing worse; EXIT_OK otherwise
    """

    def __init__(self, coordinator: Coordinator, waiting: Waiting) -> None:
        """waiting: what the scan found."""
        self._coordinator = coordinator
        self._options = coordinator.job.options
        self._waiting = waiting
        self.stopped = EXIT_OK

    def run(self, found: Tally, failed: int, drive: Drive) -> None:
        """Remove what is extra, and copy what that makes room for. Raises StoppedEarly, FatalError.

        found: what the sources hold. failed: how many entries could not be listed or copied.
        drive: has work done that copies.
        """
        self._waiting.extras = spared(self._coordinator.job, self._waiting.extras, self._waiting.tracked)
        if next(iter(self._waiting.extras), None) is not None and self._may_remove(found, failed):
            self._remove()
            self._copy_late(drive)
        late, self._coordinator.outcome.after_mirror = self._coordinator.outcome.after_mirror, []
        for batch in late:
            for unit in batch.units:
                path = self._coordinator.context.source_path(batch, unit.name)
                self._coordinator.outcome.failures.append(Failure(path, IN_THE_WAY, attempted=unit.tally))

    def _may_remove(self, found: Tally, failed: int) -> bool:
        if failed:
            removed = "would be removed" if self._options.dry_run else "was removed"
            self._refuse(f"nothing {removed} here, as {failed:,} {'entry' if failed == 1 else 'entries'} failed")
            return False
        if self._options.dry_run:
            return True
        frontend, limit = self._coordinator.frontend, self._options.max_delete
        count = 0
        doubtful = not (self._options.unmatched_excludes or self._options.delete_excluded)
        if limit is not None or not frontend.certain or (doubtful and self._coordinator.unmatched_excludes()):
            # What is extra is looked into: a pattern may match only there.
            count = counted(self._coordinator, self._batches(Kind.COUNT)).entries
            if not count:
                return False
        if limit is not None and count > limit:
            self._exceeded(count, limit)
            return False
        warning = ""
        if found.entries <= len(self._coordinator.job.sources):  # nothing but the roots
            warning = "The sources are empty (is something not mounted?). "
            self._coordinator.outcome.warn(
                self._coordinator.job.sources[0].path, "it is empty, so everything at the destination is extra"
            )
        idle = self._coordinator.unmatched_excludes() if doubtful else []
        if idle:
            agreed = frontend.confirm_doubt(f"{in_doubt(idle)} {warning}{self._question(count)}")
        else:
            agreed = frontend.confirm(warning + self._question(count))
        if agreed is None:
            self._refuse(f"nothing was removed here. {in_doubt(idle)} {UNDOUBTED}")
            return False
        if not agreed:
            self._coordinator.outcome.warn(self._coordinator.job.destination, "nothing was removed here: not confirmed")
            return False
        return True

    def _refuse(self, reason: str) -> None:
        self._coordinator.outcome.failures.append(Failure(self._coordinator.job.destination, reason))

    def _exceeded(self, count: int, limit: int) -> None:
        self.stopped = EXIT_MAX_DELETE
        would = "would be" if self._options.dry_run else "were to be"
        note = f"{count:,} entries {would} removed here, and --max-delete allows {limit:,}: nothing is removed"
        self._coordinator.outcome.warn(self._coordinator.job.destination, note)

    def _question(self, count: int) -> str:
        job = self._coordinator.job
        if not count:  # no user reads it
            return f"Remove what {printable(job.destination)} has and the sources do not?"
        verb = "Move to the backup directory" if job.backup is not None else "Remove"
        some = islice(self._paths(), _NAMED + 1)
        named = [printable(path) for path in some]
        more = ", ..." if len(named) > _NAMED else ""
        entries = "1 entry" if count == 1 else f"{count:,} entries"
        where = printable(job.destination)
        return f"{verb} {entries} of {where} that the sources do not have ({', '.join(named[:_NAMED])}{more})?"

    def _extras(self) -> Iterator[Extra]:
        return map(Extra._make, self._waiting.extras)

    def _paths(self) -> Iterator[bytes]:
        """Yield what is extra, without what is in it; directories end in `/`."""
        for path, _ in groupby(join(each.dest_dir, each.name) + b"/" * each.is_directory for each in self._extras()):
            yield path

    def _batches(self, kind: Kind) -> Iterator[Batch]:
        return extra_batches(kind, self._extras())

    def _remove(self) -> None:
        outcome = self._coordinator.outcome
        removed, skipped = outcome.removed, outcome.skipped
        RemovalFeed(self._coordinator, self._batches(Kind.REMOVE)).drive(
            "counting" if self._options.dry_run else "removing"
        )
        outcome = self._coordinator.outcome
        # If all of it stayed (what is excluded lies below it), as it will each time, there is nothing to be undone.
        if outcome.removed != removed and self._options.directory_sync and not self._options.dry_run:
            self._waiting.settled.add(
                directory_metadata(each.source, each.source_dir, each.dest_dir, CONTENT_CHANGED)
                for each in self._extras()
            )
        outcome.skipped = skipped  # what is excluded at the destination is nothing that was found in the sources
        limit, count = self._options.max_delete, outcome.removed.minus(removed).entries
        if self._options.dry_run and limit is not None and count > limit:
            self._exceeded(count, limit)
            outcome.removed = removed

    def _copy_late(self, drive: Drive) -> None:
        """Copy what a directory was in the way of; then what is linked to it."""
        late, self._coordinator.outcome.after_mirror = self._coordinator.outcome.after_mirror, []
        if not late:
            return
        targets = frozenset(target for batch in late for target in _targets(batch))
        drive("copying", Stream(self._late_copies(late)))
        drive("linking", Stream(link_batches(map(LinkedName._make, self._waiting.linked), targets)))

    def _late_copies(self, late: list[Batch]) -> Iterator[Batch]:
        size = self._options.split_size
        for batch in late:
            if batch.kind is not Kind.COPY:
                continue
            (unit,) = batch.units
            if unit.tally.files and 0 < size <= unit.tally.bytes:
                yield replace(batch, kind=Kind.START_FILE, units=Units.of([unit._replace(amount=0)]))
            else:
                yield batch


def _targets(batch: Batch) -> Iterable[bytes]:
    """Return where the units of a copy or of links are to be."""
    if batch.kind is Kind.LINK:
        return (link_paths(unit)[0] for unit in batch.units)
    return (join(batch.dest_dir, unit.target) for unit in batch.units)
