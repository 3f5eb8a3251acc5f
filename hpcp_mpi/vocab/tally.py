"""Counts that add up: of a unit, a chunk, a rank, a run."""

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple


class Tally(NamedTuple):
    """How much: entries by type, and the bytes of the regular files among them (apparent sizes)."""

    files: int = 0
    directories: int = 0
    links: int = 0
    specials: int = 0
    bytes: int = 0

    def __repr__(self) -> str:
        """Return the counts that are not zero."""
        return f"Tally({', '.join(f'{name}={count}' for name, count in self._asdict().items() if count)})"

    def plus(self, other: "Tally") -> "Tally":
        return Tally(
            self.files + other.files,
            self.directories + other.directories,
            self.links + other.links,
            self.specials + other.specials,
            self.bytes + other.bytes,
        )

    def minus(self, other: "Tally") -> "Tally":
        return self.plus(Tally(*(-count for count in other)))

    def __bool__(self) -> bool:
        """Return whether anything is counted. (A tuple of zeros would be true.)"""
        return any(count != 0 for count in self)

    def common(self, other: "Tally") -> "Tally":
        """Return what is in both: the smaller of each count."""
        return Tally(*map(min, self, other))

    def as_dict(self) -> dict[str, int]:
        """Return the counts by the names that the end table has for them."""
        return {
            "files": self.files,
            "directories": self.directories,
            "links": self.links,
            "other": self.specials,
            "bytes": self.bytes,
        }

    @property
    def entries(self) -> int:
        return self.files + self.directories + self.links + self.specials


NOTHING = Tally()
ONE_DIRECTORY = Tally(directories=1)
ONE_LINK = Tally(links=1)
ONE_SPECIAL = Tally(specials=1)
HOLES_MATTER = 1 << 20  # bytes: smaller files weigh their size


def one_file(size: int) -> Tally:
    """Return the tally of one regular file of size bytes."""
    return Tally(1, 0, 0, 0, size)


def holes_of(status: os.stat_result) -> int:
    """Return how many bytes of a regular file need not be read, by its blocks: little holes are none.

    That is a weight: where files are compressed, those with fewer blocks than bytes have no holes.
    """
    size = status.st_size
    return max(0, size - status.st_blocks * 512) if size >= HOLES_MATTER else 0


def tally_of(status: os.stat_result) -> Tally:
    """Return what one entry counts for."""
    if stat.S_ISREG(status.st_mode):
        return one_file(status.st_size)
    if stat.S_ISDIR(status.st_mode):
        return ONE_DIRECTORY
    return ONE_LINK if stat.S_ISLNK(status.st_mode) else ONE_SPECIAL


def total_of(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    return Tally(*map(sum, zip(*tallies, strict=True)))


def left_of(found: Tally, *done: Tally) -> Tally:
    """Return what is left of what was found; never less than nothing: what grew meanwhile has more bytes."""
    for each in done:
        found = found.minus(each)
    return Tally(*(max(0, count) for count in found))
