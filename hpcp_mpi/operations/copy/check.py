"""Checking entries that may be identical: content by hash, then metadata. What differs is copied or written."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from hpcp_mpi.engine.broken_work import persistently, surviving
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import placers
from hpcp_mpi.engine.equal_files import doubtful_among
from hpcp_mpi.engine.itemize import item
from hpcp_mpi.engine.unstorable_times import note_time
from hpcp_mpi.host import metadata
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.hashing import digest
from hpcp_mpi.host.range_copy import opened
from hpcp_mpi.rules.equality import change_letters, maybe_identical, metadata_changes
from hpcp_mpi.vocab.attributes import any_privileged
from hpcp_mpi.vocab.errors import VANISHED, Failure, failure_of, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units


def check(context: JobContext, batch: Batch, outcome: Outcome) -> Batch:
    """Check the units of a CHECK batch; return the batch of those that have to be copied."""
    differing: list[Unit] = []
    with ExitStack() as stack:
        try:
            with context.latency.noted():
                source = stack.enter_context(context.listed(batch))
        except OSError as error:
            path = context.source_path(batch)
            outcome.failures.append(failure_of(path, error, "cannot open the directory", batch.units.tally))
            return batch.with_units(Units([], []))
        try:
            with context.dest_latency.noted():
                dest = stack.enter_context(context.dest.at(batch.dest_dir))
        except OSError:
            return replace(batch, kind=Kind.COPY, equal=False)  # gone: the copy makes it, or says why not
        if batch.equal:
            units: Iterable[Unit] = _doubtful(context, batch, source, dest, outcome)
        else:
            units = batch.units
        for unit in units:
            try:
                if not _same(context, batch, unit, source, dest, outcome):
                    is_file = unit.tally.files == 1 == unit.tally.entries
                    differing.append(unit._replace(amount=unit.tally.bytes) if is_file else unit)
            except OSError as error:
                outcome.failures.append(failure_of(context.source_path(batch, unit.name), error, "", unit.tally))
    return replace(batch, kind=Kind.COPY, equal=False, units=Units.of(differing))


def check_all(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> list[Batch]:
    """Check CHECK batches, whatever becomes of them; return the batches of what has to be copied."""
    differing: list[Batch] = []

    def look(context: JobContext, batch: Batch, mine: Outcome) -> None:
        differing.append(check(context, batch, mine))

    def do(some: Sequence[Batch], mine: Outcome, last: bool) -> None:
        for batch in some:
            surviving(context, batch, mine, look)

    persistently(context, batches, outcome, do)
    return [batch for batch in differing if len(batch.units)]


def _doubtful(context: JobContext, batch: Batch, source: int, dest: int, outcome: Outcome) -> Iterator[Unit]:
    """Yield the units of files that lstat shows as equal and that are not, or need a closer look; count the others."""
    units = batch.units
    doubtful = doubtful_among(context, batch.source, source, dest, units.names, units.amounts)
    count, size = len(units), sum(units.amounts)
    for unit in units if doubtful else ():
        if unit.name in doubtful:
            count, size = count - 1, size - unit.tally.bytes
            yield unit
    outcome.skipped = outcome.skipped.plus(Tally(files=count, bytes=size))


def _same(context: JobContext, batch: Batch, unit: Unit, source: int, dest: int, outcome: Outcome) -> bool:
    """Return whether an entry needs no copy, having written its metadata if that is all that differs."""
    wanted, found = lstat(unit.name, source), lstat(unit.target, dest)
    if wanted is None:
        outcome.failures.append(Failure(context.source_path(batch, unit.name), VANISHED, True, unit.tally))
        return True
    if found is None or not maybe_identical(wanted, found, context.job.times):
        return False
    if not _same_content(context, unit, source, dest, wanted):
        return False
    if context.options.content_only:
        outcome.skipped = outcome.skipped.plus(unit.tally)
        return True
    xattrs = context.xattrs_of((source, unit.name), (dest, unit.target), batch.source)
    # Its other names may be elsewhere, put there by others: a copy of its own takes the name instead.
    alone = found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)
    in_place = alone and _in_place(context, batch, wanted, found, xattrs[0])
    refused: metadata.Refusals = {}
    if context.options.dry_run:
        xattrs = context.differing(dest, xattrs)
    elif not in_place:
        xattrs, refused = context.storable(dest, xattrs)
    changes = metadata_changes(wanted, found, context.job.times, context.rights, metadata.xattr_letters(*xattrs))
    if not changes:
        if refused:
            note_refusals(context, context.source_path(batch, unit.name), refused, outcome)
        outcome.skipped = outcome.skipped.plus(unit.tally)
        return True
    if not in_place:
        return False
    if not context.options.dry_run:
        changes, refused = update_metadata(context, wanted, (dest, unit.target), found, xattrs, changes)
        if refused:
            note_refusals(context, context.source_path(batch, unit.name), refused, outcome)
        if not changes:
            outcome.skipped = outcome.skipped.plus(unit.tally)
            return True
        note_time(context, batch, unit, wanted, changes, outcome)
    if context.options.itemize:
        line = change_letters(".", wanted.st_mode, changes)
        outcome.items.append(item(line, join(batch.dest_dir, unit.target), source, unit.name, wanted.st_mode))
    outcome.updated = outcome.updated.plus(unit.tally)
    return True


def update_metadata(
    context: JobContext,
    wanted: os.stat_result,
    entry: tuple[int, bytes],
    found: os.stat_result,
    xattrs: tuple[metadata.Xattrs, metadata.Xattrs],
    changes: str,
) -> tuple[str, metadata.Refusals]:
    """Give entry (directory, name) what it lacks of the metadata of a source with the lstat wanted.

    Return what was changed, of changes, and which attributes are refused: if that was all, nothing was touched.
    Raises OSError.
    """
    if changes.strip("ax"):
        refused = write_metadata(context, wanted, entry, found, xattrs)
    else:
        refused = metadata.write_xattrs(*entry, found, *xattrs)
    if refused:
        changes = changes.rstrip("ax") + metadata.lacking(*xattrs, refused)
    return changes, refused


def _in_place(
    context: JobContext, batch: Batch, wanted: os.stat_result, found: os.stat_result, xattrs: metadata.Xattrs
) -> bool:
    """Return whether an entry is given its metadata where it is; else a copy that nobody else had takes its name.

    A tail and a time do not show that it has the content that is to have another owner, or privileges; and who owned it
    may have it open for writing. So it has to be ours, where nobody else can have put it.
    """
    privileged = stat.S_ISREG(wanted.st_mode) and context.rights.mode(wanted, found) & (stat.S_ISUID | stat.S_ISGID)
    if context.rights.owner(wanted, found)[0] == found.st_uid and not privileged and not any_privileged(xattrs):
        return True
    return found.st_uid == context.rights.uid and not placers(context, join(batch.dest_dir, b"any"))


def write_metadata(
    context: JobContext,
    wanted: os.stat_result,
    entry: tuple[int, bytes],
    found: os.stat_result,
    xattrs: tuple[metadata.Xattrs, metadata.Xattrs],
    unseen: bool = False,
) -> metadata.Refusals:
    """Give entry (directory, name) the metadata of a source with the lstat wanted; return which attributes are refused.

    unseen: as for metadata.write. Raises OSError.
    """
    return metadata.write(
        *entry,
        found,
        context.rights.owner(wanted, found),
        context.rights.mode(wanted, found),
        xattrs,
        (context.job.times.nearest(wanted.st_atime_ns), context.job.times.nearest(wanted.st_mtime_ns)),
        unseen,
    )


def note_refusals(context: JobContext, path: bytes, refused: metadata.Refusals, outcome: Outcome) -> None:
    """Note that the destination refuses attributes of an entry, an absolute path in a source."""
    from hpcp_mpi.engine.losses import note_refused  # rarely needed, so most ranks do not load it

    note_refused(context, path, refused, outcome)


def _same_content(context: JobContext, unit: Unit, source: int, dest: int, wanted: os.stat_result) -> bool:
    if stat.S_ISLNK(wanted.st_mode):
        return os.readlink(unit.name, dir_fd=source) == os.readlink(unit.target, dir_fd=dest)
    if not stat.S_ISREG(wanted.st_mode):
        return True
    options = context.options
    if not options.full_hash and options.hash_size == 0:
        return True
    if options.full_hash:
        return _same_bytes(context, unit, source, dest, wanted.st_size)
    mine = _digest(context, unit.name, source, wanted.st_size)
    try:
        return mine == _digest(context, unit.target, dest, wanted.st_size)
    except OSError as error:
        return _unread_copy(context, error)


def _same_bytes(context: JobContext, unit: Unit, source: int, dest: int, size: int) -> bool:
    """Return whether a file and its copy hold the same bytes: not only the same hash, as a move removes the source."""
    from hpcp_mpi.host.uncached_read import ReadError, same_bytes

    with ExitStack() as stack:
        mine, _ = stack.enter_context(opened(source, unit.name))
        try:
            theirs, _ = stack.enter_context(opened(dest, unit.target))
            return same_bytes(mine, theirs, 0, size, lambda: context.commands.stopped)
        except OSError as error:
            if isinstance(error, ReadError) and error.mine:
                raise
            return _unread_copy(context, error)


def _unread_copy(context: JobContext, error: OSError) -> bool:
    """Return that a copy that cannot be read is no copy, so a new one takes its place. A comparison raises OSError."""
    if context.options.compare:
        raise OSError(error.errno, f"its counterpart cannot be read: {reason_of(error)}") from None
    return False


def _digest(context: JobContext, name: bytes, directory: int, size: int) -> int:
    with opened(directory, name) as (fd, _):
        try:
            return digest(fd, size, context.options.hash_size, lambda: context.commands.stopped)
        except InterruptedError:
            raise Stopped from None
