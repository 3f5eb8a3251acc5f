"""Listing that is shared out on the way: what comes out is what rank 0 alone makes of it, whatever is in the trees."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.operations.copy.test_torture import SOCKETS
from tests.support import eager_sharing, oracle, processes
from tests.support.copies import TINY_CHUNKS, changed, copy, cps, stages, state
from tests.support.launch import World
from tests.support.marks import needs_commands, worlds
from tests.support.torture import torture
from tests.support.trees import Dir, File, Name, Node, build

pytestmark = needs_commands("rsync", "cmp")
EAGER = (eager_sharing.__file__,)
WORLDS = worlds((4,), launchers=("mpich", "openmpi"))


def branches(count: int) -> dict[Name, Node]:
    """Directories in directories, with a few files each."""
    files = {f"f{i}": File(b"%d" % i * 50, mtime_ns=5 + i) for i in range(4)}
    inner = {f"e{i}": Dir(files, mtime_ns=6) for i in range(6)}
    return {f"d{i:02}": Dir({**inner, **files}, mtime_ns=7, mode=0o750) for i in range(count)}


@pytest.mark.parametrize("chunks", [(), (*TINY_CHUNKS, "--chunk-seconds", "0.01")], ids=["chunks", "tiny"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_torture_tree_is_equal_and_the_report_says_who_listed(
    world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    torture(src, as_root=os.geteuid() == 0)
    build(src / "branches", branches(40))
    first = copy(src, dst, *chunks, world=world, python_args=EAGER)
    oracle.assert_equal_trees(src, dst, sockets=False)
    assert stages(dst) == [] and list(first.notes) == [f"{src}/{path}" for path in SOCKETS]
    assert first.report["listed_by_all"] is not None, str(first.done)
    before = state(dst)
    assert copy(src, dst, *chunks, world=world).copied_entries == 0
    assert changed(before, state(dst)) == set()


@pytest.mark.parametrize("more", [(), ("--verify",)], ids=["", "verified"])
def test_names_that_rank_0_and_others_find_are_linked(more: tuple[str, ...], on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, branches(40))
    chance = random.Random(3)
    files = [path for path in sorted(src.rglob("*")) if path.is_file()]
    for number, old in enumerate(chance.sample(files, 200)):
        os.link(old, chance.choice(files).parent / f"link{number}")
    done = copy(src, dst, *more, *TINY_CHUNKS, world=World("mpich", 4), python_args=EAGER)
    oracle.assert_equal_trees(src, dst)
    assert done.report["listed_by_all"] is not None, str(done.done)
    assert done.report["copied"]["files"] == done.report["found"]["files"] == len(files) + 200


def test_what_was_killed_while_listing_was_shared_is_resumed(on_tmpfs: Path) -> None:
    src, dst, ledger = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "ledger"
    build(src, branches(300))
    arguments = ["-f", "50", "--chunk-seconds", "0.1", "--ledger", ledger, src, dst]
    with World("mpich", 4).start(arguments, python_args=EAGER) as running:
        deadline = time.monotonic() + 60
        while len(list(dst.glob("*/*"))) < 300 and not running.ended:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        processes.kill_all(running._tag)
        running.finish()
    assert not cps(dst)
    done = copy("--resume", ledger, world=World("mpich", 4), python_args=EAGER)
    oracle.assert_equal_trees(src, dst)
    assert stages(dst) == [], str(done.done)
