"""What trees are made of, by their numbers. Pure; sources.py and shaped.py make them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

# A user attribute, or an ACL that names a user, for each file.
Extra = Literal["", "a user attribute", "an ACL"]
SMALL_SIZE = 100


@dataclass(frozen=True)
class Flat:
    """`files` files of `size` bytes in directories of `per_directory`. scales: --scale changes their number.

    users: how many users the directories belong to, some of them writable for a group; 0: to who runs it
    """

    files: int
    size: int = 4096
    per_directory: int = 100
    scales: bool = True
    users: int = 0
    extra: Extra = ""

    @property
    def directories(self) -> int:
        return -(-self.files // self.per_directory)

    @property
    def content(self) -> int:
        return self.files * blocks(self.size)

    @property
    def entries(self) -> int:
        return self.files * (2 if self.extra else 1) + self.directories  # an attribute is kept in memory of its own

    def scaled(self, scale: float) -> Flat:
        return replace(self, files=max(1, round(self.files * scale))) if self.scales else self

    def __str__(self) -> str:
        if self.files == 1:
            return f"1 file of {amount(self.size)}"
        files = f"files of {amount(self.size)}" if self.size else "empty files"
        extra = f" with {self.extra}" if self.extra else ""
        where = "one directory" if self.directories == 1 else f"{self.directories:,} directories"
        whose = f" of {self.users} users" if self.users > 1 else " of another user" if self.users else ""
        return f"{self.files:,} {files}{extra} in {where}{whose}"


@dataclass(frozen=True)
class Big:
    """One file of `size` bytes."""

    size: int

    @property
    def content(self) -> int:
        return self.size

    @property
    def entries(self) -> int:
        return 2

    def scaled(self, scale: float) -> Big:
        return Big(max(1 << 20, round(self.size * scale)))

    def __str__(self) -> str:
        return f"one file of {amount(self.size)}"


@dataclass(frozen=True)
class Existing:
    """A tree that is there anyway; of it the `fraction` of the entries at depth two, with all below them."""

    path: Path
    fraction: float = 1.0

    def scaled(self, scale: float) -> Existing:
        return Existing(self.path, scale)

    def __str__(self) -> str:
        return str(self.path) if self.fraction == 1 else f"a part of {self.path}"


@dataclass(frozen=True)
class Thin:
    """Directories of one small file each, in directories of a thousand."""

    directories: int
    per_parent: int = 1000

    @property
    def content(self) -> int:
        return self.directories * blocks(SMALL_SIZE)

    @property
    def entries(self) -> int:
        return 2 * self.directories + -(-self.directories // self.per_parent)

    def scaled(self, scale: float) -> Thin:
        return replace(self, directories=max(1, round(self.directories * scale)))

    def __str__(self) -> str:
        return f"{self.directories:,} directories of one file each"


@dataclass(frozen=True)
class Symlinks:
    """Links, all of which dangle, in directories of a thousand."""

    links: int
    per_directory: int = 1000

    @property
    def content(self) -> int:
        return 0

    @property
    def entries(self) -> int:
        return self.links + -(-self.links // self.per_directory)

    def scaled(self, scale: float) -> Symlinks:
        return replace(self, links=max(1, round(self.links * scale)))

    def __str__(self) -> str:
        return f"{self.links:,} symlinks"


@dataclass(frozen=True)
class HardLinked:
    """Small files, each of which has a second name beside the first or, if `apart`, in another directory.

    per_directory: names; 0: all of them in one, or half of them in each of two
    """

    files: int
    apart: bool = False
    per_directory: int = 200

    @property
    def content(self) -> int:
        return self.files * blocks(SMALL_SIZE)

    @property
    def entries(self) -> int:
        directories = -(-2 * self.files // self.per_directory) if self.per_directory else 2
        return 2 * self.files + directories + 4

    def scaled(self, scale: float) -> HardLinked:
        return replace(self, files=max(1, round(self.files * scale)))

    def __str__(self) -> str:
        second = f"each with a second name in {'another' if self.apart else 'the same'} directory"
        where = f"in directories of {self.per_directory} names" if self.per_directory else "in big ones"
        return f"{self.files:,} files, {second}, {where}"


@dataclass(frozen=True)
class ManyNames:
    """Few small files of many names: some file systems allow 65,000. Those of one are in directories of a thousand."""

    files: int
    names: int = 65_000
    per_directory: int = 1000

    @property
    def content(self) -> int:
        return self.files * blocks(SMALL_SIZE)

    @property
    def entries(self) -> int:
        return self.files * (self.names + -(-self.names // self.per_directory) + 1)

    def scaled(self, scale: float) -> ManyNames:
        return replace(self, names=max(2, round(self.names * scale)))

    def __str__(self) -> str:
        return f"{self.files} files of {self.names:,} names each"


@dataclass(frozen=True)
class Nested:
    """Directories inside each other, with small files in each."""

    depth: int
    per_directory: int

    @property
    def content(self) -> int:
        return self.depth * self.per_directory * blocks(SMALL_SIZE)

    @property
    def entries(self) -> int:
        return self.depth * (self.per_directory + 1)

    def scaled(self, scale: float) -> Nested:
        part = math.sqrt(scale)
        depth, per_directory = round(self.depth * part), round(self.per_directory * part)
        return Nested(max(2, depth), max(1, per_directory))

    def __str__(self) -> str:
        return f"{self.depth} directories inside each other, {self.per_directory} files in each"


@dataclass(frozen=True)
class Sparse:
    """One file of `size` bytes that is a hole, but for `data` bytes in the middle."""

    size: int
    data: int = 4096

    @property
    def content(self) -> int:
        return self.data

    @property
    def entries(self) -> int:
        return 2

    def scaled(self, scale: float) -> Sparse:
        return self

    def __str__(self) -> str:
        return f"one sparse file of {amount(self.size)} with {amount(self.data)} of data"


Shaped = Thin | Symlinks | HardLinked | ManyNames | Nested | Sparse
Made = Flat | Big | Shaped
Source = Made | Existing


def blocks(size: int) -> int:
    """Bytes that are allocated for so many."""
    return -(-size // 4096) * 4096


def amount(size: int) -> str:
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
