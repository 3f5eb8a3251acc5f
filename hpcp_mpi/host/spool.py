"""A file of blocks of bytes that wait for their owners; memory holds one number for each owner.

The file has no name, so nothing is left behind. Each block knows where the one before it is: they come back last first.
"""

import os
import struct
from collections.abc import Iterator
from typing import IO

_HEAD = struct.Struct("<qq")  # offset of the owner's block before, -1: none; bytes of this one


class Spool:
    """Blocks by owner. Not thread-safe, but blocks may be added while others are read."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._latest: dict[int, int] = {}  # by owner: the offset of its last block
        self._end = 0

    def __bool__(self) -> bool:
        return bool(self._latest)

    @property
    def owners(self) -> list[int]:
        """The owners of blocks, sorted."""
        return sorted(self._latest)

    def add(self, owner: int, block: bytes) -> None:
        """Add a block of an owner. Raises OSError when the file cannot be written."""
        if self._file is None:
            import tempfile  # most runs never need it

            self._file = tempfile.TemporaryFile(prefix="hpcp-mpi-", buffering=0)  # noqa: SIM115
        at = self._end
        data = memoryview(_HEAD.pack(self._latest.get(owner, -1), len(block)) + block)
        while data:
            written = os.pwrite(self._file.fileno(), data, self._end)
            self._end += written
            data = data[written:]
        self._latest[owner] = at

    def blocks(self, owner: int) -> Iterator[bytes]:
        """Yield the blocks of an owner, the last one first. Raises OSError."""
        at = self._latest.get(owner, -1)
        while at >= 0:
            assert self._file is not None
            at, length, offset = *_HEAD.unpack(os.pread(self._file.fileno(), _HEAD.size, at)), at + _HEAD.size
            yield os.pread(self._file.fileno(), length, offset)
