"""A worker's side of a compare: what is only in the destination, and what a table of changes says of an entry."""

import os
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.walk_feed import WalkResult
from hpcp_mpi.formats.changes_table import ABSENT, UNKNOWN, Op, Row, described
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.entries import lstat, types_in
from hpcp_mpi.host.hashing import attributes_digest, digest
from hpcp_mpi.host.metadata import xattrs_of
from hpcp_mpi.host.stage import is_stage
from hpcp_mpi.vocab.errors import VANISHED, Failure, failure_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, join
from hpcp_mpi.vocab.units import DEST, Batch, Unit, Units

_SECONDS = 0.1  # after which no further directory is begun: others may be idle


def list_extra_subtrees(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """List all entries below the directories of a LIST_EXTRA batch, of the destination, until its time is over.

    The findings: for each directory its path, the names in it joined by NUL, and in the same order for each one byte:
    `/` where it is a directory.
    """
    tree, kept = context.dest, _mirror_keeps(context)
    waiting = [unit.name for unit in batch.units][::-1]
    listings: list[tuple[bytes, bytes, bytes]] = []
    deadline = time.monotonic() + _SECONDS
    while waiting and (not listings or time.monotonic() < deadline):
        directory = waiting.pop()
        try:
            with tree.at(directory) as fd:
                found_here = [(name, stat.S_ISDIR(mode)) for name, mode in types_in(fd)]
                entries = [each for each in found_here if not kept(fd, directory, *each)]
        except OSError as error:
            outcome.failures.append(failure_of(context.dest_path(directory), error, "cannot list"))
            continue
        names, types = b"\0".join(name for name, _ in entries), b"".join(b"/" if d else b"." for _, d in entries)
        listings.append((directory, names, types))
        waiting += [join(directory, name) for name, is_directory in reversed(entries) if is_directory]
    found = [batch.with_units(Units.of(map(Unit, waiting)))] if waiting else []
    outcome.findings.append(WalkResult(len(batch.units), found, listings))


def _mirror_keeps(context: JobContext) -> Callable[[int, bytes, bytes, bool], bool]:
    """Return a predicate of a directory in the destination (descriptor, path) and an entry of it (name, whether it is a
    directory): whether a mirror would leave that alone. It does what would be excluded in a source, and our runs' own.
    """
    job = context.job
    excluded = None if job.options.delete_excluded else context.excluded

    def kept(fd: int, directory: bytes, name: bytes, is_directory: bool) -> bool:
        if name.startswith(STAGE_PREFIX) and is_stage(fd, name):
            return True
        if excluded is None:
            return False
        path = join(directory, name)
        inside = [(root.path, job.source_dir_of(index, path)) for index, root in enumerate(job.sources)]
        return any(
            excluded(child_path(root, source_path), is_directory)
            for root, source_path in inside
            if source_path is not None
        )

    return kept


def describe_entries(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Describe the entries of a DESCRIBE batch: units' names are their paths below the source root, targets those below
    the destination root.

    With DEST as its source a batch is of what only the destination has; a new one of what only the source has.
    """
    op = Op.DELETED if batch.source == DEST else Op.ADDED if batch.new else Op.MODIFIED
    rows: list[Row] = []
    for unit in batch.units:
        old = new = (ABSENT, False)
        if op is not Op.ADDED:
            old = _state(context, DEST, context.dest_path(unit.target), unit.target, outcome)
        if op is not Op.DELETED:
            path = child_path(context.job.sources[batch.source].path, unit.name)
            new = _state(context, batch.source, path, unit.name, outcome)
        is_directory = new[1] or (op is Op.DELETED and old[1])
        rows.append(Row(op, (unit.target or b".") + (b"/" if is_directory else b""), old[0], new[0]))
    outcome.findings.append(rows)


def _state(context: JobContext, index: int, shown_as: bytes, path: bytes, outcome: Outcome) -> tuple[bytes, bool]:
    """Return what the table says of an entry, and whether it is a directory. index: of a source root, or DEST"""
    directory, _, name = path.rpartition(b"/")
    try:
        with context.source_tree(index).at(directory) as parent:
            name = name or b"."
            status = lstat(name, parent)
            if status is None:
                outcome.failures.append(Failure(shown_as, VANISHED, True))
                return UNKNOWN, False
            if stat.S_ISLNK(status.st_mode):
                return described(status, None, 0, os.readlink(name, dir_fd=parent)), False
            attributes = attributes_digest(xattrs_of(parent, name, context.hides_acls(index)))
            content = _content(context, parent, name, status) if stat.S_ISREG(status.st_mode) else None
            return described(status, content, attributes), stat.S_ISDIR(status.st_mode)
    except OSError as error:
        outcome.failures.append(failure_of(shown_as, error, "cannot be described in the table of changes"))
        return UNKNOWN, False


def _content(context: JobContext, parent: int, name: bytes, status: os.stat_result) -> int | None:
    """Return the hash that a table has of a file; None where none is asked for."""
    options = context.options
    if not options.full_hash and options.hash_size == 0:
        return None
    with ExitStack() as stack:
        fd = os.open(name, READ, dir_fd=parent)
        stack.callback(os.close, fd)
        try:
            tail = None if options.full_hash else options.hash_size
            return digest(fd, status.st_size, tail, lambda: context.commands.stopped)
        except InterruptedError:
            raise Stopped from None
