"""Times that a destination cannot store: the copy gets the nearest, and every later run takes that for equal.

Judged by cp -a where the kernel clamps times, and by what MooseFS is known to store where nobody does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import filesystems, oracle
from tests.support.copies import changed, copy, items, state
from tests.support.marks import needs_fuse
from tests.support.trees import Dir, File, HardLink, Node, Symlink, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_fuse,
    pytest.mark.skipif(bool(filesystems.missing()), reason=f"not installed: {' '.join(filesystems.missing())}"),
]
S = 10**9
T = 1_600_000_000 * S
OLD, JUST_OLD, NEW = -5_000_000_000 * S, -S // 2, 16_400_000_000 * S  # 1811, half a second before 1970, 2489
BIG = 300_000  # bytes, of which the tests make ranges
SPLIT = ("--split-size", "100000")
TREE: dict[str, Node] = {
    "old": File(b"old", mtime_ns=OLD),
    "just-old": File(b"just old", mtime_ns=JUST_OLD),
    "new": File(b"new", mtime_ns=NEW),
    "now": File(b"now", mtime_ns=T),
    "big": File(b"b" * BIG, mtime_ns=NEW),
    "whole": Dir({"a": File(b"a", mtime_ns=T), "deep": Dir({"old": File(b"o", mtime_ns=OLD)}, mtime_ns=T)}, mtime_ns=T),
    "old-dir": Dir({"a": File(b"a", mtime_ns=T), "link": Symlink("a", mtime_ns=OLD)}, mtime_ns=OLD),
    "empty": Dir({}, mtime_ns=NEW),
    "twin": HardLink("old"),
}
ASTRAY = {"old", "just-old", "new", "big", "whole/deep/old", "old-dir", "old-dir/link", "empty"}


@dataclass
class Trees:
    kind: str
    src: Path
    dst: Path

    def seen(self) -> dict[str, int]:
        """The mtimes (ns) of the copies, by path. GlusterFS shows now what was set before 1970, now 1970."""
        times = mtimes(self.dst)
        return {path: max(ns, 0) for path, ns in times.items()} if self.kind == "glusterfs" else times

    def wanted(self) -> dict[str, int]:
        """The mtimes (ns) that the copies are to have, by path."""
        if self.kind == "moose":
            times = mtimes(self.src)
            return {path: min(max(ns // S, 0), 2**32 - 1) * S for path, ns in times.items()}
        if self.kind == "glusterfs":
            return {path: max(ns, 0) for path, ns in mtimes(self.src).items()}
        judge = self.dst.parent / "judge"
        subprocess.run(["cp", "-aT", self.src, judge], check=True)
        times = mtimes(judge)
        shutil.rmtree(judge)
        return times


@pytest.fixture(params=filesystems.KINDS)
def trees(request: pytest.FixtureRequest, mounts: dict[str, Path]) -> Iterator[Trees]:
    src, dst = mounts["tmpfs"] / "src", mounts[request.param] / "dst"
    build(src, TREE)
    os.utime(src, ns=(T, T))
    yield Trees(request.param, src, dst)
    for path in (src, dst):
        shutil.rmtree(path, ignore_errors=True)


def mtimes(root: Path) -> dict[str, int]:
    return {os.fsdecode(path): status.st_mtime_ns for path, status in oracle.lstats(root).items()}


def test_the_nearest_time_is_equal_ever_after(trees: Trees) -> None:
    done = copy(trees.src, "-d", trees.dst, *SPLIT, "--verify")
    assert trees.seen() == trees.wanted()
    told = {os.path.relpath(path, trees.src) for path, note in done.notes.items() if "cannot store its time" in note}
    told = told - {"twin"} | ({"old"} if "twin" in told else set())
    beyond = {path for path in ASTRAY if trees.wanted()[path] != mtimes(trees.src)[path]}
    if trees.kind == "moose":
        assert told == ASTRAY
    else:  # one of them is noted, with their number; a name more of one file is looked at too
        (note,) = [note for note in done.notes.values() if "cannot store its time" in note] or [""]
        assert told <= beyond and bool(note) == bool(beyond)
        assert not note or int(note.split("the first of ")[1].split()[0]) - len(beyond) in (0, 1)
    before = state(trees.dst)
    for how in ((), ("-hs", "0"), ("-pfl", "--verify"), ("-rme", "-rf")):
        again = copy("-v", *how, *SPLIT, trees.src, "-d", trees.dst)
        assert items(again.done.stdout) == {} and not [note for note in again.notes.values() if "time" in note]
    # Where files without a name cannot be made, finding out what can be stored leaves a trace in the root's ctime.
    assert changed(before, state(trees.dst)) <= ({b"."} if trees.kind in ("moose", "glusterfs") else set())
    assert copy("-cfl", trees.src, trees.dst).report["differences"] == {"added": 0, "modified": 0, "deleted": 0}


def test_a_time_that_can_be_stored_again_is(trees: Trees) -> None:
    """And ranks that list, and a move, give and see the same times."""
    copy("-pfl", trees.src, "-d", trees.dst)
    for name in ("old", "old-dir", "old-dir/link", "big"):
        os.utime(trees.src / name, ns=(T, T + 2 * S), follow_symlinks=False)
    os.utime(trees.src / "now", ns=(T, OLD))
    wanted = trees.wanted()
    copy("-rm", "-rf", *SPLIT, trees.src, "-d", trees.dst)
    assert trees.seen() == wanted and not trees.src.exists()
