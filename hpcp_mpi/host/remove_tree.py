"""Removal of a tree by descriptor: a symlink that is swapped in is never followed, no mount is entered."""

import errno
import os

from hpcp_mpi.host.dirfd import FLAGS


def remove_tree(parent: int, name: bytes) -> None:
    """Remove an entry of directory parent with all below it. Raises OSError at the first that cannot be removed."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except OSError:
        fd = os.open(name, FLAGS, dir_fd=parent)  # raises the error that unlink met, unless it is a directory
    device = os.fstat(parent).st_dev
    # A stack, not recursion: a tree may be deeper than the interpreter's stack.
    stack = [(parent, name, fd)]
    while stack:
        above, current, fd = stack[-1]
        child = _empty_out(fd, device)
        if child is not None:
            stack.append((fd, child, os.open(child, FLAGS, dir_fd=fd)))
            continue
        stack.pop()
        os.close(fd)
        os.rmdir(current, dir_fd=above)


def _empty_out(fd: int, device: int) -> bytes | None:
    """Unlink files up to the first directory; return its name, None when all is removed. Raises OSError."""
    status = os.fstat(fd)
    if status.st_dev != device:
        raise OSError(errno.EBUSY, "another file system is mounted in it")
    if status.st_mode & 0o700 != 0o700:
        os.fchmod(fd, 0o700)  # a copy of a read-only directory
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return os.fsencode(entry.name)
            os.unlink(entry.name, dir_fd=fd)
    return None
