"""Removing by descriptor: what is swapped for a symlink meanwhile is never followed."""

import os
import re
import stat
from typing import NamedTuple

from hpcp_mpi.host.dirfd import FLAGS, path_of

_OCTAL = re.compile(rb"\\([0-7]{3})")


class Mounts(NamedTuple):
    """What is on a directory's device, and what is not."""

    device: int  # st_dev
    below: frozenset[bytes]  # what is mounted below it, paths relative to it: also what shows the same device again


def mounts_below(fd: int) -> frozenset[bytes]:
    """Return the paths, relative to the directory fd, of what is mounted below it. Raises OSError."""
    root = os.readlink(path_of(fd)).rstrip(b"/") + b"/"
    with open("/proc/self/mountinfo", "rb") as file:
        points = [line.split(b" ", 5)[4] for line in file]
    paths = (_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), point) for point in points)
    return frozenset(path[len(root) :] for path in paths if path.startswith(root) and path != root)


def first_in(directory: int, name: bytes) -> bytes | None:
    """Return the name of some entry of a directory in another one; None where there is none to be seen."""
    try:
        fd = os.open(name, FLAGS, dir_fd=directory)
    except OSError:
        return None
    try:
        with os.scandir(fd) as entries:
            return next((os.fsencode(entry.name) for entry in entries), None)
    except OSError:
        return None
    finally:
        os.close(fd)


def is_directory(directory: int, name: bytes) -> bool:
    """Tell whether an entry is a directory, itself."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def remove_tree(parent: int, name: bytes) -> None:
    """Remove the entry name of directory parent with all below it. Raises OSError at the first that stays."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except OSError:
        fd = os.open(name, FLAGS, dir_fd=parent)  # raises what unlink meant unless it is a directory
    # A stack, not recursion: a tree may be deeper than the interpreter's stack.
    stack = [(parent, name, fd)]
    while stack:
        above, current, fd = stack[-1]
        child = _empty_out(fd)
        if child is not None:
            stack.append((fd, child, os.open(child, FLAGS, dir_fd=fd)))
            continue
        stack.pop()
        os.close(fd)
        os.rmdir(current, dir_fd=above)


def _empty_out(fd: int) -> bytes | None:
    """Unlink what can be unlinked in a directory; return the name of a directory in it, None when it is empty."""
    if os.fstat(fd).st_mode & 0o700 != 0o700:
        os.fchmod(fd, 0o700)  # a copy of a read-only directory
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return os.fsencode(entry.name)
            os.unlink(entry.name, dir_fd=fd)
    return None
