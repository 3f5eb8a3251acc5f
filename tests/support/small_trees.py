"""Random small trees, and random changes to a copy of one, drawn by hypothesis."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from tests.support.trees import Dir, Fifo, File, HardLink, Name, Node, Sparse, Symlink

MIB = 1 << 20
T = 1_600_000_000 * 10**9
NAMES = ["a", "b", "c", "d.x", ".e", "\n", "é"]
KINDS = ["dir", "dir", "dir", "file", "file", "file", "hard", "hard", "link", "fifo", "big"]
CONTENTS = [b"", b"same", b"same", b"other" * 300]

Tree = dict[Name, Node]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A strategy for trees of up to some twenty entries."""
    root: Tree = {}
    places: list[tuple[str, Tree]] = [("", root)]
    files: list[str] = []
    for _ in range(draw(st.integers(1, 22))):
        where, place = draw(st.sampled_from(places))
        name = draw(st.sampled_from(NAMES))
        path = os.path.join(where, name)
        if name in place:
            continue
        kind = draw(st.sampled_from(KINDS))
        if kind == "dir":
            entries: Tree = {}
            place[name] = Dir(entries, mode=draw(st.sampled_from([0o755, 0o700, 0o2555])), mtime_ns=T)
            places.append((path, entries))
        elif kind == "hard" and files:
            place[name] = HardLink(draw(st.sampled_from(files)))
        elif kind == "link":
            place[name] = Symlink(draw(st.sampled_from(["a", "../b", "nowhere"])), mtime_ns=T)
        elif kind == "fifo":
            place[name] = Fifo(mtime_ns=T)
        elif kind == "big":
            data = ((MIB, b"x" * draw(st.integers(1, 9999))), (5 * MIB, b"end"))
            place[name] = Sparse(draw(st.sampled_from([5 * MIB + 3, 9 * MIB])), data, mtime_ns=T)
            files.append(path)
        else:
            xattrs = {"user.a": b"b"} if draw(st.integers(0, 5)) == 5 else {}
            place[name] = File(draw(st.sampled_from(CONTENTS)), xattrs=xattrs, mtime_ns=T + draw(st.integers(0, 1)))
            files.append(path)
    return root


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _symlink(path: Path) -> None:
    _remove(path)
    path.symlink_to("elsewhere")


def _directory(path: Path) -> None:
    _remove(path)
    path.mkdir()


def _mode(path: Path) -> None:
    if not path.is_symlink():
        path.chmod(0o604)


def _xattr(path: Path) -> None:
    if not path.is_symlink() and not path.is_fifo():
        try:
            os.setxattr(path, "user.stale", b"value")
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # some trees are on file systems without attributes
                raise


def _content(path: Path) -> None:
    """Change the bytes at the end, and the mtime, for runs that do not compare tails."""
    if path.is_file() and not path.is_symlink():
        with open(path, "ab") as file:
            file.seek(-1, os.SEEK_END) if file.tell() else None
            file.write(b"#")


def _time(path: Path) -> None:
    os.utime(path, ns=(T, T - 10**9), follow_symlinks=False)


def _alone(path: Path) -> None:
    """Replace a file by a copy of it. Not one with holes: they would be filled."""
    if path.is_file() and not path.is_symlink() and path.stat().st_size < MIB:
        shutil.copy2(path, path.with_name("aside"))
        os.rename(path.with_name("aside"), path)


HAPPENINGS: dict[str, Callable[[Path], None]] = {
    "removed": _remove,
    "a symlink": _symlink,
    "a directory": _directory,
    "mode": _mode,
    "xattr": _xattr,
    "content": _content,
    "time": _time,
    "alone": _alone,
}


def meddle(draw: Callable[[st.SearchStrategy[object]], object], dst: Path) -> None:
    """Change some entries of a copy, and give some files a name that the source does not give them."""
    for _ in range(draw(st.integers(0, 6))):  # type: ignore[call-overload]
        there = sorted(path for path in dst.rglob("*"))
        if not there:
            return
        path = draw(st.sampled_from(there))
        assert isinstance(path, Path)
        what = draw(st.sampled_from([*HAPPENINGS, "another name"]))
        if what == "another name":
            other = draw(st.sampled_from(there))
            assert isinstance(other, Path)
            if other.is_file() and path.is_file() and not (path.is_symlink() or other.is_symlink()) and path != other:
                path.unlink()
                os.link(other, path)
        else:
            HAPPENINGS[str(what)](path)
