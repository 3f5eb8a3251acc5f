"""With -pfl every rank lists. What comes out is what rank 0 alone makes of it, whatever is in the trees."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.operations.copy.test_torture import copy_twice
from tests.support import oracle
from tests.support.copies import TINY_CHUNKS, changed, copy, items, rsync_items, state
from tests.support.effort import each_value, seldom
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_root, worlds
from tests.support.torture import torture
from tests.support.trees import Dir, File, HardLink, Name, Node, Sparse, build

pytestmark = needs_commands("rsync", "cmp")
MIB = 1 << 20
T = 1_600_000_000 * 10**9
TINY = (*TINY_CHUNKS, "--chunk-seconds", "0.01")
# The smallest ranges are of 4 MiB.
RANGES = ("--split-size", "4K")

RUNS = [
    *[(world, TINY) for world in worlds((3,), launchers=("plain", "mpich", "openmpi"))],
    *[(world, RANGES) for world in worlds((2,), launchers=("mpich",))],
    *[(world, RANGES) for world in seldom(worlds((1, 8), launchers=("mpich",)))],
    *[(world, (*TINY, *RANGES)) for world in worlds((5,), launchers=("mpich",))],
    *[(world, (*TINY, *RANGES)) for world in seldom(worlds(launchers=("plain",)))],
]


def each_run() -> pytest.MarkDecorator:
    named = {(): "chunks", TINY: "tiny", RANGES: "ranges", (*TINY, *RANGES): "tiny-ranges"}
    return pytest.mark.parametrize(
        "world, knobs",
        [
            pytest.param(world.values[0], knobs, id=f"{world.id}-{named[knobs]}", marks=world.marks)
            for world, knobs in RUNS
        ],  # type: ignore[attr-defined]
    )


def big_files(root: Path) -> None:
    """What is copied in ranges, with holes and with another name."""
    ends = ((0, b"begin"), (5 * MIB, b"x" * 70_000), (13 * MIB - 3, b"end"))
    build(root, {
        "sparse": Sparse(13 * MIB, ends, mtime_ns=T, mode=0o640),
        "hole": Sparse(9 * MIB + 1),
        "dense": File(os.urandom(MIB) * 5 + b"tail", mode=0o400),
        "twin": HardLink("dense"),
    })  # fmt: skip


@each_run()
def test_a_torture_tree_is_equal_and_a_second_run_touches_nothing(
    world: World, knobs: tuple[str, ...], on_tmpfs: Path
) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0)
    if set(RANGES) <= set(knobs):
        big_files(on_tmpfs / "src/big")
    copy_twice(world, on_tmpfs / "src", on_tmpfs / "dst", "-pfl", *knobs)


@needs_root
def test_a_torture_tree_of_another_user_on_disk(everyone: Callable[[Path], Path], on_disk: Path) -> None:
    mine = everyone(on_disk / "mine")
    nobody = os.stat(mine)
    torture(mine / "src", as_root=False, owner=(nobody.st_uid, nobody.st_gid))
    copy_twice(World("mpich", 3), mine / "src", mine / "dst", "-pfl", *TINY, user="nobody")


@pytest.mark.parametrize("world", worlds((4,), launchers=("plain", "mpich")))
def test_names_of_one_inode_that_different_ranks_find_are_linked(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    chance = random.Random(7)
    tree: dict[Name, Node] = {f"d{i}": Dir({"e": Dir({"f": File(b"%d" % i)})}) for i in range(30)}
    build(src, tree)
    for number in range(150):
        old = src / f"d{chance.randrange(30)}/e/f"
        os.link(old, src / f"d{chance.randrange(30)}/e/link{number}")
    first = copy(src, dst, "-pfl", *TINY, world=world)
    oracle.assert_equal_trees(src, dst)
    report = first.report
    assert report["copied"]["files"] == report["found"]["files"] == 180
    before = state(dst)
    assert copy(src, dst, "-pfl", *TINY, world=world).copied_entries == 0
    assert changed(before, state(dst)) == set()


@pytest.mark.parametrize("listing", [(), ("-pfl",)], ids=["rank-0-lists", "all-list"])
@pytest.mark.parametrize("chunks", [(), TINY], ids=["chunks", "tiny"])
def test_a_file_of_the_destination_does_not_stay_the_copy_of_two(
    chunks: tuple[str, ...], listing: tuple[str, ...], on_tmpfs: Path
) -> None:
    """Source links and links that only the destination has cross each other, in many directories."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    names = [f"d{i}/f" for i in range(12)]
    for root in (src, dst):
        build(root, {f"d{i}": Dir({"f": File(b"same", mtime_ns=T)}, mtime_ns=T) for i in range(12)})
    for root, step in ((src, 3), (dst, 4)):
        for first, name in enumerate(names):
            if first >= step:
                (root / name).unlink()
                os.link(root / names[first % step], root / name)
        for i in range(12):
            os.utime(root / f"d{i}", ns=(T, T))
    copy(src, dst, *listing, *chunks)
    oracle.assert_equal_trees(src, dst, top=False)
    before = state(dst)
    assert copy(src, dst, *listing, *chunks).copied_entries == 0
    assert changed(before, state(dst)) == set()


def letters(lines: dict[str, str]) -> dict[str, str]:
    """Lines without what depends on which names of a file are found together: rsync says `h` of all but one."""
    return {path: change[1:] for path, change in lines.items()}


@each_value
@pytest.mark.parametrize("chunks", [(), TINY], ids=["chunks", "tiny"])
@pytest.mark.parametrize("world", worlds((3,), launchers=("plain", "mpich")))
def test_a_dry_run_says_what_it_says_without_and_what_rsync_says(
    world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    torture(src, as_root=os.geteuid() == 0, beyond_path_max=False)
    new = [copy(src, dst, "-n", *listing, *chunks, world=world).done.stdout for listing in ((), ("-pfl",))]
    assert letters(items(new[0])) == letters(items(new[1])) != {}
    lines = [line for line in new[1].splitlines() if re.match(r"[.<>ch*][fdLDS]\S{9} ", line)]
    assert len(lines) == len(items(new[1])), "one line an entry"
    copy(src, dst, world=world)
    (dst / "types/file").write_bytes(b"changed")
    (dst / "types/one-byte").unlink()
    (dst / "sparse/only-a-hole").chmod(0o600)
    (dst / "names").chmod(0o700)
    (src / "types/new").mkdir()
    before = state(dst)
    again = [items(copy(src, dst, "-n", *listing, *chunks, world=world).done.stdout) for listing in ((), ("-pfl",))]
    assert changed(before, state(dst)) == set()
    assert letters(again[0]) == letters(again[1]) != {}
    assert set(again[1]) == set(rsync_items(src, dst, "--modify-window=-1", "--exclude=socket"))
