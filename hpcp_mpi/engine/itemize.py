"""Itemized changes, one line an entry, in the format of `rsync --itemize-changes`."""

import os
import stat
from contextlib import ExitStack, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.entries import lstat, types_in
from hpcp_mpi.host.hashing import digest
from hpcp_mpi.host.metadata import xattr_letters
from hpcp_mpi.rules.equality import NEW, change_letters, metadata_changes
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import ONE_LINK, ONE_SPECIAL, one_file
from hpcp_mpi.vocab.units import Batch, Unit

GONE = "*deleting  "  # rsync's word for what is removed from the destination
_NEW_FILE = change_letters(">", stat.S_IFREG, NEW)

Item = tuple[str, bytes, bytes]  # (change, path below the destination root, link target or b"")


def item(change: str, path: bytes, directory: int, name: bytes, mode: int) -> Item:
    """Return one line; directories end in `/`, symlinks show their target."""
    if stat.S_ISDIR(mode):
        return change, path + b"/", b""
    if stat.S_ISLNK(mode):
        return change, path, os.readlink(name, dir_fd=directory)
    return change, path, b""


def note_replaced(context: JobContext, path: bytes, status: os.stat_result) -> None:
    """Note that an entry of the destination, which is no directory, goes: a directory takes its place."""
    if not context.options.compare:  # which says so of every entry that is of another type
        context.replaced.append((path, status.st_mode))


def take_replaced(context: JobContext, outcome: Outcome) -> None:
    """Count and itemize what was noted since the last call. Other threads may be adding to it."""
    with suppress(IndexError):
        while True:
            path, mode = context.replaced.popleft()
            tally = ONE_LINK if stat.S_ISLNK(mode) else one_file(0) if stat.S_ISREG(mode) else ONE_SPECIAL
            outcome.removed = outcome.removed.plus(tally)
            if context.options.itemize:
                outcome.items.append((GONE, path, b""))


def itemize_copies(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Add what copying a batch's units changes, subtrees entry by entry. Raises OSError."""
    tree = context.source(batch)
    with tree.at(batch.source_dir) as source, ExitStack() as stack:
        try:
            dest = stack.enter_context(context.dest.at(batch.dest_dir))
        except OSError:
            dest = None  # nothing there: all is new
        for unit in batch.units:
            status = lstat(unit.name, source)
            if status is None:
                continue
            path = join(batch.dest_dir, unit.target)
            if context.options.compare:
                itemize_replaced(context, path, status.st_mode, outcome)
            change = _change(context, batch.source, source, unit, status, dest)
            outcome.items.append(item(change, path, source, unit.name, status.st_mode))
            if stat.S_ISDIR(status.st_mode):
                _subtree(context, batch, unit.name, path, outcome)


def _change(context: JobContext, index: int, source: int, unit: Unit, status: os.stat_result, dest: int | None) -> str:
    update = ">" if stat.S_ISREG(status.st_mode) else "c"
    there = lstat(unit.target, dest) if dest is not None else None
    if dest is None or there is None or stat.S_IFMT(there.st_mode) != stat.S_IFMT(status.st_mode):
        return change_letters(update, status.st_mode, NEW)
    xattrs = context.differing(dest, context.xattrs_of((source, unit.name), (dest, unit.target), index))
    letters = xattr_letters(*xattrs)
    changes = metadata_changes(status, there, context.job.times, context.rights, letters)
    if context.options.content_only:
        changes = ""
    if stat.S_ISREG(status.st_mode):
        # "c" is rsync's for: only the checksum differs.
        changes += "s" if status.st_size != there.st_size else ""
        # Metadata may be all that differs, and a fresh copy be made where it cannot be written in place.
        if not changes.strip("pogax") and not (changes and _same_content(context, source, unit, status, dest)):
            changes += "c"
    else:
        changes += "c"
    return change_letters(update, status.st_mode, changes)


def _same_content(context: JobContext, source: int, unit: Unit, status: os.stat_result, dest: int) -> bool:
    """Return whether files of one size are equal, by what is compared of them."""
    options = context.options
    tail = None if options.full_hash else options.hash_size
    if tail == 0:
        return True
    found = []
    for directory, name in ((source, unit.name), (dest, unit.target)):
        try:
            fd = os.open(name, READ, dir_fd=directory)
        except OSError:
            return False
        try:
            found.append(digest(fd, status.st_size, tail))
        except OSError:
            return False
        finally:
            os.close(fd)
    return found[0] == found[1]


def itemize_replaced(context: JobContext, path: bytes, mode: int, outcome: Outcome) -> None:
    """Itemize an entry of the destination that is of another type than mode: it goes, to make room."""
    directory, _, name = path.rpartition(b"/")
    try:
        with context.dest.at(directory) as parent:
            there = lstat(name, parent) if name else None
    except OSError:
        return  # what is above is replaced itself, or missing
    if there is not None and stat.S_IFMT(there.st_mode) != stat.S_IFMT(mode):
        outcome.items.append((GONE, path + (b"/" if stat.S_ISDIR(there.st_mode) else b""), b""))


def _subtree(context: JobContext, batch: Batch, name: bytes, path: bytes, outcome: Outcome) -> None:
    tree = context.source(batch)
    waiting = [(join(batch.source_dir, name), path)]
    while waiting:
        directory, shown_as = waiting.pop()
        with tree.at(directory) as fd:
            for child, mode in types_in(fd):
                path = join(shown_as, child)
                if stat.S_ISREG(mode):
                    outcome.items.append((_NEW_FILE, path, b""))
                    continue
                outcome.items.append(item(change_letters("c", mode, NEW), path, fd, child, mode))
                if stat.S_ISDIR(mode):
                    waiting.append((join(directory, child), path))
