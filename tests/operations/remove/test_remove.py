"""-rm without a destination: what goes, what stays, what is refused, and what is said of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.host import latency as gate
from hpcp_mpi.operations.remove import empty_directory as emptying
from hpcp_mpi.operations.remove import worker as removing
from tests.support import direct, oracle
from tests.support.copies import PLAIN, refused, state
from tests.support.launch import World
from tests.support.marks import each_world
from tests.support.removing import gone, remove, removed_entries
from tests.support.torture import NAMES, torture
from tests.support.trees import Dir, Fifo, File, Name, Node, Symlink, build, flat


def simple() -> dict[Name, Node]:
    return {"d": Dir({"f": File(b"f"), "e": Dir({"g": File(b"g")})}), "f": File(b"f"), "l": Symlink("d")}


@each_world(sizes=(4,))
def test_directories_files_and_links_go_under_every_launcher(world: World, on_tmpfs: Path) -> None:
    build(on_tmpfs / "wide", flat(2000, size=1))
    build(on_tmpfs, {"deep": Dir(simple()), "kept": Dir({"f": File(b"f")})})
    os.symlink("kept", on_tmpfs / "link")
    torture(on_tmpfs / "torture", as_root=os.geteuid() == 0)
    paths = [on_tmpfs / name for name in ("wide", "deep", "link", "torture")]
    count = len([path for path in oracle.entries(on_tmpfs) if not path.startswith(b"kept")])
    done = remove(*paths, world=world)
    assert sorted(os.listdir(on_tmpfs)) == ["kept"] and (on_tmpfs / "kept/f").exists()
    assert removed_entries(done) == count
    assert done.report["failures"] == [] and done.report["verb"] == "remove"


def test_all_names_and_types_can_be_arguments(on_tmpfs: Path) -> None:
    names = [name for name in NAMES if name not in (b".", b"..")]
    build(on_tmpfs, {name: File(name) for name in names} | {b"fifo": Fifo()})
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.fspath(on_tmpfs / "socket"))
    done = remove("--", *[b"./" + name for name in [*names, b"fifo", b"socket"]], cwd=on_tmpfs)
    server.close()
    assert os.listdir(on_tmpfs) == []
    assert done.report["removed"]["other"] == 2


def test_rf_with_one_path_needs_no_rm_and_a_slash_changes_nothing_for_a_directory(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a": Dir(simple()), "b": Dir(simple())})
    PLAIN.run(["-rf", on_tmpfs / "a"]).check()
    PLAIN.run(["-rm", "-rf", f"{on_tmpfs}/b/"]).check()
    assert os.listdir(on_tmpfs) == []


def test_a_pattern_is_expanded_only_where_no_file_has_that_name(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a1": File(), "a2": Dir(simple()), "b": File(), "[b]": File()})
    remove("a?", "[b]", cwd=on_tmpfs)
    assert os.listdir(on_tmpfs) == ["b"]


def test_what_is_given_twice_or_lies_in_another_is_removed_once(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a": Dir(simple()), "f": File()})
    os.symlink(on_tmpfs, on_tmpfs / "here")
    done = remove("a", "a/", on_tmpfs / "a/d/e", "here/a/f", "here/f", "f", "./a", cwd=on_tmpfs)
    assert os.listdir(on_tmpfs) == ["here"] and removed_entries(done) == 8


def test_many_directories_beside_each_other(on_tmpfs: Path) -> None:
    build(on_tmpfs, {f"d{i}": Dir(simple()) for i in range(40)} | {"stays": Dir()})
    done = remove(*[on_tmpfs / f"d{i}" for i in range(40)], on_tmpfs / "d1/f")
    assert os.listdir(on_tmpfs) == ["stays"] and removed_entries(done) == 40 * 7


def test_items_are_called_as_the_arguments_are_and_in_order(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a": Dir(simple()), "b": Dir({"x": Dir({"f": File()}), "f": File()})})
    for more in (["-n"], ["-v"]):
        done = PLAIN.run(["-rm", "-rf", "a", "b/x", "b/f", *more], cwd=on_tmpfs).check()
        items = [line for line in done.stdout.splitlines() if line.startswith("*deleting")]
        names = ["a/", "a/d/", "a/d/e/", "a/d/e/g", "a/d/f", "a/f", "a/l", "b/f", "b/x/", "b/x/f"]
        assert items == [f"*deleting   {name}" for name in names]
    assert os.listdir(on_tmpfs / "b") == []


def test_a_dry_run_asks_nothing_and_touches_nothing(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", simple())
    before = state(on_tmpfs)
    done = PLAIN.run(["-rm", "-n", on_tmpfs / "a"]).check()
    assert state(on_tmpfs) == before
    assert "would remove" in done.stderr


def test_an_excluded_argument_stays(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"keep.log": File(), "drop.log": File(), "keep": Dir(simple())})
    remove("keep.log", "drop.log", "keep", "-e", "keep*", cwd=on_tmpfs)
    assert sorted(os.listdir(on_tmpfs)) == ["keep", "keep.log"] and (on_tmpfs / "keep/d/e/g").exists()


def test_one_slot_is_enough(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", flat(500, size=0))
    remove(on_tmpfs / "a", "-s")
    assert gone(on_tmpfs / "a")


REFUSED = {
    "the root": ("/", "root directory"),
    "the root, twice": ("//", "root directory"),
    "here": (".", "names no entry"),
    "above": ("..", "names no entry"),
    "a dot at the end": ("a/.", "names no entry"),
    "dots at the end": ("a/d/..", "names no entry"),
    "a mount": ("/proc", "file system is mounted"),
    "the working directory": ("../../work/in", "working directory"),
    "what the working directory lies in": ("../../work", "working directory"),
    "what is not there": ("nowhere", "No such file.*\n.*Nothing was removed"),
    "what is below a file": ("f/g", "Not a directory"),
    "a link with a slash": ("l/", "symlink.*\n.*without the slash"),
    "a file with a slash": ("f/", "not a directory"),
    "a pattern without a match": ("x*", "no source matches"),
    "an empty name": ("", "empty"),
}


@pytest.mark.parametrize("path, says", REFUSED.values(), ids=list(REFUSED))
def test_what_must_not_go_is_refused_and_nothing_is_removed(path: str, says: str, on_tmpfs: Path) -> None:
    here = on_tmpfs / "work/in"
    build(here, {"a": Dir(simple()), "f": File(), "l": Symlink("a")})
    before = state(on_tmpfs)
    for more in ([], ["-n"]):
        refused("-rm", "-rf", "f", path, *more, cwd=here, says=says)
    assert state(on_tmpfs) == before


def test_the_working_directory_is_known_under_any_name(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a/b", simple())
    os.symlink(on_tmpfs, on_tmpfs / "link")
    refused("-rm", "-rf", on_tmpfs / "link/a", cwd=on_tmpfs / "a/b", says="working directory")
    PLAIN.run(["-rm", "-rf", on_tmpfs / "link"], cwd=on_tmpfs / "a/b").check()
    assert os.listdir(on_tmpfs) == ["a"]


def test_a_tree_of_any_depth_goes(on_tmpfs: Path) -> None:
    levels = 4000
    fd = os.open(on_tmpfs, os.O_RDONLY)
    for name in ["top", *["d" * 9] * levels]:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("f", os.O_CREAT, dir_fd=below))
        os.close(fd)
        fd = below
    os.close(fd)
    done = remove(on_tmpfs / "top")
    assert gone(on_tmpfs / "top") and removed_entries(done) == 2 * levels + 2


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emptying, "_HUGE", 20)
    monkeypatch.setattr(emptying, "_TOGETHER", 7)
    monkeypatch.setattr(removing, "_SECONDS", 0.0)


@pytest.mark.parametrize("handed", [0, 1, 8])
def test_a_huge_directory_is_removed_in_slices(
    handed: int, on_tmpfs: Path, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emptying, "_HANDED", handed)
    monkeypatch.setattr(gate, "SLOW", 0.0)  # else nothing is handed out
    files: dict[Name, Node] = {f"f{i}": File() for i in range(500)}
    files |= {f"l{i}": Symlink("x") for i in range(50)}
    folders: dict[Name, Node] = {f"d{i}": Dir(simple()) for i in range(60)}
    build(on_tmpfs / "huge", {**files, **folders, "sub": Dir({**files, "keep": File()})})
    report = direct.remove(on_tmpfs / "huge", excludes=(b"keep", b"l1*"), slots=4)
    assert report.failures == []
    left = set(oracle.entries(on_tmpfs / "huge"))
    links = {f"l{i}".encode() for i in range(50) if str(i).startswith("1")}
    assert left == links | {b"sub", b"sub/keep"} | {b"sub/" + link for link in links}
    assert report.outcome.skipped.entries == 2 * len(links) + 1


def test_in_a_huge_directory_what_cannot_be_removed_is_named_once_and_the_rest_goes(
    on_tmpfs: Path, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def failing(name: str | bytes, *, dir_fd: int) -> None:
        if os.fsdecode(name).startswith("stuck"):
            raise PermissionError(1, "Operation not permitted")
        unlink(name, dir_fd=dir_fd)

    build(on_tmpfs / "huge", {f"stuck{i}": File() for i in range(100)} | {f"f{i}": File() for i in range(100)})
    build(on_tmpfs / "huge/d", simple())
    monkeypatch.setattr(os, "unlink", failing)
    report = direct.remove(on_tmpfs / "huge", slots=4)
    monkeypatch.undo()
    assert sorted(os.listdir(on_tmpfs / "huge")) == sorted(f"stuck{i}" for i in range(100))
    assert len(report.failures) == 100 and report.exit_code == 23


def test_nothing_to_remove_is_an_error_of_usage() -> None:
    refused("-rm", "-rf", says="no path was given", code=(2,))


def test_it_removes_what_rm_removes(on_tmpfs: Path) -> None:
    if shutil.which("rm") is None:
        pytest.skip("not installed: rm")
    for name in ("ours", "theirs"):
        torture(on_tmpfs / name, as_root=os.geteuid() == 0)
        os.symlink(on_tmpfs / "beside", on_tmpfs / name / "out")
    build(on_tmpfs / "beside", simple())
    before = state(on_tmpfs / "beside")
    remove(on_tmpfs / "ours")
    subprocess.run(["rm", "-rf", on_tmpfs / "theirs"], check=True)
    assert os.listdir(on_tmpfs) == ["beside"] and state(on_tmpfs / "beside") == before
