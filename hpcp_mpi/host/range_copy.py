"""Copying a range of a file to its place in the copy: data by the kernel where possible, holes not at all.

Measured on tmpfs, 1 GiB, 2 CPUs, medians of five in GiB/s with one thread and with two:

    copy_file_range, 64 MiB a call        2.55   2.83
    sendfile, 64 MiB a call               2.59   2.80
    preadv and pwritev, 256 KiB           2.66   2.87
    preadv and pwritev, 1 MiB             2.66   3.19
    preadv and pwritev, 4 MiB             2.59   3.18
    preadv and pwritev, 16 MiB            2.37   2.73

One write at a time is let into a file there. copy_file_range goes first nevertheless, as for `cp`: where a file system
can share blocks or have its server copy them (XFS, Btrfs, NFS 4.2), nothing passes through this machine at all. On
tmpfs, where nothing can be shared, pages are put into the file without its lock: host/tmpfs_pages.py.
"""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.machine import cpus
from hpcp_mpi.vocab.errors import reason_of
from hpcp_mpi.vocab.options import MIB, Options

if TYPE_CHECKING:
    from hpcp_mpi.host.tmpfs_pages import Pages

SHRANK = "it shrank while it was copied"
_FICLONE = 0x40049409  # _IOW(0x94, 9, int)
_CALL = 64 * MIB  # bytes the kernel copies between two checks of stopped()
_IO_SIZE = 4 * MIB
_PAGES_SIZE = (
    MIB  # bytes put into pages are read again from a cache: 1.64 s for 4 GiB; 128 KiB to 4 MiB: 1.67 to 1.77 s
)
_ZEROS = bytes(64 * 1024)


@contextmanager
def opened(directory: int, name: bytes) -> Iterator[tuple[int, os.stat_result]]:
    """Yield a descriptor for reading a regular file, and its fstat. Raises OSError for any other entry."""
    fd = os.open(name, READ, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file any more")
        yield fd, status
    finally:
        os.close(fd)


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Return size, mtime (ns), inode and ctime (ns): they change when a file is replaced or written to."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def changed(before: tuple[int, ...], status: os.stat_result) -> bool:
    """Return whether a file was changed since its identity was taken, on this node or another.

    Both inode number and ctime differ if another file took the name. One of them alone shows nothing: some file systems
    invent inode numbers on each node (CIFS, FUSE), and a chmod or a new hard link changes the ctime.
    """
    size, mtime_ns, inode, ctime_ns = identity(status)
    if before[:2] != (size, mtime_ns):
        return True
    return before[2] != inode and before[3] != ctime_ns


def share_blocks(source: int, dest: int, options: Options) -> bool:
    """Share all blocks of source with dest; return whether that was done. Raises OSError where it is required."""
    if options.reflink == "never" or options.sparse != "auto":
        return False
    try:
        fcntl.ioctl(dest, _FICLONE, source)
    except OSError:
        if options.reflink == "always":
            raise
        return False
    return True


class RangeCopier:
    """A copier of ranges from an open file to another one, which is empty there. For one thread."""

    def __init__(
        self,
        source: int,
        dest: int,
        options: Options,
        stopped: Callable[[], bool],
        moved: Callable[[int], None] = lambda count: None,
    ) -> None:
        """stopped: called between blocks; returns whether to stop. moved: called with the bytes of each block."""
        here, there = os.fstat(source), os.fstat(dest)
        self.copied = 0  # bytes, without holes
        self._source = source
        self._dest = dest
        self._stopped = stopped
        self._moved = moved
        self._drop_cache = options.drop_cache
        # All as cp does. A file that has all its blocks has no holes; in one that has not, zeros are searched, too, as
        # many network file systems do not report holes.
        self._holes = options.sparse != "never" and here.st_blocks * 512 < here.st_size
        self._skip_zeros = options.sparse == "always" or self._holes
        self._by_kernel = options.sparse == "auto" and not self._holes and options.reflink != "never"
        self._io_size = options.io_size or min(_CALL, max(_IO_SIZE, here.st_blksize, there.st_blksize))
        self._granule = min(max(there.st_blksize, 512), len(_ZEROS), self._io_size)
        self._memory: mmap.mmap | None = None
        # A single thread is faster with copy_file_range, by a fifth to a quarter.
        self._by_pages = not options.single and cpus() > 1
        self._by_pages_size = options.io_size or min(_CALL, max(_PAGES_SIZE, here.st_blksize))
        self._pages: Pages | None = None
        with suppress(OSError):
            os.posix_fadvise(source, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def copy(self, start: int, length: int, most: int = 0) -> int:
        """Copy one range, in bytes; return where that ended. most: bytes of data after which it ends early; 0: all

        Raises OSError, host.commands.Stopped.
        """
        end = start + length
        left = most or length
        with self._putting_pages():
            for begin, stop in self._data(start, end):
                if stop - begin >= left:
                    stop = end = begin + left
                left -= stop - begin
                self.copied += stop - begin
                if self._by_kernel and self._pages is None:
                    begin = self._copy_by_kernel(begin, stop)
                self._copy_through_memory(begin, stop)
                if not left:
                    break
        if os.fstat(self._source).st_size < end:  # a missing end looks like a hole
            raise OSError(errno.ENODATA, SHRANK)
        if self._drop_cache:
            # That drops pages of other programs too, unless mapped: the kernel does not show whose they are. Those of
            # the copy stay, as they would have to be written first.
            with suppress(OSError):
                os.posix_fadvise(self._source, start, end - start, os.POSIX_FADV_DONTNEED)
        return end

    @contextmanager
    def _putting_pages(self) -> Iterator[None]:
        """Write by pages during the `with` block, if the copy's file system allows it."""
        with ExitStack() as stack:
            if self._by_pages:
                from hpcp_mpi.host.tmpfs_pages import pages_of  # ctypes takes 3 ms, and few ranks ever copy ranges

                try:
                    self._pages = stack.enter_context(pages_of(self._dest))
                except OSError:
                    self._by_pages = False
                else:
                    self._io_size = self._by_pages_size
            try:
                yield
            finally:
                self._pages = None

    def _data(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the (begin, end) of data between start and end."""
        at = start
        while at < end:
            begin, stop = at, end
            if self._holes:
                try:
                    begin = os.lseek(self._source, at, os.SEEK_DATA)
                    stop = min(end, os.lseek(self._source, begin, os.SEEK_HOLE))
                except OSError as error:
                    if error.errno == errno.ENXIO:
                        return  # a hole up to the end of the file
                    self._holes = False  # the file system does not report holes
            if begin >= end:
                return
            yield begin, stop
            at = stop

    def _copy_by_kernel(self, begin: int, end: int) -> int:
        """Copy as much as the kernel does; return the offset it reached."""
        at = begin
        while at < end:
            self._raise_if_stopped()
            try:
                count = os.copy_file_range(self._source, self._dest, min(_CALL, end - at), at, at)
            except OSError:
                # Unsupported, or an error. Which one, and on which side, shows when the bytes are read and written.
                self._by_kernel = False
                break
            if count == 0:
                break  # the file shrank, or the file system wrongly reports that
            at += count
            self._moved(count)
        return at

    def _copy_through_memory(self, begin: int, end: int) -> None:
        at = begin
        while at < end:
            self._raise_if_stopped()
            memory = self._buffer()
            try:
                count = os.preadv(self._source, [memoryview(memory)[: min(self._io_size, end - at)]], at)
            except OSError as error:
                raise OSError(error.errno, f"cannot be read: {reason_of(error)}") from None
            if count == 0:
                raise OSError(errno.ENODATA, SHRANK)
            for first, last in self._nonzero(memory, count) if self._skip_zeros else ((0, count),):
                self._write(memory, first, last, at)
            at += count
            self._moved(count)

    def _buffer(self) -> mmap.mmap:
        if self._memory is None:  # aligned pages, allocated only when needed
            self._memory = mmap.mmap(-1, self._io_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return self._memory

    def _nonzero(self, memory: mmap.mmap, count: int) -> Iterator[tuple[int, int]]:
        """Yield the (first, last) of the parts of a buffer that are not blocks of zeros."""
        first = None
        for at in range(0, count, self._granule):
            end = min(at + self._granule, count)
            if not memory[at] and memory[at:end] == _ZEROS[: end - at]:
                if first is not None:
                    yield first, at
                first = None
            elif first is None:
                first = at
        if first is not None:
            yield first, count

    def _write(self, memory: mmap.mmap, first: int, last: int, at: int) -> None:
        """Write bytes first to last of a buffer whose beginning belongs at offset at. Raises OSError."""
        if self._pages is not None:
            first += self._pages.put(memory, first, last, at + first)
        view = memoryview(memory)
        while first < last:
            try:
                first += os.pwrite(self._dest, view[first:last], at + first)
            except OSError as error:
                raise OSError(error.errno, f"its copy cannot be written: {reason_of(error)}") from None

    def _raise_if_stopped(self) -> None:
        if self._stopped():
            raise Stopped
