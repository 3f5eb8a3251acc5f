"""Directories of the destination, made where they are missing; what is replaced on the way is backed up."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import path_of, pinned
from hpcp_mpi.host.entries import lstat

FULL = (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)  # what a rename over a directory says if it is not empty
NOT_REPLACED = "what is there is no directory: remove it first, or give --backup-dir (which keeps it) or -rme"
IN_THE_WAY = "a directory that is not empty is in the way; remove it first if it is not needed"


@contextmanager
def made(context: JobContext, path: bytes, over: bool = False) -> Iterator[int]:
    """Yield a descriptor of a directory of the destination, for writing; make what is missing of it.

    over: a file or symlink in the way is replaced. Raises OSError.
    """
    if over and context.job.backup is not None:
        from hpcp_mpi.engine.backup import save_way

        save_way(context, path)
    with context.dest.made(path, context.new_mode, over) as fd:
        yield fd


def publish(
    context: JobContext, staged_as: tuple[int, bytes], dest: int, target: bytes, dest_dir: bytes, own: bool = False
) -> None:
    """Rename an entry of a stage to target in a directory, with a backup of what it replaces. Raises OSError.

    staged_as: (stage, name in it). dest: the directory, and dest_dir its path. own: this run made what is there, so it
    is not backed up
    """
    if context.job.backup is None or own:
        rename_into_place(*staged_as, dest, target, over=own or context.options.replaces_others)
        return
    from hpcp_mpi.engine.backup import saved

    stage, name = staged_as
    with saved(context, dest_dir, dest, target, lstat(name, stage)):
        rename_into_place(*staged_as, dest, target)


def rename_into_place(stage: int, name: bytes, dest: int, target: bytes, over: bool = True) -> None:
    """Rename name in the stage to target in directory dest, replacing what a copy may replace. Raises OSError.

    over: a directory may replace what is none
    """
    try:
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
    except NotADirectoryError:  # a directory over a file or a symlink
        if not over:
            raise NotADirectoryError(errno.ENOTDIR, NOT_REPLACED) from None
        _exchange(stage, name, dest, target)
    except IsADirectoryError:  # a file over a directory, which may go if it is empty
        with suppress(FileNotFoundError):  # gone already, and this node did not know
            os.rmdir(target, dir_fd=dest)
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
    except PermissionError:
        # To move a directory its owner needs to write in it: its `..` changes.
        with pinned(stage, name) as fd:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISDIR(mode) or mode & 0o200:
                raise
            os.chmod(path_of(fd), stat.S_IMODE(mode) | 0o200)
            try:
                os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
            finally:
                os.chmod(path_of(fd), stat.S_IMODE(mode))


def _exchange(stage: int, name: bytes, dest: int, target: bytes) -> None:
    """Put a directory where a non-directory is. The old entry is kept until the new one is in place."""
    old = b"old.%d" % os.getpid()
    while lstat(old, stage) is not None:
        old += b"."
    try:
        os.rename(target, old, src_dir_fd=dest, dst_dir_fd=stage)
    except FileNotFoundError:  # gone already, and this node did not know
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
        return
    except OSError:
        if lstat(old, stage) is None:
            raise
        # It was renamed, and only the answer was lost.
    try:
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
    except OSError:
        with suppress(OSError):
            os.rename(old, target, src_dir_fd=stage, dst_dir_fd=dest)
        raise
