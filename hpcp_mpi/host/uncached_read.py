"""Reading of a copy past the page cache, block by block beside its source.

The page cache does not show what of a copy reached the storage. So the copy is written out, dropped from the cache, and
read again; and dropped again, so that other programs' pages stay in memory.

For many files the whole file system is written out at once: on ext4, 5,000 files of 4 KiB took 4.5 s with an fdatasync
each, 0.6 s with one syncfs before all of them.
"""

import errno
import os
from collections.abc import Callable

from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.vocab.options import KIB, MIB

_NO_ATIME = READ | os.O_NOATIME
# Bytes. On tmpfs, 256 MiB on both sides: 4.5 GB/s as bytes objects of 256 KiB, 0.5 GB/s of 1 MiB (the allocator gives
# them back to the kernel each time), 3.8 GB/s with 1 MiB in memory that is kept.
_SMALL = 256 * KIB
_BLOCK = 4 * MIB


def open_quietly(name: bytes, directory: int) -> int:
    """Return a descriptor for reading an entry; its atime stays where this user may have that. Raises OSError."""
    try:
        return os.open(name, _NO_ATIME, dir_fd=directory)
    except PermissionError:  # not ours
        return os.open(name, READ, dir_fd=directory)


def write_out(fd: int) -> bool:
    """Write out all dirty pages of the file system of fd; return whether that worked."""
    import ctypes  # Python has no syncfs

    return int(ctypes.CDLL(None).syncfs(fd)) == 0


def forget(fd: int, start: int = 0, length: int = 0) -> None:
    """Drop a part of a file (in bytes) from the page cache, as far as it is written out. length 0: to the end"""
    try:  # suppress() takes as long as the call, and it is made four times for each file
        os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass  # a file system without a page cache


def same_bytes(
    mine: int,
    theirs: int,
    start: int,
    length: int,
    stopped: Callable[[], bool],
    moved: Callable[[int], None] = lambda count: None,
) -> bool:
    """Return whether two files of one size have the same bytes in a range (in bytes). Each byte is read once.

    Holes of both are not read. moved: called with the bytes of each block that is equal. Raises ReadError, and Stopped
    when stopped() returns True.
    """
    if length <= _SMALL:
        return _read(mine, start, length, True) == _read(theirs, start, length, False)
    ours, others = bytearray(_BLOCK), bytearray(_BLOCK)
    holes = _has_holes(mine) and _has_holes(theirs)
    at, end = start, start + length
    while at < end:
        if stopped():
            raise Stopped
        if holes:
            at = min(_data(mine, at, end), _data(theirs, at, end))
            if at >= end:
                break
        count = min(_BLOCK, end - at)
        got, other = _fill(mine, ours, count, at, True), _fill(theirs, others, count, at, False)
        if got != other or got < count:
            return False  # one was truncated
        if count < _BLOCK:
            return ours[:count] == others[:count]
        if ours != others:
            return False
        at += count
        moved(count)
    return True


class ReadError(OSError):
    """An error of reading one of two files."""

    def __init__(self, error: OSError, mine: bool) -> None:
        """mine: the first of the two"""
        super().__init__(error.errno, error.strerror)
        self.mine = mine


def _read(fd: int, start: int, length: int, mine: bool) -> bytes:
    try:
        block = os.pread(fd, length, start)
        while block and len(block) < length:
            more = os.pread(fd, length - len(block), start + len(block))
            if not more:
                break
            block += more
    except OSError as error:
        raise ReadError(error, mine) from None
    return block


def _fill(fd: int, buffer: bytearray, count: int, at: int, mine: bool) -> int:
    """Read up to count bytes from offset at into a buffer; return the number read. Raises ReadError."""
    got = 0
    try:
        with memoryview(buffer) as view:
            while got < count and (more := os.preadv(fd, [view[got:count]], at + got)):
                got += more
    except OSError as error:
        raise ReadError(error, mine) from None
    return got


def _has_holes(fd: int) -> bool:
    status = os.fstat(fd)
    return status.st_blocks * 512 < status.st_size


def _data(fd: int, at: int, end: int) -> int:
    """Return the offset of the next data from at on; end where there is none before it."""
    try:
        return min(end, os.lseek(fd, at, os.SEEK_DATA))
    except OSError as error:
        return end if error.errno == errno.ENXIO else at
