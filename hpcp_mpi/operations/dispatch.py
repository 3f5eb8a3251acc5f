"""The one table of operations: what rank 0 does for a verb, and what any rank does with a kind of work.

What only some verbs need is imported when it is needed: a thousand workers import this.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcp_mpi.engine.broken_work import surviving
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.walk_feed import WalkResult
from hpcp_mpi.operations.copy.big_files.rules import FileEnded, FilesStarted, RangeFailed
from hpcp_mpi.operations.copy.big_files.worker import copy_range, finish_or_copy
from hpcp_mpi.operations.copy.check import check_all
from hpcp_mpi.operations.copy.directories import make, settle, sweep_left_behind
from hpcp_mpi.operations.copy.hard_links import link
from hpcp_mpi.operations.copy.worker import check_and_copy, copy
from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.units import DEST, Batch, Kind

if TYPE_CHECKING:
    from hpcp_mpi.cluster.transport import Wire
    from hpcp_mpi.engine.frontend import Frontend
    from hpcp_mpi.engine.sorted_items import SortedItems
    from hpcp_mpi.operations.compare.differences import Differences
    from hpcp_mpi.operations.remove.rules import Disposer, RemovalGuard
    from hpcp_mpi.vocab.report import Report

    Leader = Callable[[Wire, Request, Frontend], Report]

# --- rank 0


def lead_operation(wire: "Wire", request: Request, frontend: "Frontend") -> "Report":
    """Do what is asked with all ranks of the wire; rank 0 calls it, the others follow. Raises FatalError."""
    from hpcp_mpi.operations.prepare.own_files import own_files, refuse
    from hpcp_mpi.operations.prepare.places import placed

    request = placed(request)
    refuse(request, own_files(request, None, None))
    options = replace(request.options, certain=request.force)
    request = replace(request, options=options)
    copies = request.verb in (Verb.COPY, Verb.IMAGE)
    if copies and (options.mirror or options.move) and not options.dry_run:
        frontend.expect_answer()  # not after hours of copying
    report = _leader(request)(wire, request, frontend)
    report.verb, report.mirror, report.move = request.verb.value, options.mirror, options.move
    report.count_once()
    report.options = options
    if not report.ended_early and not report.broken_off:
        for pattern in sorted(report.unmatched or ()):
            report.outcome.warn(pattern, UNMATCHED)
    return report


def lead_recorded(wire: "Wire", request: Request, frontend: "Frontend") -> "Report":
    """Do as lead_operation does; the ledger that the frontend has, if any, gets how it ended, and is closed."""
    checkpoints = frontend.checkpoints
    if checkpoints is None:
        return lead_operation(wire, request, frontend)
    request = replace(request, options=replace(request.options, sync_ranges=True))
    try:
        report = lead_operation(wire, request, frontend)
        checkpoints.add_before(report)
        checkpoints.end(report.exit_code)
    finally:
        checkpoints.close()
    return report


UNMATCHED = "this exclude pattern matched nothing"


def _leader(request: Request) -> "Leader":
    verb = request.verb
    if request.images is not None:
        from hpcp_mpi.operations.imaging.rank0 import lead_images

        return lead_images
    if verb is Verb.REMOVE:
        from hpcp_mpi.operations.remove.rank0 import lead_remove

        return lead_remove
    if verb is Verb.LIST:
        from hpcp_mpi.operations.list_files.rank0 import lead_list

        return lead_list
    if verb is Verb.COMPARE:
        from hpcp_mpi.operations.compare.rank0 import lead_compare

        return lead_compare
    if request.source_list is not None:
        from hpcp_mpi.operations.copy.from_list.rank0 import lead_copy_listed

        return lead_copy_listed
    if len(request.destinations) > 1 or request.options.sequential:
        from hpcp_mpi.operations.copy.destinations.rank0 import lead_destinations

        return lead_destinations
    from hpcp_mpi.operations.copy.rank0 import lead_copy

    return lead_copy


def items_of(verb: Verb) -> "SortedItems | Differences":
    """Return what takes the items of a verb's run, and has them sorted."""
    if verb is Verb.COMPARE:
        from hpcp_mpi.operations.compare.differences import Differences

        return Differences()
    from hpcp_mpi.engine.sorted_items import SortedItems

    return SortedItems()


# --- any rank


def _start_files(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.copy.big_files.beginning import begin

    begin(context, batch, outcome)
    outcome.findings.append(FilesStarted(len(batch.units)))


def _list(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    from hpcp_mpi.operations.scan.worker import explore

    began = time.monotonic()  # of all of them
    for batch in batches:
        surviving(context, batch, outcome, partial(explore, began=began, check=check_all, copy=copy), undone)


def _remove_copied(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.move.worker import remove_copied

    with context.gate:
        remove_copied(context, batch, outcome)


def _remove(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.remove.worker import remove

    with context.gate:
        remove(context, batch, outcome, guard_of(context, batch, outcome), disposer_of(context, batch))


def _remove_emptied(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.remove.worker import remove_emptied

    remove_emptied(context, batch, outcome, guard_of(context, batch, outcome), disposer_of(context, batch))


def guard_of(context: JobContext, batch: Batch, outcome: Outcome) -> "RemovalGuard | None":
    """Return what says which entries of a batch stay; None: all may go."""
    if batch.source == DEST:
        from hpcp_mpi.operations.mirror.worker import ExtraGuard

        return ExtraGuard(context, outcome)
    return None


def disposer_of(context: JobContext, batch: Batch) -> "Disposer | None":
    """Return what makes the entries of a batch go; None: unlink and rmdir."""
    if batch.source == DEST and context.job.backup is not None:
        from hpcp_mpi.operations.mirror.worker import MoveToBackup

        return MoveToBackup(context)
    return None


def _list_names(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.list_files.worker import list_entries

    with context.gate:
        list_entries(context, batch, outcome)


def _describe(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.compare.worker import describe_entries

    describe_entries(context, batch, outcome)


def _list_extra(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.compare.worker import list_extra_subtrees

    with context.gate:
        list_extra_subtrees(context, batch, outcome)


def _verify(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    from hpcp_mpi.operations.verify.worker import verify

    verify(context, batches, outcome)


def undone(batch: Batch, reason: str) -> list[Any]:
    """Return the findings that rank 0 waits for of a batch of which nothing is known to be done."""
    count = len(batch.units)
    if batch.kind is Kind.LIST:
        return [ScanFindings(done=count)]
    if batch.kind is Kind.START_FILE:
        return [FilesStarted(count)]
    if batch.kind is Kind.RANGE and batch.big is not None:
        return [RangeFailed((batch.dest_dir, batch.big.stage), count, reason)]
    if batch.kind is Kind.FINISH_FILE and batch.big is not None:
        return [FileEnded((batch.dest_dir, batch.big.stage))]
    if batch.kind in (Kind.REMOVE, Kind.COUNT, Kind.REMOVE_COPIED, Kind.RMDIR):
        from hpcp_mpi.operations.remove.worker import undone_result

        return [undone_result(batch)]
    if batch.kind in (Kind.LIST_NAMES, Kind.LIST_EXTRA):
        return [WalkResult(count)]
    return [[]] if batch.kind is Kind.DESCRIBE else []


# Kinds that name each unit that failed, and of which rank 0 waits for nothing else: they can be done again.
REPEATED = frozenset({Kind.VERIFY, Kind.LINK, Kind.MKDIR, Kind.SET_DIR_METADATA})

ONE_BY_ONE: dict[Kind, Callable[[JobContext, Batch, Outcome], None]] = {
    Kind.START_FILE: _start_files,
    Kind.RANGE: copy_range,
    Kind.FINISH_FILE: finish_or_copy,
    Kind.LINK: link,
    Kind.MKDIR: make,
    Kind.SET_DIR_METADATA: settle,
    Kind.CLEAN_STAGE: sweep_left_behind,
    Kind.REMOVE: _remove,
    Kind.COUNT: _remove,
    Kind.REMOVE_COPIED: _remove_copied,
    Kind.RMDIR: _remove_emptied,
    Kind.LIST_NAMES: _list_names,
    Kind.LIST_EXTRA: _list_extra,
    Kind.DESCRIBE: _describe,
}
TOGETHER: dict[Kind, Callable[[JobContext, Sequence[Batch], Outcome], None]] = {
    Kind.COPY: copy,
    Kind.CHECK: check_and_copy,
    Kind.VERIFY: _verify,
    Kind.LIST: _list,
}
