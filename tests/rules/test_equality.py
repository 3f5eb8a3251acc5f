"""The rules for identical entries and for differing metadata, in the letters of rsync."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.rules.equality import NEW, Rights, change_letters, letter, maybe_identical, metadata_changes
from hpcp_mpi.vocab.abilities import StoredTimes

REG, DIR, LNK, CHR, BLK, FIFO, SOCK = (
    stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK,
)  # fmt: skip
ROOT = Rights(0, frozenset({0}))
FIVE = StoredTimes(mtime_tolerance_ns=5)
ANN = Rights(1000, frozenset({1000, 50}))


def status(kind: int = REG, mode: int = 0o644, **other: Any) -> os.stat_result:
    fields = {"st_mode": kind | mode, "st_size": 5, "st_mtime_ns": 10**18, "st_uid": 0, "st_gid": 0, "st_rdev": 0}
    return cast(os.stat_result, SimpleNamespace(**{**fields, **{f"st_{key}": value for key, value in other.items()}}))


@given(st.integers(-(2**62), 2**62), st.integers(-(10**10), 10**10), st.integers(0, 10**10))
def test_times_are_equal_exactly_within_the_window(time_ns: int, apart: int, window: int) -> None:
    times = StoredTimes(1, -(2**80), 2**80, mtime_tolerance_ns=window)
    assert times.same(time_ns, time_ns + apart) == (abs(apart) <= window)


@pytest.mark.parametrize(
    "source, dest, window, same",
    [
        (status(), status(), 0, True),
        (status(), status(size=6), 0, False),
        (status(), status(mtime_ns=10**18 + 1), 0, False),
        (status(), status(mtime_ns=10**18 + 1), 1, True),
        (status(), status(mode=0o600, uid=7, gid=7), 0, True),  # metadata is written without a copy
        (status(REG), status(LNK), 0, False),
        (status(LNK), status(DIR), 0, False),
        (status(LNK, size=3), status(LNK, size=9, mtime_ns=1), 0, True),  # the target is compared elsewhere
        (status(FIFO), status(FIFO, mtime_ns=1), 0, True),
        (status(CHR, rdev=1), status(CHR, rdev=1, mtime_ns=1), 0, True),
        (status(CHR, rdev=1), status(CHR, rdev=2), 0, False),
        (status(BLK, rdev=1), status(CHR, rdev=1), 0, False),
    ],
)
def test_type_size_and_mtime_tell_what_may_be_identical(
    source: os.stat_result, dest: os.stat_result, window: int, same: bool
) -> None:
    assert maybe_identical(source, dest, StoredTimes(mtime_tolerance_ns=window)) is same


@pytest.mark.parametrize(
    "rights, source, dest, changes",
    [
        (ROOT, status(), status(), ""),
        (ROOT, status(), status(mtime_ns=1), "t"),
        (ROOT, status(), status(mode=0o600), "p"),
        (ROOT, status(mode=0o4755), status(mode=0o755), "p"),
        (ROOT, status(uid=7, gid=8), status(), "og"),
        (ROOT, status(LNK, mode=0o777), status(LNK, mode=0o755), ""),  # a link's mode means nothing
        (ROOT, status(LNK, uid=7), status(LNK), "o"),
        (ROOT, status(uid=7, gid=8), status(mode=0o600, mtime_ns=1), "tpog"),
        # users other than root cannot give files away, and may only set groups they are in, on their own files
        (ANN, status(uid=7, gid=8), status(uid=1000, gid=1000), ""),
        (ANN, status(uid=7, gid=50), status(uid=1000, gid=1000), "g"),
        (ANN, status(uid=7, gid=50), status(uid=8, gid=1000), ""),
        # cp drops the bits that would then mean another user
        (ANN, status(mode=0o6755, uid=7, gid=8), status(mode=0o755, uid=1000, gid=1000), ""),
        (ANN, status(mode=0o6755, uid=7, gid=8), status(mode=0o6755, uid=1000, gid=1000), "p"),
        (ANN, status(mode=0o6755, uid=1000, gid=50), status(mode=0o755, uid=1000, gid=50), "p"),
        (ANN, status(DIR, mode=0o1777, uid=0, gid=0), status(DIR, mode=0o1777, uid=1000, gid=1000), ""),
    ],
)
def test_only_metadata_that_this_user_can_set_is_a_change(
    rights: Rights, source: os.stat_result, dest: os.stat_result, changes: str
) -> None:
    assert metadata_changes(source, dest, StoredTimes(), rights) == changes


def test_the_window_holds_for_metadata_and_attribute_letters_come_last() -> None:
    assert metadata_changes(status(), status(mtime_ns=10**18 + 5), FIVE, ROOT, "ax") == "ax"
    assert metadata_changes(status(), status(mtime_ns=10**18 + 6, mode=0), FIVE, ROOT, "x") == "tpx"


@pytest.mark.parametrize(
    "update, kind, changes, line",
    [
        (">", REG, NEW, ">f+++++++++"),
        (">", REG, "st", ">f.st......"),
        (">", REG, "c", ">fc........"),
        (".", REG, "xgopt", ".f..tpog..x"),
        (".", DIR, "t", ".d..t......"),
        ("c", DIR, NEW, "cd+++++++++"),
        ("c", LNK, "c", "cLc........"),
        ("h", REG, NEW, "hf+++++++++"),
        (".", FIFO, "a", ".S.......a."),
    ],
)
def test_changes_are_written_as_rsync_does(update: str, kind: int, changes: str, line: str) -> None:
    assert change_letters(update, kind | 0o644, changes) == line
    assert len(line) == 11


@pytest.mark.parametrize(
    "kind, shown", [(REG, "f"), (DIR, "d"), (LNK, "L"), (CHR, "D"), (BLK, "D"), (FIFO, "S"), (SOCK, "S")]
)
def test_each_type_has_rsyncs_letter(kind: int, shown: str) -> None:
    assert letter(kind | 0o600) == shown
