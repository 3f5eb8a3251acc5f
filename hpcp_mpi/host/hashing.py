"""Is the content the same? Hashes of files, or of their tails."""

import os
from collections.abc import Callable

import xxhash

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
