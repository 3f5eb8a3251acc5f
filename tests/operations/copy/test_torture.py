"""Everything a file system can hold is copied so that other tools find no difference, with any number of ranks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, changed, copy, stages, state
from tests.support.effort import each_value, seldom
from tests.support.launch import World
from tests.support.marks import each_world, needs_commands, needs_root, worlds
from tests.support.torture import SOCKETS, torture
from tests.support.trees import Dir, File, HardLink, Name, Node, Symlink, build

pytestmark = needs_commands("rsync")

# Open MPI takes seconds to start, so it has fewer sizes.
WORLDS = [
    *worlds(launchers=("plain", "nompi")),
    *worlds((2, 4), launchers=("mpich",)),
    *worlds((2,), launchers=("openmpi",)),
    *seldom(worlds((1, 8), launchers=("mpich",))),
    *seldom(worlds((1, 4), launchers=("openmpi",))),
]
CHUNKS = pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])


def copy_twice(world: World, src: Path, dst: Path, *options: str, owners: bool = True, user: str | None = None) -> None:
    """Copy, judge; copy again, and expect that not a single entry was touched."""
    first = copy(src, dst, *options, world=world, user=user)
    oracle.assert_equal_trees(src, dst, sockets=False, owners=owners)
    assert stages(dst) == []
    assert list(first.notes) == [f"{src}/{path}" for path in SOCKETS]
    before = state(dst)
    second = copy(src, dst, *options, world=world, user=user)
    assert second.copied_entries == 0
    assert second.report["metadata_only"]["files"] == second.report["metadata_only"]["directories"] == 0
    assert second.report["hard_links"] == 0
    assert changed(before, state(dst)) == set()


@each_value
@CHUNKS
@pytest.mark.parametrize("world", WORLDS)
def test_a_torture_tree_is_equal_and_a_second_run_touches_nothing(
    world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0)
    copy_twice(world, on_tmpfs / "src", on_tmpfs / "dst", *chunks)


@each_value
@CHUNKS
@each_world(sizes=(4,), launchers=("plain", "mpich"))
def test_the_same_on_disk(world: World, chunks: tuple[str, ...], on_disk: Path) -> None:
    torture(on_disk / "src", as_root=os.geteuid() == 0)
    copy_twice(world, on_disk / "src", on_disk / "dst", *chunks)


@needs_root
@pytest.mark.parametrize("way", ["memory-to-disk", "disk-to-memory"])
def test_between_file_systems(way: str, on_disk: Path, on_tmpfs: Path) -> None:
    src, dst = (on_tmpfs, on_disk) if way == "memory-to-disk" else (on_disk, on_tmpfs)
    torture(src / "src", as_root=True)
    copy_twice(PLAIN, src / "src", dst / "dst")


@each_value
@needs_root
@CHUNKS
@each_world(sizes=(4,), launchers=("plain", "mpich"))
def test_a_torture_tree_of_another_user(
    world: World, chunks: tuple[str, ...], everyone: Callable[[Path], Path], place: Path
) -> None:
    mine = everyone(place / "mine")
    nobody = os.stat(mine)
    torture(mine / "src", as_root=False, owner=(nobody.st_uid, nobody.st_gid))
    copy_twice(world, mine / "src", mine / "dst", *chunks, user="nobody")


@needs_root
@CHUNKS
def test_what_another_user_may_not_give_away_becomes_what_cp_makes_of_it(
    chunks: tuple[str, ...], everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    mine = everyone(on_tmpfs / "mine")
    group = os.stat(mine).st_gid
    tree: dict[Name, Node] = {
        "of-root": File(b"root"),
        "setuid": File(b"#!", mode=0o6755, owner=(1234, 4321)),
        "group-of-ours": File(b"g", mode=0o2775, owner=(1234, group)),
        "acl": File(b"acl", acl="u::rw-,u:1234:rw-,g::r--,m::rwx,o::r--"),
        "user": File(b"user", xattrs={"user.a": b"b"}, mode=0o444),
        "link": Symlink("nowhere", owner=(1234, 4321)),
        "setgid": Dir({"f": File(b"f"), "d": Dir({"f": File(b"f")}, mode=0o555)}, mode=0o2755, owner=(1234, 4321)),
        "read-only": Dir({"sub": Dir({"f": File(b"f")}, mode=0o555, mtime_ns=5)}, mode=0o555, mtime_ns=6),
        "sticky": Dir({"f": File(b"f")}, mode=0o1777),
        "twin": HardLink("setuid"),
    }
    build(on_tmpfs / "src", tree)
    copy(on_tmpfs / "src", mine / "by-us", *chunks, user="nobody")
    command = ["cp", "-a", on_tmpfs / "src", mine / "by-cp"]
    subprocess.run(command, user="nobody", group=group, extra_groups=[], check=True)
    oracle.assert_equal_trees(mine / "by-cp", mine / "by-us")
    before = state(mine / "by-us")
    assert copy(on_tmpfs / "src", mine / "by-us", *chunks, user="nobody").copied_entries == 0
    assert changed(before, state(mine / "by-us")) == set()


@needs_root
def test_directories_that_only_the_group_may_enter_come_out_as_cp_makes_them(
    everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    """Their copies shut their own maker out, so the order in which they get their modes matters."""
    mine = everyone(on_tmpfs / "mine")
    whose = (1234, os.stat(mine).st_gid)
    inner = Dir({"f": File(b"f"), "deep": Dir({"f": File(b"f")}, mode=0o070)}, mode=0o070)
    build(on_tmpfs / "src", {"outer": Dir({"inner": inner, "f": File(b"f")}, mode=0o070)}, owner=whose)
    copy(on_tmpfs / "src", mine / "by-us", user="nobody")
    command = ["cp", "-a", on_tmpfs / "src", mine / "by-cp"]
    subprocess.run(command, user="nobody", group=whose[1], extra_groups=[], check=True)
    oracle.assert_equal_trees(mine / "by-cp", mine / "by-us")


def test_several_torture_trees_in_one_run(on_tmpfs: Path) -> None:
    for name in ("one", "two"):
        torture(on_tmpfs / name, as_root=os.geteuid() == 0, beyond_path_max=False)
    copy(on_tmpfs / "one", on_tmpfs / "two", "-d", on_tmpfs / "dst", world=World("mpich", 3))
    for name in ("one", "two"):
        oracle.assert_equal_trees(on_tmpfs / name, on_tmpfs / "dst" / name, sockets=False)


def test_an_empty_directory(on_tmpfs: Path) -> None:
    (on_tmpfs / "src").mkdir(mode=0o700)
    os.utime(on_tmpfs / "src", ns=(1, 1))
    copy(on_tmpfs / "src", on_tmpfs / "dst")
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")
