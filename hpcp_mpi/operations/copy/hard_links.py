"""Hard links across units: when all first names are copied, the other names are linked to them."""

import errno
import os
import stat
from contextlib import ExitStack, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import FULL, close_late, made, publish
from hpcp_mpi.engine.itemize import itemize_replaced
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.stage import staged
from hpcp_mpi.operations.copy.check import check
from hpcp_mpi.operations.copy.publishing import LEADS_TO_ITS_PLACE, leads_to_its_place
from hpcp_mpi.operations.copy.worker import copy
from hpcp_mpi.rules.equality import NEW, change_letters, maybe_identical
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

# No link can be made, but a file can: too many links, other quota or file system, no links at all.
_COPY_INSTEAD = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP)


def link(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Make each unit of a LINK batch a name of the batch's leader.

    A leader that is not there, or not whole, was not copied: then the first unit is copied and leads the others.
    """
    leader = batch.leader
    for unit in batch.units:
        try:
            linked = _link(context, batch, unit, leader, outcome)
        except OSError as error:
            reason = f"cannot be linked at {printable(context.dest_path(unit.target))}: {reason_of(error)}"
            outcome.failures.append(Failure(context.source_path(batch, unit.name), reason, attempted=unit.tally))
            continue
        if not linked:
            leader = unit.target
            _copy_instead(context, batch, unit, outcome)


def _link(context: JobContext, batch: Batch, unit: Unit, leader: bytes, outcome: Outcome) -> bool:
    """Make one link; return False where the entry has to be copied instead."""
    source_dir, _, source_name = unit.name.rpartition(b"/")
    dest_dir, _, dest_name = unit.target.rpartition(b"/")
    leader_name = leader.rpartition(b"/")[2]
    wanted = None
    with suppress(FileNotFoundError), context.source(batch).at(source_dir) as source:
        wanted, above = lstat(source_name, source), os.fstat(source)
    if wanted is None:
        return _vanished(context, batch, unit, outcome)
    if context.options.dry_run:
        return _pretend(context, batch, unit, leader, wanted, outcome)
    with ExitStack() as stack:
        whole = _whole_leader(context, stack, leader, wanted)
        if whole is None:
            return False
        leaders, found = whole
        dest = stack.enter_context(made(context, dest_dir, batch.over))
        close_late(context, batch.source, dest_dir, above, dest)
        there = lstat(dest_name, dest)
        if _is_file(found, there):
            outcome.skipped = outcome.skipped.plus(unit.tally)
            return True
        if there is not None and stat.S_ISLNK(wanted.st_mode):
            source = stack.enter_context(context.source(batch).handle(source_dir))
            if leads_to_its_place(source, source_name, (source, source_name), dest, dest_name):
                raise OSError(0, LEADS_TO_ITS_PLACE)
        outcome.touched.add((batch.source, source_dir, dest_dir))
        stage = stack.enter_context(staged(dest, context.run_id, outcome.warn, context.options.content_only))
        try:
            os.link(leader_name, dest_name, src_dir_fd=leaders, dst_dir_fd=stage, follow_symlinks=False)
        except FileExistsError:
            # The stage is new and private: an earlier try made it, and only its answer was lost (ESTALE on NFS).
            if not _is_file(found, lstat(dest_name, stage)):
                raise
        except OSError as error:
            if error.errno in _COPY_INSTEAD:
                outcome.warn(context.source_path(batch, unit.name), f"copied, not linked: {reason_of(error)}")
                return False
            raise
        if not _is_file(found, lstat(dest_name, stage)):
            return False  # another user has put something else under the leader's name
        if context.commands.stopped:
            raise Stopped  # another rank may have done it by now, and more
        if context.options.itemize:
            outcome.items.append((change_letters("h", wanted.st_mode, "+++++++++"), unit.target, leader))
        try:
            publish(context, (stage, dest_name), dest, dest_name, dest_dir)
        except OSError as error:
            if not (context.options.mirror and error.errno in FULL):
                raise
            outcome.after_mirror.append(batch.with_units(Units.of([unit])))
            return True
    outcome.copied = outcome.copied.plus(unit.tally)
    outcome.linked += 1
    return True


def _is_file(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Return whether two looks were at the same inode. other: None, there was nothing"""
    return other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _whole_leader(
    context: JobContext, stack: ExitStack, leader: bytes, wanted: os.stat_result
) -> tuple[int, os.stat_result] | None:
    """Return a descriptor of the leader's directory and the leader's lstat; None where it is not there, or not whole.

    It was copied before any link is made, maybe by another node: what looks otherwise may be this one's memory.
    """
    directory, _, name = leader.rpartition(b"/")
    for _ in context.looks.each():
        with ExitStack() as own:
            try:
                fd = own.enter_context(context.dest.at(directory))
                found = lstat(name, fd)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if (
                found is not None
                and maybe_identical(wanted, found, context.job.times)
                and _owned(context, wanted, found)
            ):
                stack.enter_context(own.pop_all())
                return fd, found
    return None


def _owned(context: JobContext, wanted: os.stat_result, found: os.stat_result) -> bool:
    """Return whether a leader has the owner that its copy has: else somebody has put another file in its place."""
    return context.options.content_only or found.st_uid in (context.rights.owner(wanted, found)[0], os.geteuid())


def _vanished(context: JobContext, batch: Batch, unit: Unit, outcome: Outcome) -> bool:
    path = context.source_path(batch, unit.name)
    if context.job.resumed:
        outcome.warn(path, VANISHED)
    else:
        outcome.failures.append(Failure(path, VANISHED, True, unit.tally))
    return True


def _pretend(
    context: JobContext, batch: Batch, unit: Unit, leader: bytes, wanted: os.stat_result, outcome: Outcome
) -> bool:
    """Say what a link would change."""
    there, first = _at_destination(context, unit.target), _at_destination(context, leader)
    linked = there and first and (there.st_dev, there.st_ino) == (first.st_dev, first.st_ino)
    if linked and _stays(context, batch, unit):
        outcome.skipped = outcome.skipped.plus(unit.tally)
        return True
    if context.options.compare:
        itemize_replaced(context, unit.target, wanted.st_mode, outcome)
    known = there is not None and stat.S_IFMT(there.st_mode) == stat.S_IFMT(wanted.st_mode)
    outcome.items.append((change_letters("h", wanted.st_mode, "" if known else NEW), unit.target, leader))
    outcome.copied = outcome.copied.plus(unit.tally)
    outcome.linked += 1
    return True


def _at_destination(context: JobContext, path: bytes) -> os.stat_result | None:
    directory, _, name = path.rpartition(b"/")
    try:
        with context.dest.at(directory) as fd:
            return lstat(name, fd)
    except OSError:
        return None  # not there yet


def _stays(context: JobContext, batch: Batch, unit: Unit) -> bool:
    """Return whether the file that unit is a name of stays at the destination: else a new one gets all its names."""
    source_dir, _, source_name = unit.name.rpartition(b"/")
    dest_dir, _, dest_name = unit.target.rpartition(b"/")
    alone = Units.of([Unit(source_name, unit.tally, unit.amount, dest_name)])
    return not len(check(context, Batch(Kind.CHECK, batch.source, source_dir, dest_dir, alone), Outcome()).units)


def _copy_instead(context: JobContext, batch: Batch, unit: Unit, outcome: Outcome) -> None:
    source_dir, _, source_name = unit.name.rpartition(b"/")
    dest_dir, _, dest_name = unit.target.rpartition(b"/")
    alone = Units.of([Unit(source_name, unit.tally, unit.amount, dest_name)])
    copy(context, [Batch(Kind.COPY, batch.source, source_dir, dest_dir, alone, over=batch.over)], outcome)
