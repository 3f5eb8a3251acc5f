"""Any small tree, any limits of the destination: all that looks at a copy agrees on what is equal, and nothing is lost.

The destination may refuse attributes, or those that are too big, clamp times or make any of them, and fold case. What a
copy, the same again, a compare, --verify and a move say has to be the same; and what the source held is always in the
source, the destination or the backup.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hpcp_mpi.vocab.report import Report
from tests.support import direct, faultfs
from tests.support.copies import changed, stages, state
from tests.support.effort import many
from tests.support.marks import needs_commands, needs_fuse
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_commands("rsync"),
    needs_fuse,
]
S = 10**9
T = 1_600_000_000 * S
LIMITS = st.fixed_dictionaries({
    "refuse_xattr": st.sampled_from(["", "", "user.", "user.big", "trusted."]),
    "most_xattr": st.sampled_from([None, 100]),
    "latest": st.sampled_from([None, (1 << 31) - 1]),
    "moose": st.sampled_from([0, 0, 1]),
    "fold": st.sampled_from([0, 0, 1]),
})  # fmt: skip
OPTIONS = st.fixed_dictionaries({
    "parallel_listing": st.booleans(),
    "split_size": st.sampled_from([0, 4096]),
    "chunk_size": st.sampled_from([1, 512 << 20]),
    "hash_size": st.sampled_from([0, 64 << 10]),
    "strict_metadata": st.sampled_from([False, False, True]),
})  # fmt: skip
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # it takes many minutes
ATTRIBUTES = {"user.small": b"1", "user.big": b"x" * 3000, "trusted.t": b"2"}
TIMES = [T, T + 1, -5 * S, 3_000_000_000 * S, 5_000_000_000 * S]


def season(root: Path, chance: random.Random) -> None:
    """Give entries attributes and times, and some a name that differs from another one in case only."""
    for path in sorted(root.rglob("*"), key=lambda path: -len(path.parts)):
        if path.is_symlink() or path.is_fifo():
            continue
        for name, value in ATTRIBUTES.items():
            if chance.random() < 0.2:
                os.setxattr(path, name, value)
        if path.is_file() and chance.random() < 0.15 and not path.with_name(path.name.upper()).exists():
            path.with_name(path.name.upper()).write_bytes(b"in capitals: " + os.fsencode(path.name))
        if chance.random() < 0.3:
            time = chance.choice(TIMES)
            os.utime(path, ns=(time, time))


def contents(*roots: Path) -> set[bytes]:
    files = [path for root in roots if root.exists() for path in root.rglob("*")]
    return {path.read_bytes() for path in files if path.is_file() and not path.is_symlink()}


@contextmanager
def place() -> Iterator[Path]:
    at = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir="/dev/shm"))
    try:
        (at / "backing").mkdir()
        yield at
    finally:
        shutil.rmtree(at)


def failed(report: Report) -> set[bytes | int]:
    """What failed: paths, and of files with several names their inodes."""
    found: set[bytes | int] = set()
    for failure in report.failures:
        there = os.lstat(failure.path) if os.path.lexists(failure.path) else None
        several = there is not None and there.st_nlink > 1 and not os.path.isdir(failure.path)
        found.add(there.st_ino if several and there is not None else failure.path)
    return found


@settings(max_examples=many(18), phases=NO_SHRINKING, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), LIMITS, OPTIONS, st.integers(0, 1 << 30), st.data())
def test_all_agree_and_no_content_is_lost(
    tree: Tree, limits: dict[str, Any], options: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    with place() as at:
        src = at / "src"
        build(src, tree)
        season(src, random.Random(seed))
        with faultfs.mounted(at / "backing", **{name: value for name, value in limits.items() if value}) as mount:
            dst, kept = mount / "dst", mount / "kept"
            wanted = contents(src)
            first = direct.copy(src, dst, **options)
            assert wanted == contents(src)
            if not limits["fold"]:  # else names that are one there are copied one over the other each time
                assert options["strict_metadata"] or first.failures == []
                assert contents(dst) == wanted
                agreed(src, dst, options, first)
            # An older copy is changed, then made equal again; what is replaced or removed goes to the backup.
            meddle(data.draw, dst)
            everything = contents(src, dst)
            mended = direct.copy(src, dst, **options, mirror=True, backup_dir=os.fsencode(kept))
            assert contents(src, dst, kept) == everything, mended.failures
            if not limits["fold"]:
                assert options["strict_metadata"] or mended.failures == []
                agreed(src, dst, options, mended)
            moved = direct.copy(src, dst, **options, move=True)
            assert contents(src, dst, kept) == everything
            assert moved.failures or not src.exists()
            for path in src.rglob("*") if src.exists() else ():
                named = {*map(os.fsencode, [path, *path.parents]), path.lstat().st_ino}
                assert path.is_dir() or named & failed(moved), path
            assert stages(dst) == []


def agreed(src: Path, dst: Path, options: dict[str, Any], before: Report) -> None:
    """All say that the copies are equal, and touch nothing; or, with strict_metadata, name the same entries."""
    was = state(dst)
    for how in ({}, {"verify": True}, {"hash_size": 0}, {"dry_run": True}):
        again = direct.copy(src, dst, **{**options, **how})
        if how.get("dry_run") or "hash_size" in how:
            assert failed(again) <= failed(before), how
        else:
            assert failed(again) == failed(before), (how, failed(again) ^ failed(before))
        if not options["strict_metadata"]:
            done = again.outcome
            assert not done.copied and not done.updated, (how, done)
    touched = changed(was, state(dst))
    assert touched <= {b"."}, touched  # finding out what can be stored leaves a trace there
    strict = {**options, "strict_metadata": False}
    assert not any((direct.compare(src, dst, **strict).differences or {"none": 1}).values())
