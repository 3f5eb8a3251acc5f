"""A sorted set of records for the end of a run: in memory while they are few, else sorted in a file.

The file has no name, so nothing is left behind, and no other user can write to it. Records are tuples of what `marshal`
can write (bytes, numbers and tuples of those), and come back sorted, each once.
"""

import heapq
import marshal
import os
from collections.abc import Iterable, Iterator
from typing import IO

_MOST = 50_000  # records in memory, some ten megabytes
_BLOCK = 500  # records that are read back together, for each part of the file that was sorted
_MOST_RUNS = 64  # parts; with more, reading them together would take as much memory as was saved

Record = tuple[object, ...]


class ExternalSort:
    """A sorted set of records that takes little memory. Not thread-safe."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._held: list[Record] = []  # some may be there twice: a set would lose the order, in which most come
        self._file: IO[bytes] | None = None
        self._runs: list[list[tuple[int, int]]] = []  # by sorted part: the (offset, length) of its blocks
        self._end = 0

    def add(self, records: Iterable[Record]) -> None:
        """Add records. Raises OSError when the file cannot be written."""
        self._held.extend(records)
        if len(self._held) >= self._most:
            self._held = list(_unique(sorted(self._held)))
            if 2 * len(self._held) <= self._most:
                return
            self._write(self._held)
            self._held = []
            if len(self._runs) >= _MOST_RUNS:
                runs, self._runs = self._runs, []
                self._write(_unique(heapq.merge(*(self._read(run) for run in runs))))

    def __iter__(self) -> Iterator[Record]:
        """Yield all records, sorted, each once."""
        held: Iterable[Record] = sorted(self._held)
        return _unique(heapq.merge(held, *(self._read(run) for run in self._runs)))

    def restore(self, records: Iterable[Record]) -> None:
        """Add records from the ledger, which an earlier run recorded."""
        ExternalSort.add(self, records)

    def _write(self, records: Iterable[Record]) -> None:
        if self._file is None:
            import tempfile  # most runs never need it

            self._file = tempfile.TemporaryFile(prefix="hpcp-mpi-", buffering=0)  # noqa: SIM115
        run: list[tuple[int, int]] = []
        block: list[Record] = []
        for record in records:
            block.append(record)
            if len(block) == _BLOCK:
                run.append(self._append(block))
                block = []
        if block:
            run.append(self._append(block))
        self._runs.append(run)

    def _append(self, block: list[Record]) -> tuple[int, int]:
        assert self._file is not None
        data = memoryview(marshal.dumps([tuple(record) for record in block]))
        begin, length = self._end, len(data)
        while data:
            written = os.pwrite(self._file.fileno(), data, self._end)
            self._end += written
            data = data[written:]
        return begin, length

    def _read(self, run: list[tuple[int, int]]) -> Iterator[Record]:
        assert self._file is not None
        for offset, length in run:
            yield from marshal.loads(os.pread(self._file.fileno(), length, offset))


class RecordedSort(ExternalSort):
    """An external sort that also keeps what was added since the last checkpoint, for the ledger."""

    def __init__(self, most: int = _MOST) -> None:
        super().__init__(most)
        self._new: list[Record] | None = []

    def add(self, records: Iterable[Record]) -> None:
        some = list(records)
        if self._new is not None:
            self._new += some
        super().add(some)

    def take_new(self) -> list[Record]:
        """Return the records that were added since the last call."""
        some, self._new = self._new or [], []
        return some

    def forget_new(self) -> None:
        """Keep no new records from now on: there is no ledger."""
        self._new = None


def _unique(records: Iterable[Record]) -> Iterator[Record]:
    last = None
    for record in records:
        if record != last:
            yield record
            last = record
