"""File lists on disk: read in blocks, merged from parts that come in any order, published in one step."""

import heapq
import os
import select
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise
from typing import IO, cast

from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.host.output_file import Output, Stop, never, output_at, write_all
from hpcp_mpi.host.safe_file import opened_to_read
from hpcp_mpi.vocab.errors import FatalError, Unshown, reason_of, unshown
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import printable

STANDARD = b"-"  # standard input or output
_BLOCK = MIB  # bytes
_LONGEST = MIB  # bytes of an entry; a path has 4 KiB
_POLL = 0.1  # seconds between looks whether the run is to end
_LITTLE = 64 * 1024  # bytes that are read at once where many parts are read together

Key = Callable[[bytes], bytes]
_Record = tuple[bytes, bytes, int, int]  # the keys of a part's first and last entry, offset, length


class BrokenList(FatalError):
    """A file list that cannot be trusted."""

    def __init__(self, path: bytes, number: int, reason: str, remedy: str = "Nothing was done.") -> None:
        """number: of the line, from 1; 0: the whole list."""
        called = "on standard input" if path == STANDARD else printable(path)
        super().__init__(f"the list {called}{f', line {number}' if number else ''}: {reason}", remedy)


def entries_in(path: bytes, end: bytes, stopped: Stop = never) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the entries of a list without their ends, some thousand at a time, with the number (from 1) of the first.

    Empty entries are included. end: b"\n" or b"\0". Raises BrokenList, also where the list cannot be read, and when its
    last entry lacks its end. stopped: whether the run is to end; Stopped is raised then, where a pipe gives nothing.
    """
    number, rest = 1, b""
    for block in _blocks(path, stopped):
        if end == b"\n" and b"\0" in block:
            number += (rest + block).count(b"\n", 0, len(rest) + block.index(b"\0"))
            raise BrokenList(path, number, "a NUL; this is no list of lines", "Lists with NULs are read with -0.")
        *whole, rest = (rest + block).split(end)
        if len(rest) > _LONGEST:
            raise BrokenList(path, number + len(whole), "no name is so long; this is no list")
        if whole:
            yield number, whole
            number += len(whole)
    if rest:
        ending = "NUL" if end == b"\0" else "newline"
        raise BrokenList(path, number, f"it ends without a {ending}: it is not complete", f"Add the {ending} if it is.")


def _blocks(path: bytes, stopped: Stop) -> Iterator[bytes]:
    try:
        fd = os.dup(0) if path == STANDARD else opened_to_read(path, f"the list {printable(path)}")
        try:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            # A read that waits is begun again by Python when a signal comes, so none that waits is made.
            while regular or _has_some(fd, stopped):
                try:
                    block = os.read(fd, _BLOCK)
                except BlockingIOError:
                    continue
                if not block:
                    return
                yield block
        finally:
            os.close(fd)
    except OSError as error:
        raise BrokenList(path, 0, f"cannot read it: {reason_of(error)}") from None


def _has_some(fd: int, stopped: Stop) -> bool:
    """Wait until a pipe has something, or has ended; return True. Raises Stopped."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not poll.poll(_POLL * 1000):
        if stopped():
            raise Stopped
    return True


class Parts:
    """The parts of a list, in a nameless file until all are there. Iterate to get the list. Not thread-safe."""

    def __init__(self, end: bytes, key: Key, directory: bytes | None = None) -> None:
        """end: of an entry, newline or NUL. key: the sort key of an entry. directory: of the file; None: the default.

        Raises OSError.
        """
        self._end = end
        self._key = key
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._size = 0
        self._records = ExternalSort()

    def add(self, text: bytes, parts: Iterable[_Record]) -> None:
        """Add sorted parts of a list, whose offsets are those in text. Raises OSError."""
        begin = self._size
        data = memoryview(text)
        while data:
            written = os.pwrite(self._file.fileno(), data, self._size)
            self._size += written
            data = data[written:]
        self._records.add((first, last, begin + at, length) for first, last, at, length in parts)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the list in pieces of whole entries. Parts that overlap are merged, without equal entries."""
        records = cast(Iterator[_Record], iter(self._records))
        merging: list[tuple[bytes, bytes, int, Iterator[bytes]]] = []  # a heap: (key, entry, number, those after it)
        for number, (record, following) in enumerate(pairwise(chain(records, [None]))):
            assert record is not None
            yield from self._merged(merging, record[0])
            if not merging and (following is None or record[1] < following[0]):
                yield from self._whole(record)
            else:
                self._push(merging, number, self._each(record))
        yield from self._merged(merging, None)

    def _merged(self, merging: list[tuple[bytes, bytes, int, Iterator[bytes]]], until: bytes | None) -> Iterator[bytes]:
        """Yield the entries of merged parts whose keys are less than until; None: all."""
        piece: list[bytes] = []
        last = None
        while merging and (until is None or merging[0][0] < until):
            _, entry, number, following = heapq.heappop(merging)
            if entry != last:
                piece.append(entry)
                last = entry
            self._push(merging, number, following)
            if len(piece) >= 1000:
                yield self._end.join([*piece, b""])
                piece.clear()
        if piece:
            yield self._end.join([*piece, b""])

    def _push(
        self, merging: list[tuple[bytes, bytes, int, Iterator[bytes]]], number: int, entries: Iterator[bytes]
    ) -> None:
        entry = next(entries, None)
        if entry is not None:
            heapq.heappush(merging, (self._key(entry), entry, number, entries))

    def _whole(self, record: _Record) -> Iterator[bytes]:
        _, _, at, length = record
        for offset in range(at, at + length, _BLOCK):
            yield os.pread(self._file.fileno(), min(_BLOCK, at + length - offset), offset)

    def _each(self, record: _Record) -> Iterator[bytes]:
        """Yield the entries of a part one by one."""
        _, _, at, length = record
        rest = b""
        for offset in range(at, at + length, _LITTLE):
            block = os.pread(self._file.fileno(), min(_LITTLE, at + length - offset), offset)
            *whole, rest = (rest + block).split(self._end)
            yield from whole


def place_of(path: bytes) -> Output | None:
    """Return the place of a list that is to be written; None for standard output. It is to be closed.

    Raises FatalError if none can be written there, before hours are spent on making it.
    """
    if path == STANDARD:
        return None
    directory = os.path.dirname(path) or b"."
    try:
        output = output_at(path, "the list")
    except IsADirectoryError:
        raise FatalError(
            f"cannot write the list to {printable(path)}: it is a directory", "Name a file in it."
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise FatalError(
            f"cannot write the list to {printable(path)}: there is no directory {printable(directory)}"
        ) from None
    except OSError as error:
        raise FatalError(f"cannot write the list to {printable(path)}: {reason_of(error)}") from None
    if output.directory is not None and not os.access(output.directory, os.W_OK | os.X_OK):
        output.close()
        raise FatalError(f"cannot write the list to {printable(path)}: {printable(output.directory)} is not writable")
    return output


def write(output: Output | None, pieces: Iterable[bytes], stopped: Stop = never) -> None:
    """Write a list. A file gets its name when it is complete. output: None for standard output

    stopped: whether the run is to end. Raises FatalError; Stopped where nobody takes the list; and what pieces raise.
    """
    called = "standard output" if output is None else printable(output.given)
    if output is None:
        sys.stdout.flush()
    try:
        if output is None:
            regular = stat.S_ISREG(os.fstat(1).st_mode)
            for piece in pieces:
                write_all(1, piece, stopped, regular)
            return
        with output.opened(stopped) as file:
            file.writelines(pieces)
    except OSError as error:
        if output is None:
            raise Unshown(unshown(error)) from None
        raise FatalError(f"cannot write the list to {called}: {reason_of(error)}") from None
