"""What is called like our staging directories and is none is data: copied, listed, compared, moved, mirrored, kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.copies import PLAIN, TINY_CHUNKS, copy, rsync_items, run, stages
from tests.support.launch import World
from tests.support.marks import needs_root
from tests.support.trees import Dir, File, Name, Node, Symlink, build

RANKS = World("mpich", 3)
# Of the very form of a stage's name, of mode 0700 and ours; and names that only begin so.
NAMES: dict[Name, Node] = {
    ".hpcp-mpi.notes": Dir({"important": File(b"notes"), ".hpcp-mpi.deeper": Dir({"x": File(b"x")})}),
    ".hpcp-mpi.0badcafe.1.0": Dir({"kept": File(b"data")}, mode=0o700),
    ".hpcp-mpi.file": File(b"a file"),
    ".hpcp-mpi.0badcafe.1.1": Symlink("f"),
}
TREE: dict[Name, Node] = {**NAMES, "f": File(b"f"), "sub": Dir({**NAMES, "g": File(b"g")})}


def world_of(world: World) -> World:
    missing = world.missing()
    if missing:
        pytest.skip(missing)
    return world


@pytest.mark.parametrize(
    "world, more",
    [(PLAIN, ()), (PLAIN, TINY_CHUNKS), (RANKS, ("-pfl",)), (PLAIN, ("-hs", "0"))],
    ids=["plain", "tiny-chunks", "ranks-list", "by-lstat"],
)
def test_they_are_copied_and_stay_where_they_are_at_the_destination(
    world: World, more: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, TREE)
    build(dst, {".hpcp-mpi.1badcafe.0.0": Dir({"mine": File(b"m")}, mode=0o700), "sub": Dir({})})
    done = copy(src, dst, *more, world=world_of(world))
    assert done.notes == {} and rsync_items(src, dst) == {}
    assert (dst / ".hpcp-mpi.1badcafe.0.0/mine").read_bytes() == b"m"
    assert copy(src, dst, *more, world=world).copied_entries == 0


def test_a_list_names_them_a_compare_shows_them_and_a_mirror_removes_them(on_tmpfs: Path) -> None:
    src, dst, listed = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "list"
    build(src, TREE)
    copy(f"{src}/", "-fl", listed, "-nhfl")
    found = run(["find", src, "-mindepth", "1", "-printf", "%P\\n"]).splitlines()
    assert {line.rstrip("/") for line in listed.read_text().splitlines()} - {"."} == set(found)
    build(dst, {"f": File(b"f"), "extra": Dir(NAMES), ".hpcp-mpi.notes": Dir({"old": File(b"o")})})
    shown = PLAIN.run([src, "-d", dst, "-cfl"]).stdout
    for name in ("extra/.hpcp-mpi.file", "extra/.hpcp-mpi.notes/important", ".hpcp-mpi.notes/old"):
        assert name in shown, shown
    copy(src, dst, "-rme", "-rf")
    assert rsync_items(src, dst, "--delete") == {}


@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_a_move_takes_all_of_them(world: World, on_tmpfs: Path) -> None:
    src, dst, like = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "like"
    build(src, TREE)
    run(["cp", "-a", src, like])
    copy(src, "-d", dst, "-rm", "-rf", world=world_of(world))
    assert not src.exists() and rsync_items(like, dst) == {}


def test_a_listed_one_is_copied(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    (on_tmpfs / "list").write_text(".hpcp-mpi.notes/important\n.hpcp-mpi.file\nsub/.hpcp-mpi.0badcafe.1.0/kept\n")
    copy(on_tmpfs / "src", "-sfl", on_tmpfs / "list", "-d", on_tmpfs / "dst")
    found = run(["find", on_tmpfs / "dst", "!", "-type", "d", "-printf", "%P\\n"]).splitlines()
    assert sorted(found) == sorted((on_tmpfs / "list").read_text().splitlines())


def test_a_stage_of_this_user_is_left_out_with_a_note_and_swept_at_the_destination(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    dead = {".hpcp-mpi.0badcafe.1.0": Dir({"half": File(b"h")}, mode=0o1700)}
    build(src, {**dead, "f": File(b"f")})
    build(dst, {"sub": Dir(dead)})
    build(src, {"sub": Dir({"g": File(b"g")})})
    done = copy(src, dst)
    assert list(done.notes) == [f"{src}/.hpcp-mpi.0badcafe.1.0"]
    assert stages(dst) == []
    moved = copy(src, "-d", dst, "-rm", "-rf")
    assert (src / ".hpcp-mpi.0badcafe.1.0/half").exists() and moved.failures == {}


@needs_root
@pytest.mark.parametrize("world, more", [(PLAIN, ()), (RANKS, ("-pfl",))], ids=["plain", "ranks-list"])
def test_a_directory_of_roots_that_another_user_renames_is_not_swept(
    world: World, more: tuple[str, ...], on_tmpfs: Path, everyone: Callable[[Path], Path]
) -> None:
    build(on_tmpfs / "src", {"f": File(b"f")})
    dst = everyone(on_tmpfs / "dst")
    build(dst, {"private": Dir({"precious": File(b"p", owner=(0, 0))}, mode=0o700, owner=(0, 0))})
    name = dst / ".hpcp-mpi.0badcafe.1.0"
    subprocess.run(["mv", dst / "private", name], user="nobody", group="nogroup", extra_groups=[], check=True)
    # Who goes by names and owners would take it for an old stage of their own.
    assert os.lstat(name).st_uid == os.geteuid() and name.name.startswith(".hpcp-mpi.")
    os.utime(name, (0, 0))
    copy(on_tmpfs / "src", dst, *more, world=world_of(world))
    assert (name / "precious").read_bytes() == b"p"


@needs_root
@pytest.mark.parametrize("bind", [False, True], ids=["tmpfs", "bind"])
def test_what_is_mounted_in_a_stage_or_on_one_is_not_removed(bind: bool, on_tmpfs: Path) -> None:
    src, dst, other = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "other"
    build(src, {"f": File(b"f")})
    names = [".hpcp-mpi.0badcafe.1.0/in", ".hpcp-mpi.0badcafe.1.1"]
    build(dst, {name.split("/")[0]: Dir({"in": Dir()}, mode=0o1700) for name in names})
    build(other, {})
    os.chmod(other, 0o1700)
    mounted = []
    try:
        for name in names:
            what = ["--bind", other] if bind else ["-t", "tmpfs", "-o", "size=1m,mode=1700", "none"]
            run(["mount", *what, dst / name])
            mounted.append(dst / name)
            (dst / name / "precious").write_bytes(b"p")
        done = copy(src, dst)
        assert all((dst / name / "precious").read_bytes() == b"p" for name in names)
        assert "mounted in it" in done.notes[f"{dst}/.hpcp-mpi.0badcafe.1.0"]
    finally:
        for path in mounted:
            run(["umount", path])


@needs_root
def test_a_stage_of_another_user_is_data_that_is_warned_of(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> None:
    build(on_tmpfs / "src", {".hpcp-mpi.0badcafe.1.0": Dir({"half": File(b"h")}, mode=0o1700), "f": File(b"f")})
    src, dst = everyone(on_tmpfs / "src"), on_tmpfs / "dst"
    done = copy(src, dst)
    assert "user 65534" in done.notes[f"{src}/.hpcp-mpi.0badcafe.1.0"]
    assert rsync_items(src, dst) == {}
    copy(src, dst)
    assert rsync_items(src, dst) == {}
