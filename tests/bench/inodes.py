"""What rsync does not tell of two trees: names of one inode, holes, times below a second. With little memory."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.oracle import BLOCK_SLACK

_HUGE = 8 << 30  # of a file mostly hole, the bytes that are not read any more
_PART = 1 << 20


def unlike(src: Path, dst: Path) -> Counter[str]:
    """How often what differs, of entries that both have."""
    found: Counter[str] = Counter()
    for path, ours in _lstats(src):
        try:
            theirs = os.lstat(os.path.join(dst, path))
        except FileNotFoundError:
            continue  # rsync tells
        if ours.st_mtime_ns // 10**9 == theirs.st_mtime_ns // 10**9 and ours.st_mtime_ns != theirs.st_mtime_ns:
            found["times below a second"] += 1
        if stat.S_ISREG(ours.st_mode) and theirs.st_blocks * 512 > ours.st_blocks * 512 + BLOCK_SLACK:
            found["holes filled"] += 1
    wanted, had = _second_names(src), _second_names(dst)
    if wanted != had:
        found["hard links"] = sum(wanted.get(path) != had.get(path) for path in wanted.keys() | had.keys())
    return found


def _lstats(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All entries but the root, by their path below it."""
    below = [""]
    while below:
        here = below.pop()
        with os.scandir(os.path.join(root, here)) as entries:
            for entry in entries:
                path = f"{here}{entry.name}"
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{path}/")


def _second_names(root: Path) -> dict[str, str]:
    """By each name of an inode but the first in order: the first."""
    names: dict[int, list[str]] = {}
    for path, status in _lstats(root):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            names.setdefault(status.st_ino, []).append(path)
    firsts: dict[str, str] = {}
    for paths in names.values():
        first, *others = sorted(paths)
        firsts |= dict.fromkeys(others, first)
    return firsts


def is_sparse(root: Path) -> bool:
    """Whether reading all of it would mean to read huge holes."""
    return any(
        stat.S_ISREG(status.st_mode) and status.st_size > _HUGE and status.st_blocks * 512 < status.st_size // 2
        for _, status in _lstats(root)
    )


def different_data(src: Path, dst: Path) -> str | None:
    """The first file whose data differ, read where one of the two has no hole; both have the same names and sizes."""
    for path, status in _lstats(src):
        if stat.S_ISREG(status.st_mode) and not _same_data(os.path.join(src, path), os.path.join(dst, path)):
            return f"the data of {path}"
    return None


def _same_data(one: str, other: str) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        fds = first.fileno(), second.fileno()
        for fd in fds:
            for start, end in _data(fd):
                for at in range(start, end, _PART):
                    wanted, had = (os.pread(each, min(_PART, end - at), at) for each in fds)
                    if wanted != had:
                        return False
    return True


def _data(fd: int) -> Iterator[tuple[int, int]]:
    end = 0
    size = os.fstat(fd).st_size
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
