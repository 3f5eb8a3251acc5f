"""The values in a file list, beside the names: hashes of files, targets of links, types of other entries."""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import xxhash

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.formats.file_list import Type, link_value
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.hashing import digest
from hpcp_mpi.host.mounts import makes_up_files
from hpcp_mpi.vocab.options import KIB, MIB

_OF_NOTHING = b"ef46db3751d8e999"  # the hash of an empty file
_SMALL = 64 * KIB  # bytes that are read at once, to see whether they are all
_TYPE = 0o170000  # the bits of a mode that are the type
_KINDS = {stat.S_IFIFO: b"fifo", stat.S_IFSOCK: b"socket", stat.S_IFCHR: b"char", stat.S_IFBLK: b"block"}


class Values:
    """Reads the values of the entries of a directory, many at once where that takes long."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._tail = None if context.options.full_hash else context.options.hash_size
        self._empty = False  # the last file was empty, so the next may be
        self._small = False  # the same of one that can be read at once
        self._made_up = False  # files here have no size before they are read
        self._at_once = _SMALL if self._tail is None else min(_SMALL, self._tail)

    def of(
        self, names: list[bytes], types: Mapping[bytes, Type], directory: int
    ) -> tuple[list[bytes], dict[bytes, OSError]]:
        """Return what is written after each name and its `:`, and what cannot be read. Raises Stopped."""
        values: dict[bytes, bytes] = {}
        failed: dict[bytes, OSError] = {}

        def read_value(name: bytes) -> None:
            try:
                values[name] = _value(name, directory) if name in types else self._hash(name, directory)
            except OSError as error:
                values[name] = b""
                failed[name] = error

        self._made_up = makes_up_files(directory)
        if self._tail == 0:
            values = dict.fromkeys(names, b"")
            for name in types.keys() & values.keys() if types else ():
                read_value(name)
        elif not self._context.crowd.each(read_value, names):
            if self._empty and not (types or self._made_up):
                values = dict.fromkeys(_empty_ones(names, directory), _OF_NOTHING)
            self._read_in_turn(names[len(values) :], types, directory, read_value, values)
        if self._context.commands.stopped:
            raise Stopped
        return [values[name] for name in names], failed

    def _read_in_turn(
        self,
        names: Sequence[bytes],
        types: Mapping[bytes, Type],
        directory: int,
        read_value: Callable[[bytes], None],
        values: dict[bytes, bytes],
    ) -> None:
        """Put the values of entries into values; read_value does that for one of any kind.

        A file that is not longer than what is asked for is known by one read: opening, reading and closing it takes C
        3.4 us, doing so and hashing it takes Python 4.4 us, and 4.9 us with the lseek that returns the size. Of others
        that read is wasted, so it is done only after a file that was small.
        """
        most = self._at_once + 1
        open_, read, close, hash_ = os.open, os.read, os.close, xxhash.xxh64_hexdigest
        for name in names:
            if self._made_up or not self._small or name in types:
                read_value(name)
                continue
            try:
                fd = open_(name, READ, dir_fd=directory)
                try:
                    content = read(fd, most)
                finally:
                    close(fd)
            except OSError:
                content = b""  # read_value finds out why
            if 0 < len(content) < most:
                values[name] = hash_(content).encode()
            else:
                read_value(name)

    def _hash(self, name: bytes, directory: int) -> bytes:
        """Return the hash of a file's end, or of all of it, in hexadecimal digits. Raises OSError."""
        if self._empty and not self._made_up:  # an lstat takes half the time of opening it
            self._empty = _is_empty(name, directory)
            if self._empty:
                return _OF_NOTHING
        try:
            fd = os.open(name, READ, dir_fd=directory)
        except PermissionError:
            if _is_empty(name, directory):
                return _OF_NOTHING  # whatever the file before it was
            raise
        try:
            if self._made_up:
                return self._hash_to_the_end(fd)
            size = os.lseek(fd, 0, os.SEEK_END)  # half the time of an fstat; and refused by what is no file
            self._empty, self._small = not size, 0 < size <= self._at_once
            if not size:
                return _OF_NOTHING
            tail = self._tail
            length = size if tail is None or size < tail else tail
            if length < MIB:
                return xxhash.xxh64_hexdigest(os.pread(fd, length, size - length)).encode()
            return b"%016x" % digest(fd, size, tail, lambda: self._context.commands.stopped)
        except InterruptedError:
            return b""  # the run is ending, and the caller says so
        finally:
            os.close(fd)

    def _hash_to_the_end(self, fd: int) -> bytes:
        """Return the hash of the end of a file whose size is known only when it has been read, as in /proc."""
        state = xxhash.xxh64()
        end = b""
        while block := os.read(fd, MIB):
            if self._context.commands.stopped:
                return b""
            if self._tail is None:
                state.update(block)
            else:
                end = (end + block)[-self._tail :]
        state.update(end)
        return state.hexdigest().encode()


def _empty_ones(names: list[bytes], directory: int) -> list[bytes]:
    """Return the names before the first that is not that of an empty file. Where many are empty, that is the time."""
    lstat = os.stat
    at = 0
    with suppress(OSError):
        for at, name in enumerate(names):
            status = lstat(name, dir_fd=directory, follow_symlinks=False)
            if status[6] or status[0] & _TYPE != stat.S_IFREG:
                return names[:at]
        return names
    return names[:at]


def _is_empty(name: bytes, directory: int) -> bool:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return status.st_size == 0 and stat.S_ISREG(status.st_mode)


def _value(name: bytes, directory: int) -> bytes:
    """Return the value of an entry that was no file and no directory. Raises OSError."""
    status = lstat(name, directory)
    if status is None:
        raise FileNotFoundError(2, os.strerror(2))
    if stat.S_ISLNK(status.st_mode):
        return link_value(os.readlink(name, dir_fd=directory))
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), b"")
    if status.st_rdev and kind:
        return b"=%s %d,%d" % (kind, os.major(status.st_rdev), os.minor(status.st_rdev))
    return b"=" + kind if kind else b""
