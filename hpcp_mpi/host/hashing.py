"""Is the content the same? Hashes of files, or of their tails."""

import errno
import os
from collections.abc import Callable, Mapping

import xxhash

from hpcp_mpi.host.dirs import READ
from hpcp_mpi.host.metadata import has_acl
from hpcp_mpi.vocab.attributes import any_carried
from hpcp_mpi.vocab.options import MIB

_BLOCK = 4 * MIB


def digest(fd: int, size: int, tail: int | None, stopped: Callable[[], bool] = lambda: False) -> int:
    """Return the xxh64 of the last tail bytes of a file of size bytes; None: of all of it.

    Reads up to the size that was given: a file that shrank has another hash. Raises OSError, InterruptedError when
    stopped() says so.
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
    name: bytes, directory: int, other: int, size: int, tail: int, hidden: tuple[bool, bool] = (False, False)
) -> bool:
    """Tell whether a file of size bytes is in two directories the same in its last bytes, and without attributes.

    False also when it cannot be read, or is something else: then a closer look is due.
    hidden: whether the file systems of the two do not list ACLs
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
                for file in (mine, theirs):
                    try:
                        if (listed := os.listxattr(file)) and any_carried(listed):
                            return False
                    except OSError as error:
                        if error.errno != errno.ENOTSUP:
                            return False
                return not (hidden[0] and has_acl(mine)) and not (hidden[1] and has_acl(theirs))
            finally:
                os.close(theirs)
        finally:
            os.close(mine)
    except OSError:
        return False


def attributes_digest(attributes: Mapping[bytes, bytes]) -> int:
    """Return the xxh64 of extended attributes, ACLs among them, as hpcp's tables of changes have it."""
    state = xxhash.xxh64()
    for name, value in sorted(attributes.items()):
        state.update(name + b"\0" + len(value).to_bytes(8, "big") + value)
    return state.intdigest()
