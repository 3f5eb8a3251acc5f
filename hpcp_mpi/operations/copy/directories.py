"""A copy's directories: making them, and giving them their metadata when all in them is done."""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import made, not_given, placers
from hpcp_mpi.engine.itemize import itemize_replaced
from hpcp_mpi.engine.unstorable_times import note_time
from hpcp_mpi.host import metadata
from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.host.entries import identity, lstat, names_in
from hpcp_mpi.host.stage import stages_among, sweep
from hpcp_mpi.operations.copy.check import note_refusals, update_metadata, write_metadata
from hpcp_mpi.operations.scan.records import Identity, same_inode, without_identities
from hpcp_mpi.rules.equality import NEW, change_letters, maybe_identical, metadata_changes
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.units import Batch, Unit

# (path, identities of what was listed there, of what may be given to anybody, letters of how it differed then)
_Known = tuple[bytes, Sequence[Identity], Sequence[Identity], str]
_DEEPEST = 100  # levels of what a killed run has left that are looked at: two descriptors each
_CLOSED = "pog"  # letters of mode, owner and group
ALIVE = "staging directory of another run that may be alive; kept"


def settle(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Give directories the metadata of their sources: nothing in them changes any more.

    A unit's tally is what it counts for: of several sources that have it, each found one. batch.new: this run made them
    """
    for unit in batch.units:
        path = context.source_path(batch, unit.name)
        try:
            _settle(context, batch, unit, outcome)
        except OSError as error:
            if context.job.resumed and not os.path.lexists(path):
                outcome.warn(path, VANISHED)
                continue
            reason = f"cannot give its copy the directory's metadata: {reason_of(error)}"
            outcome.failures.append(Failure(path, reason))


def _settle(context: JobContext, batch: Batch, unit: Unit, outcome: Outcome) -> None:
    options = context.options
    target, listed, trusted, before, inode = without_identities(unit.target)
    unit = unit._replace(dest_name=target)
    with ExitStack() as stack:
        source = stack.enter_context(context.source(batch).handle(unit.name))
        wanted = os.fstat(source)
        context.refuse_exchanged(batch.source, wanted, inode)
        changes = NEW
        if not options.dry_run:
            if options.directory_sync:
                dest = stack.enter_context(context.dest.made(unit.target))
                if context.job.resumed:
                    sweep_stages(context, stack.enter_context(context.dest.at(unit.target)), unit.target, outcome)
                made = [each for path, each in context.made_here() if path == target]
                known = target, listed, trusted + made, before
                changes, refused = _settle_one(context, batch, source, dest, wanted, known)
                # Of what closing it has changed already nothing is to be seen any more.
                changes += "".join(letter for letter in before if letter in _CLOSED and letter not in changes)
                if refused:
                    note_refusals(context, context.source_path(batch, unit.name), refused, outcome)
                note_time(context, batch, unit, wanted, changes, outcome)
        elif not batch.new:
            dest = stack.enter_context(context.dest.at(unit.target))
            changes = _directory_changes(context, batch, source, dest, wanted)[0]
        elif options.compare:
            itemize_replaced(context, unit.target, wanted.st_mode, outcome)
        if batch.restore:
            return  # only what the run itself did to it was undone
        if batch.new:
            outcome.copied = outcome.copied.plus(unit.tally)
        elif changes and changes != NEW:
            outcome.updated = outcome.updated.plus(unit.tally)
        else:
            outcome.skipped = outcome.skipped.plus(unit.tally)
        if options.itemize and changes:
            update, letters = ("c", NEW) if batch.new else (".", changes)
            line = change_letters(update, wanted.st_mode, letters)
            outcome.items.append((line, (unit.target or b".") + b"/", b""))


def sweep_stages(context: JobContext, dest: int, path: bytes, outcome: Outcome) -> None:
    """Remove what killed runs left in a directory. Raises OSError."""
    for name in stages_among(dest, names_in(dest)):
        if not context.in_use(name) and not sweep(dest, name):
            outcome.warn(context.dest_path(join(path, name)), ALIVE)


def _directory_changes(
    context: JobContext, batch: Batch, source: int, dest: int, wanted: os.stat_result
) -> tuple[str, os.stat_result, tuple[metadata.Xattrs, metadata.Xattrs]]:
    found = os.fstat(dest)
    xattrs = context.xattrs_of((source, b"."), (dest, b"."), batch.source)
    if context.options.dry_run:
        xattrs = context.differing(dest, xattrs)
    letters = metadata.xattr_letters(*xattrs)
    return metadata_changes(wanted, found, context.job.times, context.rights, letters), found, xattrs


def _settle_one(
    context: JobContext, batch: Batch, source: int, dest: int, wanted: os.stat_result, known: _Known
) -> tuple[str, metadata.Refusals]:
    """Write a directory's metadata; return in what it seemed to differ, and which attributes are refused.

    Raises OSError.

    Written also where nothing seems to differ, if this run wrote in it or closed it: maybe by another node, and for a
    while this one may still be shown what was before.
    """
    changes, found, xattrs = _directory_changes(context, batch, source, dest, wanted)
    refused: metadata.Refusals = {}
    closed = not set(_CLOSED + "a").isdisjoint(known[3])
    if changes or batch.again or closed:
        owner, mode = context.rights.owner(wanted, found), context.rights.mode(wanted, found)
        wider = mode & ~stat.S_IMODE(found.st_mode) or "a" in changes
        if (wider or owner != (found.st_uid, found.st_gid)) and not _may_have(context, source, dest, owner, known):
            raise PermissionError(errno.EPERM, not_given(found.st_uid, owner[0]))
        if not (batch.again or closed):
            return update_metadata(context, wanted, (dest, b"."), found, xattrs, changes)
        refused = write_metadata(context, wanted, (dest, b"."), found, xattrs, closed)
        if refused:
            changes = changes.rstrip("ax") + metadata.lacking(*xattrs, refused)
    return changes, refused


def _may_have(context: JobContext, source: int, dest: int, owner: tuple[int, int], known: _Known) -> bool:
    """Return whether a directory may be given to an owner, or more rights to others. Raises OSError.

    It is the one that this run has listed there or made, or nobody but its owner can have put it there, or it is ours
    and holds nothing that its source does not show too, as what a killed run has left.
    """
    path, listed, trusted, _ = known
    this, found = identity(dest), os.fstat(dest)
    if any(same_inode(this, each) for each in trusted):
        return True
    if found.st_uid == owner[0] and any(same_inode(this, each) for each in listed):
        return True
    if placers(context, path) <= {found.st_uid}:
        return True
    if found.st_mode & (stat.S_ISVTX | stat.S_IRWXG | stat.S_IRWXO) == stat.S_ISVTX:
        return False  # as stages are, whatever it is called by now
    return found.st_uid == os.geteuid() and _only_copies(context, source, dest, b"")


def _only_copies(context: JobContext, source: int, dest: int, below: bytes, depth: int = 0) -> bool:
    """Return whether a directory of ours holds nothing but copies of what its source holds. Raises OSError."""
    if depth > _DEEPEST:
        return False
    with ExitStack() as stack:
        theirs = os.open(below or b".", FLAGS, dir_fd=dest)
        stack.callback(os.close, theirs)
        try:
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # a stage of another run
        except OSError:
            pass  # no locks here
        mine = os.open(below or b".", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        stack.callback(os.close, mine)
        for name in names_in(theirs):
            there, here = lstat(name, theirs), lstat(name, mine)
            if there is None:
                continue
            if here is None or stat.S_IFMT(here.st_mode) != stat.S_IFMT(there.st_mode):
                return False
            if stat.S_ISDIR(there.st_mode):
                closed = there.st_uid == os.geteuid() and not there.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
                if not closed and not _only_copies(context, mine, theirs, name, depth + 1):
                    return False
            elif there.st_uid != context.rights.owner(here, there)[0] or not maybe_identical(
                here, there, context.job.times
            ):
                return False
    return True


def make(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Make directories that nothing is copied to."""
    if context.options.dry_run:
        return
    for unit in batch.units:
        try:
            with made(context, unit.target, batch.over):
                pass
        except OSError as error:
            path = context.source_path(batch, unit.name)
            outcome.failures.append(Failure(path, f"its copy cannot be made: {reason_of(error)}", attempted=unit.tally))


def sweep_left_behind(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Remove stages that killed runs left."""
    if context.options.dry_run:
        return
    for unit in batch.units:
        path = context.dest_path(join(batch.dest_dir, unit.name))
        try:
            with context.dest.at(batch.dest_dir) as dest:
                outcome.touched.add((batch.source, batch.source_dir, batch.dest_dir))
                if not sweep(dest, unit.name, lost=context.own(unit.name)):
                    outcome.warn(path, ALIVE)
        except OSError as error:
            outcome.warn(path, f"staging directory of a killed run, cannot be removed: {reason_of(error)}")
