"""Scratch inodes for tests of a file system, which are removed at once.

A file has no name (O_TMPFILE) or, where that is impossible, is in a stage; the directory's times stay as they were.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from hpcp_mpi.host.stage import staged

NAME = b"probe"  # in the stage
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS)


@contextmanager
def scratch_file(directory: int, token: str, remark: Callable[[bytes, str], None]) -> Iterator[tuple[int, int | None]]:
    """Yield a new file in directory and the stage that it is in, None if it has no name. Raises OSError.

    token, remark: as for `staged`
    """
    with scratch_inode(directory, token, remark) as (fd, stage), ExitStack() as stack:
        if stage is not None:
            fd = os.open(NAME, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=stage)
            stack.callback(_unlink, stage)  # so that the stage need not be listed
            stack.callback(os.close, fd)
        yield fd, stage


@contextmanager
def scratch_inode(directory: int, token: str, remark: Callable[[bytes, str], None]) -> Iterator[tuple[int, int | None]]:
    """Yield a new file without a name and None; where there are no such files, an empty stage twice. Raises OSError.

    With nothing in it the stage goes by one rmdir, also where unlinking fails. token, remark: as for `staged`
    """
    with ExitStack() as stack:
        stage = None
        try:
            fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            # Before the stage is made: that may fail half way.
            stack.callback(_set_times, directory, os.fstat(directory))
            stage = fd = stack.enter_context(staged(directory, token, remark))
        else:
            stack.callback(os.close, fd)
        yield fd, stage


def _unlink(stage: int) -> None:
    with suppress(OSError):  # it is removed with the stage, or that error is reported
        os.unlink(NAME, dir_fd=stage)


def _set_times(directory: int, before: os.stat_result) -> None:
    with suppress(OSError):  # it may belong to another user
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
