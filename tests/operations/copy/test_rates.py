"""A copy with a limited rate is no faster than it may be, on however many ranks, and loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, copy
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, worlds
from tests.support.trees import Dir, File, Sparse, build

pytestmark = needs_commands("rsync")
MIB = 1 << 20
BURST = 0.25  # seconds


@each_value
@pytest.mark.parametrize("world", [PLAIN, *worlds((3,), launchers=("mpich",))], ids=str)
@pytest.mark.parametrize("split", ["0", "4M"])
def test_bytes_take_their_time(world: World, split: str, on_tmpfs: Path) -> None:
    files = {f"f{i}": File(os.urandom(MIB // 2)) for i in range(8)}
    build(on_tmpfs / "src", {**files, "d": Dir({"big": File(os.urandom(8 * MIB))})})
    done = copy("-L", "16Mi", "--split-size", split, on_tmpfs / "src", on_tmpfs / "dst", world=world)
    # The last thing granted is not waited for: here at most the big file.
    last = 8 * MIB if split == "0" else 4 * MIB
    assert done.report["seconds"] >= (12 * MIB - last) / (16 * MIB) - BURST
    assert done.report["copied"]["bytes"] == 12 * MIB
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


def test_files_take_their_time(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"d{i}": Dir({f"f{j}": File(b"x") for j in range(20)}) for i in range(10)})
    done = copy("-F", "200", on_tmpfs / "src", on_tmpfs / "dst")
    assert done.report["seconds"] >= 200 / 200 - 2 * BURST
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


@pytest.mark.parametrize("option", [(), ("-pfl",)])
def test_what_a_check_finds_to_be_different_takes_its_time_too(option: tuple[str, ...], on_tmpfs: Path) -> None:
    for side in ("src", "dst"):
        build(on_tmpfs / side, {f"f{i}": File(os.urandom(MIB), mtime_ns=10**18) for i in range(6)})
    done = copy("-L", "6Mi", *option, on_tmpfs / "src", on_tmpfs / "dst")
    assert done.report["seconds"] >= (6 - 1) / 6 - 2 * BURST
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


@pytest.mark.parametrize("option", [(), ("-fh",)])  # whole files are compared by whoever is free, not by who lists
def test_nor_are_many_small_ones_copied_where_they_are_checked(option: tuple[str, ...], on_tmpfs: Path) -> None:
    for side in ("src", "dst"):
        build(on_tmpfs / side, {f"f{i}": File(os.urandom(9), mtime_ns=10**18) for i in range(200)})
    done = copy("-F", "250", *option, on_tmpfs / "src", on_tmpfs / "dst")
    assert done.report["seconds"] >= 200 / 250 - 2 * BURST
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


def test_what_is_not_copied_is_not_slowed_down(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"d": Dir({f"f{i}": Sparse(MIB) for i in range(400)})})
    copy(on_tmpfs / "src", on_tmpfs / "dst")
    for options in (("-n",), ("-fh",), ()):
        done = copy("-L", "1Mi", "-F", "1", *options, on_tmpfs / "src", on_tmpfs / "dst", timeout=40)
        assert done.copied_entries == 0
    copy("-n", "-L", "1", "-F", "1", on_tmpfs / "src", on_tmpfs / "new", timeout=40)
