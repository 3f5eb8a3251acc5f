"""Make the trees whose shape is out of the ordinary; what a place has to be able to hold.

Written as they go, with next to no memory: what this process uses counts as used by those that it starts.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from pathlib import Path

from tests.bench.trees import (
    SMALL_SIZE,
    Extra,
    Flat,
    HardLinked,
    ManyNames,
    Nested,
    Shaped,
    Source,
    Sparse,
    Symlinks,
    Thin,
)

_CANNOT = {errno.EFBIG, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC, errno.EPERM}
_USER = 1000
# Of an ACL: owner rw-, user 1000 r--, group r--, mask r--, others r--.
_ACL = struct.pack(
    "<I" + "HHI" * 5,
    2,
    *(0x01, 6, 0xFFFFFFFF),
    *(0x02, 4, _USER),
    *(0x04, 4, 0xFFFFFFFF),
    *(0x10, 4, 0xFFFFFFFF),
    *(0x20, 4, 0xFFFFFFFF),
)


def unavailable(source: Source, place: Path) -> str | None:
    """Why `place` cannot hold such a tree, which is tried; None if it can."""
    if not isinstance(source, Sparse) and not (isinstance(source, Flat) and source.extra):
        return None
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-bench-", dir=place) as scratch:
        try:
            if isinstance(source, Sparse):
                make(source, Path(scratch) / "one")
            else:
                small_file(os.path.join(scratch, "one"), 0, source.extra)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            what = f"a file of {source.size:,} bytes" if isinstance(source, Sparse) else source.extra
            return f"{place} cannot hold {what}: {error.strerror}"
    return None


def make(tree: Shaped, root: Path) -> None:
    root.mkdir(parents=True)
    here = os.fspath(root)
    if isinstance(tree, Thin):
        _make_thin(tree, here)
    elif isinstance(tree, Symlinks):
        _make_symlinks(tree, here)
    elif isinstance(tree, HardLinked):
        _make_hard_linked(tree, here)
    elif isinstance(tree, ManyNames):
        _make_many_names(tree, here)
    elif isinstance(tree, Nested):
        _make_nested(tree, here)
    else:
        _make_sparse(tree, here)


def small_file(path: str, number: int, extra: Extra = "", size: int = SMALL_SIZE) -> None:
    """Write a file whose content tells its number, with what it has besides."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if size:
            line = b"%d\n" % number
            os.write(fd, (line * (size // len(line) + 1))[:size])
        if extra == "a user attribute":
            os.setxattr(fd, "user.number", b"%d" % number)
        elif extra:
            os.setxattr(fd, "system.posix_acl_access", _ACL)
    finally:
        os.close(fd)


def _make_thin(tree: Thin, root: str) -> None:
    parent = root
    for number in range(tree.directories):
        if number % tree.per_parent == 0:
            parent = f"{root}/part{number // tree.per_parent:04}"
            os.mkdir(parent)
        directory = f"{parent}/dir{number:06}"
        os.mkdir(directory)
        small_file(f"{directory}/file", number)


def _make_symlinks(tree: Symlinks, root: str) -> None:
    directory = root
    for number in range(tree.links):
        if number % tree.per_directory == 0:
            directory = f"{root}/dir{number // tree.per_directory:04}"
            os.mkdir(directory)
        os.symlink(f"../some/target/{number}", f"{directory}/link{number:07}")


def _make_hard_linked(tree: HardLinked, root: str) -> None:
    # Of the names in a directory, half are first ones unless the second ones are elsewhere.
    per_directory = tree.per_directory // (1 if tree.apart else 2) or tree.files
    firsts, seconds = (f"{root}/first", f"{root}/second") if tree.apart else (root, root)
    for parent in dict.fromkeys((firsts, seconds)):
        os.makedirs(parent, exist_ok=True)
    for number in range(tree.files):
        name = f"dir{number // per_directory:05}"
        if number % per_directory == 0:
            for parent in dict.fromkeys((firsts, seconds)):
                os.mkdir(f"{parent}/{name}")
        first = f"{firsts}/{name}/file{number:07}"
        small_file(first, number)
        os.link(first, f"{seconds}/{name}/name{number:07}")


def _make_many_names(tree: ManyNames, root: str) -> None:
    for file in range(tree.files):
        first = f"{root}/file{file}"
        small_file(first, file)
        directory = root
        for number in range(tree.names - 1):
            if number % tree.per_directory == 0:
                directory = f"{root}/names{file}.{number // tree.per_directory:03}"
                os.mkdir(directory)
            os.link(first, f"{directory}/name{number:06}")


def _make_nested(tree: Nested, root: str) -> None:
    directory = root
    for depth in range(tree.depth):
        directory += f"/d{depth}"
        os.mkdir(directory)
        for number in range(tree.per_directory):
            small_file(f"{directory}/file{number:04}", depth * tree.per_directory + number)


def _make_sparse(tree: Sparse, root: str) -> None:
    with open(f"{root}/sparse", "xb", buffering=0) as file:
        file.truncate(tree.size)
        file.seek(tree.size // 2)
        file.write(b"x" * tree.data)
