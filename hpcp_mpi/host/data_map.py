"""Where a file has data, as SEEK_DATA and SEEK_HOLE tell, with a limited number of calls however many extents it has.

A file may have millions of extents, and on a network file system each question is a round trip. So the first extents
are taken as they are; of the rest it is only asked, step by step, whether there is data. How much that is, is estimated
then: it is a weight, and what is copied is what is found when a range is copied.
"""

import errno
import os
from collections.abc import Sequence

from hpcp_mpi.vocab.units import DataExtent

_EXACT = 1024  # extents that are taken as they are; two calls each
_STEPS = 1024  # steps in which the rest is looked at; a call each


def extents_of(file: int, status: os.stat_result, near: int) -> list[DataExtent] | None:
    """Return the parts of an open file that have data; None: all of it, or that is not known.

    near: extents with less than so many bytes in between are one
    """
    size = status.st_size
    if status.st_blocks * 512 >= size:
        return None  # all full for `cp`, what is only allocated too
    found: list[DataExtent] = []
    at = seen = 0
    try:
        for _ in range(_EXACT):
            begin = _data(file, at)
            if begin is None:
                return found
            end = min(size, os.lseek(file, begin, os.SEEK_HOLE))
            if not at <= begin < end:
                return None
            _add(found, (begin, end, end - begin), near)
            at, seen = end, seen + end - begin
            if at >= size:
                return found
        step = max(near, -(-(size - at) // _STEPS))
        rest: list[tuple[int, int]] = []
        while at < size and (begin := _data(file, at)) is not None:
            if not at <= begin < size:
                return None
            at = min(begin + step, size)
            rest.append((begin, at))
    except OSError:
        return None
    for extent in _estimated(rest, seen / (found[-1][1] - found[0][0]), status.st_blocks * 512 - seen):
        _add(found, extent, near)
    return found


def _data(file: int, at: int) -> int | None:
    """Return where the next data begins; None where there is no more. Raises OSError where that is not known."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _add(found: list[DataExtent], new: DataExtent, near: int) -> None:
    if found and new[0] - found[-1][1] < near:
        begin, _, amount = found.pop()
        new = begin, new[1], amount + new[2]
    found.append(new)


def _estimated(rest: Sequence[tuple[int, int]], density: float, blocks: int) -> list[DataExtent]:
    """Return parts with how much data they may hold: as much as the file has blocks for, or as those before them.

    density: part of the bytes before them that is data. blocks: bytes that the file system counts for them
    """
    span = sum(end - begin for begin, end in rest)
    share = min(1.0, max(density, blocks / span)) if span else 1.0
    return [(begin, end, max(1, round((end - begin) * share))) for begin, end in rest]
