"""Random trees with everything that a run must go on with, and destinations that hold some of it already."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from pathlib import Path

from tests.support import oracle

MIB = 1 << 20
_BASE = 1_600_000_000 * 10**9
_ODD = (b"new\nline", b"\xff\xfe", b"-rf", b" ", b"back\\slash", "\u00e9".encode())


class _Grower:
    def __init__(self, rng: random.Random, budget: int) -> None:
        self.rng = rng
        self.left = budget
        self.big = rng.choice((0, 1, 3))
        self.number = 0
        self.linkable: list[bytes] = []

    def grow(self, path: bytes, depth: int) -> None:
        rng = self.rng
        os.mkdir(path)
        for _ in range(min(self.left, rng.choice((0, 2, 10, 40, 120)))):
            self.entry(path)
        if self.big and rng.random() < 0.3:
            self.big -= 1
            self.file(path + b"/big", rng.choice((2, 5, 9)) * MIB + rng.choice((0, 7)))
        if depth < 5:
            for _ in range(rng.choice((0, 1, 2, 4)) if depth else 4):
                if self.left > 0:
                    self.left -= 1
                    self.number += 1
                    self.grow(path + b"/d%d" % self.number, depth + 1)
        os.chmod(path, rng.choice((0o755, 0o755, 0o700, 0o2770, 0o555)))
        if rng.random() < 0.1:
            os.setxattr(path, "user.note", b"%d" % self.number)
        os.utime(path, ns=(_BASE, _BASE + rng.randrange(10**15)))

    def entry(self, path: bytes) -> None:
        rng = self.rng
        self.left -= 1
        self.number += 1
        name = path + b"/f%d" % self.number
        if rng.random() < 0.02:
            name += rng.choice(_ODD)
        kind = rng.random()
        if kind < 0.05 and self.linkable:
            os.link(rng.choice(self.linkable), name, follow_symlinks=False)
        elif kind < 0.09:
            os.symlink(rng.choice((b"f1", b"../nowhere", b"/etc/hostname")), name)
            os.utime(name, ns=(_BASE, _BASE + self.number), follow_symlinks=False)
        elif kind < 0.10:
            os.mkfifo(name)
            os.utime(name, ns=(_BASE, _BASE + self.number))
        elif kind < 0.12:
            with open(name, "wb") as file:
                file.truncate(rng.choice((100_000, 3 * MIB)))
                file.seek(65536)
                file.write(b"data")
            os.utime(name, ns=(_BASE, _BASE + self.number))
        else:
            self.file(name, rng.choice((0, 1, 100, 3000, 3000, 20_000, 60_000)))
        if rng.random() < 0.06:
            self.linkable.append(name)

    def file(self, name: bytes, size: int) -> None:
        rng = self.rng
        Path(os.fsdecode(name)).write_bytes(rng.randbytes(size))
        if rng.random() < 0.05:
            os.setxattr(name, "user.note", b"x" * rng.choice((1, 100)))
        os.chmod(name, rng.choice((0o644, 0o644, 0o600, 0o444, 0o755)))
        os.utime(name, ns=(_BASE, _BASE + rng.randrange(10**15)))


def grow(path: Path, rng: random.Random, budget: int) -> None:
    """Make a tree of about budget entries at path."""
    _Grower(rng, budget).grow(os.fsencode(path), 0)


def prepare(source: Path, dest: Path, rng: random.Random, how: str, extras: bool) -> None:
    """Make a destination. how: nothing, empty, partial. extras: with entries that the source does not have"""
    if how == "nothing":
        return
    if how == "empty":
        dest.mkdir()
        return
    subprocess.run(["cp", "-a", source, dest], check=True)
    files = []
    for root, directories, names in os.walk(os.fsencode(dest)):
        os.chmod(root, 0o755)
        for name in list(directories):
            if rng.random() < 0.15:
                shutil.rmtree(root + b"/" + name)
                directories.remove(name)
        for name in names:
            path, dice = root + b"/" + name, rng.random()
            if dice < 0.35:
                os.unlink(path)
            elif dice < 0.45 and stat.S_ISREG(os.lstat(path).st_mode) and os.lstat(path).st_nlink == 1:
                Path(os.fsdecode(path)).write_bytes(b"old content")
            elif stat.S_ISREG(os.lstat(path).st_mode) and os.lstat(path).st_nlink == 1:
                files.append(path)
        if extras and rng.random() < 0.3:
            os.mkdir(root + b"/extra")
            Path(os.fsdecode(root) + "/extra/file").write_bytes(b"x" * 100)
            Path(os.fsdecode(root) + "/extra file").write_bytes(b"y")
    if len(files) > 2 and rng.random() < 0.3:  # one file here that is two in the source
        one, other = rng.sample(files, 2)
        os.unlink(other)
        os.link(one, other)


def room_of(root: Path) -> int:
    """Return the bytes that the files below root take."""
    found = (info for info in oracle.lstats(root).values() if stat.S_ISREG(info.st_mode))
    return sum(dict(((info.st_dev, info.st_ino), info.st_blocks * 512) for info in found).values())


def missing(source: Path, dest: Path) -> tuple[int, int]:
    """Return how many entries of source dest does not have, and the bytes of files that are missing or not equal."""
    there = oracle.lstats(dest) if dest.exists() else {}
    entries = size = 0
    for path, info in oracle.lstats(source).items():
        found = there.get(path)
        entries += found is None
        if stat.S_ISREG(info.st_mode):
            same = found is not None and stat.S_ISREG(found.st_mode)
            same = same and (found.st_size, found.st_mtime_ns) == (info.st_size, info.st_mtime_ns)
            size += 0 if same else info.st_size
    return entries, size


def linked(root: Path) -> int:
    """Return the bytes of files with several names: those may be copied once more."""
    if not root.exists():
        return 0
    found = (info for info in oracle.lstats(root).values() if stat.S_ISREG(info.st_mode))
    return sum(info.st_size for info in found if info.st_nlink > 1)
