"""The trees that are copied, and who takes part. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.trees import Node, flat

EVERYONE = ("cp", "rsync", "hpcp", "plain", "mpich-4", "openmpi-4")


@dataclass(frozen=True)
class Race:
    """Make a destination equal to a tree of `files` small files, against the clock.

    contestants: names in contestants.CONTESTANTS
    baseline:    the one that the others are compared with
    present:     the destination is a copy already, made by `cp -a` before each run
    scales:      --scale changes the number of files
    """

    name: str
    what: str
    files: int
    contestants: tuple[str, ...]
    baseline: str
    present: bool = False
    scales: bool = True
    size: int = 4096  # bytes per file
    per_directory: int = 100

    def files_at(self, scale: float) -> int:
        return max(1, round(self.files * scale)) if self.scales else self.files

    def tree(self, scale: float) -> Mapping[str, Node]:
        return flat(self.files_at(scale), size=self.size, per_directory=self.per_directory)

    def bytes_needed(self, scale: float) -> int:
        """For the source and one copy; a file takes whole pages, and about 1 KiB for inode and name."""
        pages = -(-self.size // 4096) * 4096
        return 2 * self.files_at(scale) * (pages + 1024) + (1 << 20)


RACES = {
    race.name: race
    for race in (
        Race(
            "copy-small",
            "copy {files:,} files of 4 KiB in {directories:,} directories to a missing destination",
            50_000,
            EVERYONE,
            "cp",
        ),
        Race(
            "resync",
            "the same again, nothing changed: {files:,} files of 4 KiB in {directories:,} directories",
            50_000,
            ("rsync", "cp-u", *EVERYONE[2:]),
            "rsync",
            present=True,
        ),
        Race("startup", "copy a directory with one tiny file", 1, EVERYONE, "cp", scales=False, size=10),
    )
}


def describe(race: Race, scale: float = 1.0) -> str:
    files = race.files_at(scale)
    return race.what.format(files=files, directories=-(-files // race.per_directory))
