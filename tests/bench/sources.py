"""Make the trees of races, and say what room they need."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import shaped
from tests.bench.trees import Big, Existing, Flat, Source
from tests.bench.verify import size_of

_MIB = 1 << 20
_FIRST_USER = 1000
_QUIET_SECONDS = 3.5


class NoRoom(Exception):
    """The place for trees is too small."""


@dataclass(frozen=True)
class Room:
    """What a tree takes: bytes of content in whole blocks, and entries."""

    content: int
    entries: int

    @property
    def in_memory(self) -> int:
        """Bytes on tmpfs, where an inode with its name takes about 1 KiB."""
        return self.content + 1024 * self.entries + _MIB


def unavailable(source: Source, place: Path) -> str | None:
    """Why the tree cannot be made in `place`, or not be copied as it is; None if it can."""
    if isinstance(source, Flat) and source.users and os.geteuid() != 0:
        return "needs root, to give directories to other users"
    if not isinstance(source, Existing):
        return shaped.unavailable(source, place)
    if not source.path.is_dir():
        return f"there is no {source.path}"
    return None if os.geteuid() == 0 else f"needs root, to read all of {source.path} and to keep owners"


def room(source: Source) -> Room:
    if not isinstance(source, Existing):
        return Room(source.content, source.entries)
    files, size = size_of(source.path)
    # Links and directories count as well; half a block is lost per file.
    part = min(1.0, 4 * source.fraction)  # a sample may be unlucky
    return Room(round(part * (size + 2048 * files)), round(part * files * 1.2) + 1)


def check_room(place: Path, bytes_needed: int, entries: int, what: str) -> None:
    """Raises NoRoom."""
    free = shutil.disk_usage(place).free
    if free < bytes_needed:
        raise NoRoom(
            f"{what} needs {bytes_needed >> 20:,} MiB and {place} has {free >> 20:,} MiB free: "
            "use another place or a smaller --scale"
        )
    inodes = os.statvfs(place)
    if inodes.f_files and inodes.f_favail < entries:
        raise NoRoom(f"{what} needs {entries:,} inodes and {place} has {inodes.f_favail:,} left")


def check_memory(bytes_needed: int, what: str) -> None:
    """Raises NoRoom. Of what the kernel could make free, a tenth is left to others."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(match[1]) << 10 if match else 0
    if free * 9 // 10 < bytes_needed:
        raise NoRoom(f"{what} needs {bytes_needed >> 20:,} MiB of memory, and {free >> 20:,} MiB are available")


def make(source: Source, root: Path) -> Path:
    """Make the tree at root, and return where it is: a whole existing tree stays where it is."""
    if isinstance(source, Flat):
        _make_flat(source, root)
    elif isinstance(source, Big):
        _make_big(source, root)
    elif not isinstance(source, Existing):
        shaped.make(source, root)
    elif source.fraction == 1:
        return source.path
    else:
        _copy_part(source, root)
    return root


def _make_flat(tree: Flat, root: Path) -> None:
    """Written as it goes, with next to no memory: what this process uses counts as used by those it starts."""
    root.mkdir(parents=True)
    for first in range(0, tree.files, tree.per_directory):
        directory = os.path.join(root, f"dir{first // tree.per_directory:05}")
        os.mkdir(directory)
        for number in range(first, min(first + tree.per_directory, tree.files)):
            path = f"{directory}/file{number:07}"
            if tree.size < _MIB:
                shaped.small_file(path, number, tree.extra, tree.size)
            else:
                _big_file(path, number, tree.size)
    if tree.users:
        _give_away(root, tree.users)


def _give_away(root: Path, users: int) -> None:
    """What other users changed shortly before a copy is copied otherwise: that is not what is measured."""
    for number, (directory, _, names) in enumerate(os.walk(root)):
        user = _FIRST_USER + number % users
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            os.chown(path, user, user)
        if number % 3 == 0:
            os.chmod(directory, 0o775)
    time.sleep(_QUIET_SECONDS)


def _make_big(tree: Big, root: Path) -> None:
    """No two MiB of it are equal, and none is a hole."""
    root.mkdir(parents=True)
    _big_file(os.path.join(root, "big"), 0, tree.size)


def _big_file(path: str, number: int, size: int) -> None:
    noise = os.urandom(_MIB)
    with open(path, "xb", buffering=0) as file:
        for start in range(0, size, _MIB):
            file.write((b"%08d%08d" % (number, start >> 20) + noise[16:])[: size - start])


def _copy_part(tree: Existing, root: Path) -> None:
    """Entries at depth two, evenly spread over the sorted names."""
    names = sorted(path.relative_to(tree.path) for path in tree.path.glob("*/*"))
    chosen = names[:: max(1, round(1 / tree.fraction))]
    root.mkdir(parents=True)
    command = ["xargs", "-0", "cp", "-a", "--parents", "-t", str(root), "--"]
    given = b"".join(os.fsencode(name) + b"\0" for name in chosen)
    subprocess.run(command, input=given, cwd=tree.path, check=True)


def read_all(root: Path) -> None:
    """So that all contestants find the same in the page cache. What is a hole is not read."""
    for here, _, names in os.walk(root):
        for name in names:
            path = os.path.join(here, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_blocks * 1024 >= status.st_size:
                with open(path, "rb", buffering=0) as file:
                    while file.read(_MIB):
                        pass
