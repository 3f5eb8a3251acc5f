"""Hashes of files or of their tails, and comparison of tails."""

import errno
import os
from collections.abc import Callable, Mapping

import xxhash

from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.metadata import has_acl
from hpcp_mpi.vocab.attributes import any_carried
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


def same_tails(
    name: bytes, directory: int, other: int, size: int, tail: int, hidden: tuple[bool, bool] | None = None
) -> bool:
    """Return whether two files of one name and size have the same last bytes, and no attributes.

    False also where one cannot be read, or is no file: then the caller looks closer.
    size, tail: in bytes. hidden: whether each one's file system does not list ACLs; None: both do
    """
    wanted = size if size < tail else tail
    try:
        mine = os.open(name, READ, dir_fd=directory)
        try:
            theirs = os.open(name, READ, dir_fd=other)
            try:
                if wanted:
                    end = os.pread(mine, wanted, size - wanted)
                    if len(end) != wanted or end != os.pread(theirs, wanted, size - wanted):
                        return False
                try:
                    if hidden is None and not os.listxattr(mine) and not os.listxattr(theirs):
                        return True  # nearly all files, so they cost no further call
                except OSError as error:
                    if error.errno != errno.ENOTSUP:
                        return False
                closer = hidden or (False, False)
                return not _carries(mine, closer[0]) and not _carries(theirs, closer[1])
            finally:
                os.close(theirs)
        finally:
            os.close(mine)
    except OSError:
        return False


def _carries(file: int, hidden: bool) -> bool:
    """Return whether an open file carries attributes. Raises OSError."""
    try:
        if any_carried(os.listxattr(file)):
            return True
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
    return hidden and has_acl(file)


def attributes_digest(attributes: Mapping[bytes, bytes]) -> int:
    """Return the xxh64 of extended attributes, ACLs among them, as in hpcp's table of changes."""
    state = xxhash.xxh64()
    for name, value in sorted(attributes.items()):
        state.update(name + b"\0" + len(value).to_bytes(8, "big") + value)
    return state.intdigest()
