"""What is granted, stolen and done: units in batches in chunks.

A unit is what one `cp` argument stands for. A batch holds units of one kind that share a source directory and a
destination directory. A chunk is what a worker is granted, and its tail what a thief gets.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from hpcp_mpi.vocab.tally import NOTHING, Tally


class Kind(Enum):
    """What is to be done with a unit."""

    COPY = "copy"  # new or known to differ: stage a copy, rename it into place
    CHECK = "check"  # same type, size and mtime: compare content, then copy or write metadata
    LINK = "link"  # another name of an inode that was copied under Batch.leader
    MAKE = "make"  # a directory that nothing is copied to
    SETTLE = "settle"  # a directory's metadata, when all in it is done
    SWEEP = "sweep"  # a stage that a killed run left behind


class Unit(NamedTuple):
    """One argument of `cp`: a file, a link, a special file, or a whole new subtree."""

    name: bytes  # in Batch.source_dir; what a sweep removes is in Batch.dest_dir
    weight: int  # bytes, plus what its files cost
    tally: Tally = NOTHING
    dest_name: bytes | None = None  # where it differs from name

    @property
    def target(self) -> bytes:
        return self.name if self.dest_name is None else self.dest_name


@dataclass(frozen=True, slots=True)
class Batch:
    """Units of one kind between one pair of directories."""

    kind: Kind
    source: int  # which source root, an index
    source_dir: bytes  # relative to the source root; b"" is the root itself. LINK, MAKE, SETTLE: b"", and the
    dest_dir: bytes  # relative to the destination root.                    names of units are paths below roots
    units: tuple[Unit, ...]
    leader: bytes = b""  # LINK: the name to link to, relative to the destination root
    over: bool = False  # a non-directory on the way of dest_dir is to be replaced: the scan saw it there
    restore: bool = False  # SETTLE: the directories were equal; what this run wrote in them changed their times

    @property
    def weight(self) -> int:
        return sum(unit.weight for unit in self.units)

    def split(self, count: int) -> tuple["Batch", "Batch"]:
        """Return the batches of the first count units and of the rest."""
        return replace(self, units=self.units[:count]), replace(self, units=self.units[count:])


@dataclass(frozen=True, slots=True)
class Chunk:
    """Batches that are granted together. `number` is unique in a run."""

    number: int
    batches: tuple[Batch, ...]

    @property
    def weight(self) -> int:
        return sum(batch.weight for batch in self.batches)

    @property
    def tally(self) -> Tally:
        total = NOTHING
        for batch in self.batches:
            for unit in batch.units:
                total = total.plus(unit.tally)
        return total

    def without_tail(self, count: int) -> "Chunk":
        """Return the chunk without its last count units."""
        batches = list(self.batches)
        while count and batches:
            last = batches.pop()
            kept = max(0, len(last.units) - count)
            count -= len(last.units) - kept
            if kept:
                batches.append(last.split(kept)[0])
        return Chunk(self.number, tuple(batches))
