"""Roots, each opened once: what was looked at is what is checked, asked about, worked on and removed.

Who opens a root first writes down which directory that is (vocab.job.Root) and keeps it open, so that its inode number
belongs to nobody else meanwhile. Another rank opens it by its path and compares; a later phase does, too, where more
roots were named than may stay open.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import TypeVar

from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.host.entries import identity
from hpcp_mpi.host.machine import open_files
from hpcp_mpi.host.mounts import invents_inodes
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.vocab.job import Root

PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
REPLACED = "another directory has its name by now: it was replaced after this run had looked at it"

T = TypeVar("T")

_SHARE = 16  # the part of the open files that roots may be: 1 in so many
_DEEPEST = 4096  # directories above another


class Pin:
    """A descriptor of a directory or an entry, open as long as this object lives. For another process it is None."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.fd)


def most_pins() -> int:
    """Return how many roots a process keeps open."""
    return max(4, open_files() // _SHARE)


def root_at(path: bytes, itself: bool = False, keep: bool = True) -> Root:
    """Open the directory at an absolute path, once; return what shows which one it is. Raises OSError.

    itself: the last component is no symlink. Otherwise it is what the user named, and is followed, now and never again.
    keep: it stays open as long as the result is used.
    """
    return seen(path, os.open(path, PATH | (os.O_NOFOLLOW if itself else 0)), itself, keep)


def seen(path: bytes, fd: int, itself: bool = False, keep: bool = True) -> Root:
    """Return what an open directory is, which is at an absolute path. fd belongs to the result. Raises OSError."""
    pin = Pin(fd)
    status = os.fstat(fd)
    (_, born), where = identity(fd), _view()
    return Root(
        path, status.st_ino, status.st_mtime_ns, status.st_dev, where, born, itself, keep, pin if keep else None
    )


def pin_of(root: Root) -> Pin:
    """Return a descriptor of a root itself, opened again if it is not kept, whatever has its name by now.

    Raises OSError if it cannot be had.
    """
    if isinstance(root.pin, Pin):
        return root.pin
    found = retried(partial(root_at, root.path, root.itself))
    if not is_same(root, found):
        raise OSError(errno.EBUSY, REPLACED)
    assert isinstance(found.pin, Pin)
    return found.pin


def asked(root: Root, call: Callable[[int], T]) -> T:
    """Return what call says of a descriptor of a root. Raises OSError."""
    pin = pin_of(root)  # held until then
    return call(pin.fd)


def is_same(root: Root, found: Root) -> bool:
    """Return whether two looks at one path, perhaps from two nodes, showed one directory.

    A file system may invent inode numbers on each node: then the mtime decides.
    """
    return root.is_same(found, found.inode != root.inode and invents_inodes(root.path))


@contextmanager
def name_of(root: Root, parent: Root | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the directory that a root is in and its name there, which was the root's a moment ago. Raises OSError.

    parent: that directory, if it is known: who may not enter the root cannot go up from it.
    """
    name = os.path.basename(root.path)
    pin = pin_of(root)
    above = Pin(os.open(b"..", PATH, dir_fd=pin.fd)) if parent is None else pin_of(parent)
    own = os.fstat(pin.fd)
    there = os.stat(name, dir_fd=above.fd, follow_symlinks=False)
    if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
        raise OSError(errno.EBUSY, REPLACED)
    yield above.fd, name


def real_path(fd: int) -> bytes:
    """Return the path of an open directory, without symlinks. Raises OSError."""
    return os.readlink(path_of(fd))


def chain_of(fd: int) -> list[tuple[int, int]]:
    """Return (device, inode) of an open directory and of those it lies in, up to `/`, as far as they can be entered."""
    found: list[tuple[int, int]] = []
    at = Pin(os.dup(fd))
    with suppress(OSError):
        while len(found) < _DEEPEST:
            status = os.fstat(at.fd)
            each = status.st_dev, status.st_ino
            if found and found[-1] == each:
                break
            found.append(each)
            at = Pin(os.open(b"..", PATH, dir_fd=at.fd))
    return found


def mark_of(fd: int) -> bytes:
    """Return what shows an entry to be the same one, for `is_marked` on any rank that has the directory it is in.

    fd: an open descriptor of it. Raises OSError.
    """
    return b"%d %d" % identity(fd)


def is_marked(fd: int, mark: bytes) -> bool:
    """Return whether an entry is the one that a mark was made of. Raises OSError."""
    (inode, born), (own, own_born) = mark.split(), mark_of(fd).split()
    return inode == own and (b"0" in (born, own_born) or abs(int(born) - int(own_born)) < 1000)


@cache
def _view() -> str:
    """Return what is equal for processes that see the same mounts under the same device numbers; "" if unknown."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/mnt')}"
    return ""
