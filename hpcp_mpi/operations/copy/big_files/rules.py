"""A big file is finished once, when all its ranges are accounted for. Pure.

Rank 0 gets the results of each file's beginning and of its ranges, and returns the work that follows. Ranges are copied
by any ranks, in any order.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.tally import one_file
from hpcp_mpi.vocab.units import Batch, BigFile, DataExtent, Kind, Unit, Units, ranges

# What no two ranks may write to at once: a page or a block of NFS, a stripe of most parallel file systems. Each would
# read, lock or send the whole of it for the other's half.
ALIGNMENT = 4 * MIB

Key = tuple[bytes, bytes]  # (dest_dir, stage)

EMPTIED = "its staging directory was emptied meanwhile"


@dataclass(frozen=True, slots=True)
class FileStarted:
    """A big file has its stage, and no data yet."""

    batch: Batch  # of this file alone, with its BigFile
    block: int = 0  # bytes that the destination likes to be written at once (st_blksize)
    data: tuple[DataExtent, ...] | None = None  # its parts that are no holes; None: all


@dataclass(frozen=True, slots=True)
class FilesStarted:
    """So many files were begun, or came to an end at once."""

    files: int


@dataclass(frozen=True, slots=True)
class NearlyEmpty:
    """Files so full of holes that each is copied by one cp."""

    holes: int  # bytes


@dataclass(frozen=True, slots=True)
class RangeDone:
    """Some ranges of a file were copied."""

    key: Key
    ranges: int
    bytes: int  # of data that they have, about


@dataclass(frozen=True, slots=True)
class RangeFailed:
    """Some ranges of a file were not copied, so there will be no copy of it."""

    key: Key
    ranges: int
    reason: str  # "": others failed before, and say why
    vanished: bool = False  # the source is gone


@dataclass(frozen=True, slots=True)
class FileEnded:
    """A file was finished, or failed: its outcome says so, and counts it."""

    key: Key


class Holes(NamedTuple):
    """The holes of big files, in bytes: nobody copies them."""

    found: int = 0  # of all that were begun
    passed: int = 0  # of those that have ended: their sizes are in outcomes

    def plus(self, other: "Holes") -> "Holes":
        return Holes(self.found + other.found, self.passed + other.passed)


@dataclass(slots=True)
class _File:
    batch: Batch
    big: BigFile
    waiting: int  # ranges that no rank has reported
    copied: int = 0  # bytes of those that were copied


class Ranges:
    """The big files under way."""

    def __init__(self, split_size: int, alignment: int = ALIGNMENT) -> None:
        """split_size: bytes of a range, rounded up to a multiple of alignment."""
        self._split_size = max(1, split_size)
        self._alignment = alignment
        self._files: dict[Key, _File] = {}
        # Files whose ranges are all accounted for: bytes of those that were copied, bytes of their holes.
        self._ending: dict[Key, tuple[int, int]] = {}
        self.copied = 0  # bytes of data of ranges whose files have not ended
        self.holes = Holes()

    @property
    def active(self) -> int:
        """How many files have ranges that are not accounted for."""
        return len(self._files)

    @property
    def idle(self) -> bool:
        return not self._files

    @property
    def files(self) -> dict[Key, Batch]:
        """The files under way, each as the batch that finishes it."""
        return {key: _finish(file.batch, file.big) for key, file in self._files.items() if not file.big.failure}

    def resume(self, finish: Batch, left: Units) -> Batch:
        """Resume a file that another run began; return the next work on it. left: its ranges that are missing."""
        big = finish.big
        if big is None:
            raise ValueError("a file is to be finished that is not described")
        key, copied = (finish.dest_dir, big.stage), max(0, big.size - big.holes - left.amount)
        self.copied += copied
        self.holes = self.holes.plus(Holes(big.holes))
        if not len(left):
            self._ending[key] = copied, big.holes
            return replace(finish, again=True)
        self._files[key] = _File(finish.with_units(Units([], [])), big, len(left), copied)
        return replace(finish, kind=Kind.RANGE, units=left)

    def update(self, news: object) -> list[Batch]:
        """Return the work that follows from news. What is none of ours is ignored."""
        if isinstance(news, FileStarted):
            return self._begun(news)
        if isinstance(news, RangeDone):
            return self._on_ranges(news.key, news.ranges, news.bytes, None)
        if isinstance(news, RangeFailed):
            return self._on_ranges(news.key, news.ranges, 0, news)
        if isinstance(news, FileEnded):
            copied, holes = self._ending.pop(news.key, (0, 0))
            self.copied -= copied
            self.holes = self.holes.plus(Holes(0, holes))
        if isinstance(news, NearlyEmpty):
            self.holes = self.holes.plus(Holes(news.holes, news.holes))
        return []

    def _begun(self, news: FileStarted) -> list[Batch]:
        big = news.batch.big
        if big is None:
            raise ValueError("a file was begun that is not described")
        step = max(self._alignment, news.block)
        units = ranges(big.size, -(-self._split_size // step) * step, news.data, step)
        if not len(units):
            return [_finish(news.batch, big)]
        self.holes = self.holes.plus(Holes(big.holes))
        self._files[news.batch.dest_dir, big.stage] = _File(news.batch, big, len(units))
        return [replace(news.batch, kind=Kind.RANGE, units=units)]

    def _on_ranges(self, key: Key, count: int, copied: int, failed: RangeFailed | None) -> list[Batch]:
        file = self._files.get(key)
        if file is None:
            return []
        file.waiting -= count
        file.copied += copied
        self.copied += copied
        if failed is not None and file.big.failure in ("", EMPTIED):  # the first that says why
            vanished = failed.vanished and bool(failed.reason)
            file.big = replace(file.big, failure=failed.reason or EMPTIED, vanished=vanished)
        if file.waiting > 0:
            return []
        del self._files[key]
        self._ending[key] = file.copied, file.big.holes
        return [_finish(file.batch, file.big)]


def _finish(batch: Batch, big: BigFile) -> Batch:
    unit = Unit(big.name, one_file(big.size), 0, None if big.target == big.name else big.target)
    return replace(batch, kind=Kind.FINISH_FILE, units=Units.of([unit]), big=big)


def divided(batch: Batch, size: int) -> list[Batch]:
    """Return a batch; of a COPY batch the files with size bytes of data, copied in ranges, are one of their own."""
    if batch.kind is not Kind.COPY or not size or batch.amount < size:
        return [batch]
    units = list(batch.units)
    big = [unit for unit in units if unit.tally.files == 1 == unit.tally.entries and unit.amount >= size]
    small = [unit for unit in units if unit not in big]
    found = replace(batch, kind=Kind.START_FILE, units=Units.of(unit._replace(amount=0) for unit in big))
    return [each for each in (found, batch.with_units(Units.of(small))) if len(each.units)]
