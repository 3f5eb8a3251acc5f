"""The one table of operations: what rank 0 does for a verb, and what any rank does with a kind of work.

What only some verbs need is imported when it is needed: a thousand workers import this.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.walk_feed import WalkResult
from hpcp_mpi.operations.copy.big_files.rules import FilesStarted, RangeFailed
from hpcp_mpi.operations.copy.big_files.worker import begin, copy_range, finish_or_copy
from hpcp_mpi.operations.copy.check import check_all
from hpcp_mpi.operations.copy.directories import make, settle, sweep_left_behind
from hpcp_mpi.operations.copy.hard_links import link
from hpcp_mpi.operations.copy.worker import check_and_copy, copy
from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.operations.scan.worker import explore
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.request import Asked, Verb
from hpcp_mpi.vocab.units import DEST, Batch, Kind

if TYPE_CHECKING:
    from hpcp_mpi.cluster.transport import Wire
    from hpcp_mpi.engine.frontend import Frontend
    from hpcp_mpi.engine.sorted_items import SortedItems
    from hpcp_mpi.operations.compare.differences import Differences
    from hpcp_mpi.operations.remove.empty_directory import Disposer, RemovalGuard
    from hpcp_mpi.vocab.report import Report

    Leader = Callable[[Wire, Asked, Frontend], Report]

# --- rank 0


def lead_operation(wire: "Wire", asked: Asked, face: "Frontend") -> "Report":
    """Do what is asked with all ranks of the wire; rank 0 calls it, the others follow. Raises FatalError."""
    options = asked.options
    if asked.verb is Verb.COPY and (options.mirror or options.move) and not options.dry_run:
        face.expect_answer()  # not after hours of copying
    report = _leader(asked)(wire, asked, face)
    report.verb = asked.verb.value
    return report


def _leader(asked: Asked) -> "Leader":
    verb = asked.verb
    if verb is Verb.REMOVE:
        from hpcp_mpi.operations.remove.rank0 import lead_remove

        return lead_remove
    if verb is Verb.LIST:
        from hpcp_mpi.operations.list_files.rank0 import lead_list

        return lead_list
    if verb is Verb.COMPARE:
        from hpcp_mpi.operations.compare.rank0 import lead_compare

        return lead_compare
    if asked.source_list is not None:
        from hpcp_mpi.operations.copy.from_list.rank0 import lead_copy_listed

        return lead_copy_listed
    if len(asked.destinations) > 1 or asked.options.sequential:
        from hpcp_mpi.operations.copy.destinations.rank0 import lead_destinations

        return lead_destinations
    from hpcp_mpi.operations.copy.symlink_targets.rank0 import lead_copy

    return lead_copy


def items_of(verb: Verb) -> "SortedItems | Differences":
    """Return what takes the items of a verb's run, and has them sorted."""
    if verb is Verb.COMPARE:
        from hpcp_mpi.operations.compare.differences import Differences

        return Differences()
    from hpcp_mpi.engine.sorted_items import SortedItems

    return SortedItems()


# --- any rank


def _begin(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    begin(place, batch, outcome)
    outcome.findings.append(FilesStarted(len(batch.units)))


def _list(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    with place.gate:
        explore(place, batch, outcome, check_all)


def _remove(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.remove.worker import remove

    with place.gate:
        remove(place, batch, outcome, keeper_of(place, batch, outcome), disposer_of(place, batch))


def _remove_emptied(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.remove.worker import remove_emptied

    remove_emptied(place, batch, outcome, keeper_of(place, batch, outcome), disposer_of(place, batch))


def keeper_of(place: JobContext, batch: Batch, outcome: Outcome) -> "RemovalGuard | None":
    """Return what says which entries of a batch stay; None: all may go."""
    if batch.kind is Kind.MOVED:
        from hpcp_mpi.operations.move.worker import CopiedGuard

        return CopiedGuard(place, batch, outcome)
    if batch.source == DEST:
        from hpcp_mpi.operations.mirror.worker import ExtraGuard

        return ExtraGuard(place, outcome)
    return None


def disposer_of(place: JobContext, batch: Batch) -> "Disposer | None":
    """Return what makes the entries of a batch go; None: unlink and rmdir."""
    if batch.source == DEST and place.job.backup is not None:
        from hpcp_mpi.operations.mirror.worker import MoveToBackup

        return MoveToBackup(place)
    return None


def _name(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.list_files.worker import list_entries

    with place.gate:
        list_entries(place, batch, outcome)


def _state(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.compare.worker import describe_entries

    describe_entries(place, batch, outcome)


def _name_below(place: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.compare.worker import list_extra_subtrees

    with place.gate:
        list_extra_subtrees(place, batch, outcome)


def _verify(place: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    from hpcp_mpi.operations.verify.worker import verify

    verify(place, batches, outcome)


def undone(batch: Batch, reason: str) -> list[Any]:
    """Return what rank 0 waits to be told of a batch, when nothing of it is known to be done."""
    count = len(batch.units)
    if batch.kind is Kind.LIST:
        return [ScanFindings(done=count)]
    if batch.kind is Kind.BEGIN:
        return [FilesStarted(count)]
    if batch.kind is Kind.RANGE and batch.big is not None:
        return [RangeFailed((batch.dest_dir, batch.big.stage), count, reason)]
    if batch.kind in (Kind.REMOVE, Kind.COUNT, Kind.MOVED, Kind.RMDIR):
        from hpcp_mpi.operations.remove.worker import told_undone

        return [told_undone(batch)]
    if batch.kind in (Kind.NAMES, Kind.BELOW):
        return [WalkResult(count)]
    return [[]] if batch.kind is Kind.STATE else []


# What names each unit that failed, and of which nothing else is told then: it can be done again.
REPEATED = frozenset({Kind.VERIFY, Kind.LINK, Kind.MAKE, Kind.SETTLE})

ONE_BY_ONE: dict[Kind, Callable[[JobContext, Batch, Outcome], None]] = {
    Kind.LIST: _list,
    Kind.BEGIN: _begin,
    Kind.RANGE: copy_range,
    Kind.FINISH: finish_or_copy,
    Kind.LINK: link,
    Kind.MAKE: make,
    Kind.SETTLE: settle,
    Kind.SWEEP: sweep_left_behind,
    Kind.REMOVE: _remove,
    Kind.COUNT: _remove,
    Kind.MOVED: _remove,
    Kind.RMDIR: _remove_emptied,
    Kind.NAMES: _name,
    Kind.BELOW: _name_below,
    Kind.STATE: _state,
}
TOGETHER: dict[Kind, Callable[[JobContext, Sequence[Batch], Outcome], None]] = {
    Kind.COPY: copy,
    Kind.CHECK: check_and_copy,
    Kind.VERIFY: _verify,
}
