"""Hashes of files or of their tails, and comparison of tails."""

import errno
import os
from collections.abc import Callable, Iterable, Mapping

import xxhash

from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.metadata import xattrs_of_open
from hpcp_mpi.vocab.options import MIB

_BLOCK = 4 * MIB


def digest(fd: int, size: int, tail: int | None, stopped: Callable[[], bool] = lambda: False) -> int:
    """Return the xxh64 of the last tail bytes of a file of size bytes; tail None: of all of it.

    Reads up to the given size: a file that shrank has another hash. Raises OSError; InterruptedError after stopped().
    """
    state = xxhash.xxh64()
    at = 0 if tail is None else max(0, size - tail)
    while at < size:
        if stopped():
            raise InterruptedError
        block = os.pread(fd, min(_BLOCK, size - at), at)
        if not block:
            break
        state.update(block)
        at += len(block)
    return state.intdigest()


def differing(
    files: Iterable[tuple[bytes, int]],
    directory: int,
    other: int,
    tail: int,
    hidden: tuple[bool, bool] | None = None,
) -> list[bytes]:
    """Return the names of files whose last bytes, or attributes, are not the same in two directories.

    Also of those that cannot be read, or are no files: the caller looks closer.
    files: (name, size) of each. tail: in bytes. hidden: whether each one's file system does not list ACLs; None: both
    """
    # In one loop, and with as few calls as it takes: a call of a function costs as much as a read.
    opened, pread, listed, close = os.open, os.pread, os.listxattr, os.close
    found: list[bytes] = []
    for name, size in files:
        wanted = size if size < tail else tail
        same = False
        try:
            mine = opened(name, READ, dir_fd=directory)
            try:
                theirs = opened(name, READ, dir_fd=other)
                try:
                    if wanted:
                        end = pread(mine, wanted, size - wanted)
                        same = len(end) == wanted and end == pread(theirs, wanted, size - wanted)
                    else:
                        same = True
                    if same and hidden is None and not listed(mine) and not listed(theirs):
                        continue  # nearly all files, so they cost no further call
                    same = same and _same_attributes(mine, theirs, hidden)
                except OSError as error:
                    same = same and error.errno == errno.ENOTSUP and _same_attributes(mine, theirs, hidden)
                finally:
                    close(theirs)
            finally:
                close(mine)
        except OSError:
            same = False
        if not same:
            found.append(name)
    return found


def _same_attributes(mine: int, theirs: int, hidden: tuple[bool, bool] | None) -> bool:
    """Return whether two open files carry the same attributes. Raises OSError."""
    closer = hidden or (False, False)
    return xattrs_of_open(mine, closer[0]) == xattrs_of_open(theirs, closer[1])


def attributes_digest(attributes: Mapping[bytes, bytes]) -> int:
    """Return the xxh64 of extended attributes, ACLs among them, as in hpcp's table of changes."""
    state = xxhash.xxh64()
    for name, value in sorted(attributes.items()):
        state.update(name + b"\0" + len(value).to_bytes(8, "big") + value)
    return state.intdigest()
