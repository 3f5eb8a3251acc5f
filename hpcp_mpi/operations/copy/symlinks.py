"""Symlinks, made in a stage by this process: a call of `cp` for a few of them costs more than all that it does."""

import errno
import os
import stat
from contextlib import suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import entered, pinned
from hpcp_mpi.operations.copy.publishing import is_link
from hpcp_mpi.vocab.units import Batch, Units


def make_links(context: JobContext, batch: Batch, units: Units, source: int, stage: int) -> list[bytes]:
    """Make the symlinks among units in a stage, as `cp` would; return the names of the units that are left to it.

    These are all others, what carries attributes or a label, and what fails in any way: `cp` says what it is.
    Raises host.commands.Stopped.
    """
    options, left = context.options, list[bytes]()
    if units.more is None or options.content_only or not context.job.times.clamps:
        return units.names
    owner: tuple[int, int] | None = None  # of what is made in the stage
    with entered(source) as prefix:
        for name, (tally, _) in zip(units.names, units.more, strict=True):
            if not is_link(tally):
                left.append(name)
                continue
            if context.commands.stopped:
                raise Stopped
            made = False
            try:
                status, target = _looked_at(source, name, batch.ours)
                if _carries_any(prefix + name):
                    left.append(name)
                    continue
                os.symlink(target, name, dir_fd=stage)
                made = True
                if owner is None:
                    there = os.stat(name, dir_fd=stage, follow_symlinks=False)
                    owner = there.st_uid, there.st_gid
                if owner != (status.st_uid, status.st_gid):
                    _give(context, status, stage, name)
                times = status.st_atime_ns, status.st_mtime_ns
                os.utime(name, ns=times, dir_fd=stage, follow_symlinks=False)
            except OSError:
                left.append(name)
                if made:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=stage)
    return left


def _looked_at(source: int, name: bytes, ours: bool) -> tuple[os.stat_result, bytes]:
    """Return the lstat and the target of a symlink. Raises OSError; ENOLINK where it is none.

    ours: nobody can exchange it between two looks; else both are of one inode, whatever becomes of the name
    """
    if ours:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return status, os.readlink(name, dir_fd=source)
    else:
        with pinned(source, name) as fd:
            status = os.fstat(fd)
            if stat.S_ISLNK(status.st_mode):
                return status, os.readlink(b"", dir_fd=fd)
    raise OSError(errno.ENOLINK, "it is no symlink any more")


def _carries_any(path: bytes) -> bool:
    """Return whether an entry has extended attributes. Raises OSError."""
    try:
        return bool(os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False


def _give(context: JobContext, wanted: os.stat_result, stage: int, name: bytes) -> None:
    """Give a symlink in a stage the owner and group of another one, as far as this user may. Raises OSError."""
    found = os.stat(name, dir_fd=stage, follow_symlinks=False)
    os.chown(name, *context.rights.owner(wanted, found), dir_fd=stage, follow_symlinks=False)
