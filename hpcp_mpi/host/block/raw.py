"""Blocks of one device copied to another: what is zero is left out, what cannot be read becomes zeros and is named."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable

_PIECE = 1 << 20  # bytes read at once
_ZEROS = bytes(_PIECE)
_LEAST = 4096  # of what cannot be read, so much at once is given up: a page
_MOST_NAMED = 10_000  # ranges that cannot be read; a disk with more is read no further
_UNREADABLE = (errno.EIO, errno.EREMOTEIO, errno.EILSEQ, errno.ENODATA, errno.EBADMSG)


@dataclass(slots=True)
class RawResult:
    """What was copied. bytes: read; zeros: those that were nothing but zero; bad: (offset, length), not read."""

    bytes: int = 0
    zeros: int = 0
    bad: list[tuple[int, int]] = field(default_factory=list)


def _nothing(count: int) -> None:
    """Show no progress."""


def copy_blocks(
    source: int,
    source_offset: int,
    target: int,
    target_offset: int,
    length: int,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = _nothing,
    zeros: bool = False,
    shown: bytes = b"",
) -> RawResult:
    """Copy bytes between open devices or files. Raises FatalError if they cannot be written, Stopped as stop says.

    zeros: the target reads as zeros already. progress: gets how many bytes were copied since. shown: the target's name.
    Offsets of what could not be read are the source's.
    """
    result = RawResult()
    for at, content in _contents(source, source_offset, length, result):
        if stop():
            raise Stopped
        empty = content == _ZEROS[: len(content)]
        result.bytes += len(content)
        result.zeros += len(content) if empty else 0
        if not (zeros and empty):
            _write(target, target_offset + at - source_offset, content, shown)
        progress(len(content))
    return result


def differing(
    source: int,
    source_offset: int,
    target: int,
    target_offset: int,
    length: int,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = _nothing,
) -> list[tuple[int, int]]:
    """Return the ranges (offset in the source, length) in which two devices differ. Raises OSError, Stopped.

    progress: gets how many bytes were compared since. What cannot be read in the source counts as zeros.
    """
    found: list[tuple[int, int]] = []
    for at, content in _contents(source, source_offset, length, RawResult()):
        if stop():
            raise Stopped
        if os.pread(target, len(content), target_offset + at - source_offset) != content:
            add_range(found, at, len(content))
        progress(len(content))
    return found


def forget_cached(fd: int, offset: int = 0, length: int = 0) -> None:
    """Have the next read of a device or file come from below: partitions have a cache of their own."""
    os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def write_zeros(fd: int, offset: int, length: int, shown: bytes) -> None:
    """Overwrite a range with zeros. Raises FatalError."""
    for at in range(offset, offset + length, _PIECE):
        _write(fd, at, bytes(min(_PIECE, offset + length - at)), shown)


def stored(fd: int, shown: bytes) -> None:
    """Have all that was written to an open file or device stored. Raises FatalError."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise FatalError(f"cannot store what was written to {printable(shown)}: {reason_of(error)}") from None


def write_bytes(fd: int, offset: int, content: bytes, shown: bytes) -> None:
    """Write some bytes. Raises FatalError."""
    _write(fd, offset, content, shown)


def add_range(ranges: list[tuple[int, int]], offset: int, length: int) -> None:
    """Add a range to those before it, to the last one where it follows that."""
    if ranges and sum(ranges[-1]) == offset:
        ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
    else:
        ranges.append((offset, length))


def _contents(fd: int, offset: int, length: int, result: RawResult) -> Iterator[tuple[int, bytes]]:
    """Yield all bytes of a range as (offset, content). What cannot be read is zeros, and named in the result.

    Raises FatalError where the source ends before, or nearly nothing can be read.
    """
    end = offset + length
    while offset < end:
        hole = _hole_end(fd, offset, end)
        if hole > offset:
            count = min(hole - offset, _PIECE)
            yield offset, _ZEROS[:count]
        else:
            count = min(_PIECE - offset % _PIECE, end - offset)
            yield offset, b"".join(_read(fd, offset, count, result))
        offset += count


def _hole_end(fd: int, offset: int, end: int) -> int:
    """Return where the hole that a file has at an offset ends; the offset itself where there is data."""
    try:
        return min(os.lseek(fd, offset, os.SEEK_DATA), end)
    except OSError as error:
        return end if error.errno == errno.ENXIO and offset < os.lseek(fd, 0, os.SEEK_END) else offset


def _read(fd: int, offset: int, count: int, result: RawResult) -> Iterator[bytes]:
    """Yield the bytes of a range in order; where an error comes, the halves are tried."""
    try:
        content = os.pread(fd, count, offset)
        if not content:
            raise FatalError(f"the source ends at byte {offset:,}, {count:,} before it should", "Was it changed?")
        yield content
        if len(content) < count:
            yield from _read(fd, offset + len(content), count - len(content), result)
        return
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise FatalError(f"cannot read at byte {offset:,}: {reason_of(error)}") from None
    if count <= _LEAST:
        add_range(result.bad, offset, count)
        if len(result.bad) > _MOST_NAMED:
            raise FatalError(f"more than {_MOST_NAMED:,} places of the source cannot be read", "Try ddrescue.")
        yield bytes(count)
        return
    half = max(_LEAST, count // 2 // _LEAST * _LEAST)
    yield from _read(fd, offset, half, result)
    yield from _read(fd, offset + half, count - half, result)


def _write(fd: int, offset: int, content: bytes, shown: bytes) -> None:
    view = memoryview(content)
    while view:
        try:
            count = os.pwrite(fd, view, offset)
        except OSError as error:
            raise FatalError(
                f"cannot write to {printable(shown)} at byte {offset:,}: {reason_of(error)}",
                "The clone is not finished: it has no partition table.",
            ) from None
        view, offset = view[count:], offset + count


def extents(fd: int, offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of what in a range of a file is no hole; all of it of a device, which knows of none."""
    at, end = offset, offset + length
    while at < end:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, stop = at, end
        else:
            if start >= end:
                return
            stop = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        yield start, stop - start
        at = stop


def data_in(fd: int, offset: int, length: int) -> int:
    """Return how many bytes of a range of a file are no holes; of a device, all."""
    return sum(count for _, count in extents(fd, offset, length))
