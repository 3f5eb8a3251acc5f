"""What cannot be removed is named and the rest goes; what is mounted below is left alone; a signal ends it in order."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi.operations.remove import empty_directory as emptying
from tests.support import oracle
from tests.support.copies import PLAIN, state
from tests.support.effort import each_value
from tests.support.faultfs import mounted
from tests.support.launch import Argument, World
from tests.support.marks import needs_fuse, needs_root, worlds
from tests.support.removing import gone, remove, removed_entries
from tests.support.trees import Dir, File, Name, Node, build

MOUNTED = "another file system is mounted here; kept"


def files(count: int, name: str = "f") -> dict[Name, Node]:
    return {f"{name}{i:03}": File(b"x") for i in range(count)}


@contextmanager
def mount(*how: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *how], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", how[-1]], check=True)


@needs_root
def test_what_is_mounted_below_is_left_alone_and_named(on_tmpfs: Path) -> None:
    root, outside = on_tmpfs / "tree", on_tmpfs / "outside"
    build(outside, {"precious": File(b"p"), "d": Dir(files(3))})
    build(root, {"a": Dir({"other": Dir(), "f": File()}), "b": Dir({"same device": Dir(), **files(5)}), "f": File()})
    build(root / "c", {"over-a-file": File(), "f": File()})
    other, same, single = root / "a/other", root / "b/same device", root / "c/over-a-file"
    with (
        mount("-t", "tmpfs", "none", other),
        mount("--bind", outside, same),
        mount("--bind", outside / "precious", single),
    ):
        build(other, {"precious": File(b"p"), "d": Dir()})
        before = state(outside)
        for more in (["-n"], []):
            done = remove(root, *more, code=23)
            stay = {str(other), str(same)} | ({str(single)} if not more else set())
            assert done.failures == {path: MOUNTED for path in stay}
        assert state(outside) == before
        assert set(oracle.entries(other)) == {b"precious", b"d"}
        left = {b"a", b"a/other", b"b", b"b/same device", b"c", b"c/over-a-file"}
        assert {path for path in oracle.entries(root) if not path.startswith((b"a/other/", b"b/same device/"))} == left


@needs_root
@pytest.mark.parametrize("bound", [False, True], ids=["another-device", "the-same-device"])
def test_what_something_is_mounted_on_is_refused(bound: bool, on_tmpfs: Path) -> None:
    build(on_tmpfs, {"on": Dir(), "outside": Dir({"f": File()})})
    how = ("--bind", on_tmpfs / "outside", on_tmpfs / "on") if bound else ("-t", "tmpfs", "none", on_tmpfs / "on")
    with mount(*how):
        (on_tmpfs / "on/f2").touch()
        done = PLAIN.run(["-rm", "-rf", on_tmpfs / "on"])
        assert done.returncode == 2 and "file system is mounted" in done.stderr
        assert (on_tmpfs / "on/f2").exists()


def test_directories_that_their_owner_may_not_write_to_stay_as_with_rm(
    on_tmpfs: Path, everyone: Callable[[Path], Path]
) -> None:
    tree: dict[Name, Node] = {
        "closed": Dir({"f": File(), "d": Dir({"g": File()})}, mode=0o500),
        "empty": Dir(mode=0o500),
        "unlisted": Dir({"f": File()}, mode=0o300),
        "unlisted-and-empty": Dir(mode=0),
        "open": Dir(files(3)),
    }
    for name in ("ours", "theirs"):
        build(on_tmpfs / "home" / name, tree)
    home = everyone(on_tmpfs / "home")
    done = remove(home / "ours", code=23, user="nobody")
    subprocess.run(["rm", "-rf", home / "theirs"], user="nobody", group="nogroup", stderr=subprocess.DEVNULL)
    left = set(oracle.entries(home / "ours"))
    assert left == set(oracle.entries(home / "theirs"))
    assert done.failures == {
        f"{home}/ours/closed/f": "cannot remove: Permission denied",
        f"{home}/ours/closed/d": "cannot remove: Permission denied",
        f"{home}/ours/unlisted": "cannot list: Permission denied",
    }


def test_a_directory_below_one_that_may_not_be_listed_can_be_removed(
    on_tmpfs: Path, everyone: Callable[[Path], Path]
) -> None:
    build(on_tmpfs / "box", {"mine": Dir(files(3)), "file": File()}, owner=None)
    everyone(on_tmpfs / "box")
    os.chmod(on_tmpfs / "box", 0o300)
    remove(on_tmpfs / "box/mine", on_tmpfs / "box/file", user="nobody")
    assert os.listdir(on_tmpfs / "box") == []


def test_an_argument_that_may_not_be_entered_is_named(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> None:
    build(on_tmpfs / "home", {"closed": Dir({"f": File()}, mode=0), "open": Dir(files(3))})
    home = everyone(on_tmpfs / "home")
    done = remove(home / "closed", home / "open", code=23, user="nobody")
    assert done.failures == {f"{home}/closed": "cannot open: Permission denied"}
    assert set(oracle.entries(home)) == {b"closed", b"closed/f"}


@needs_fuse
@pytest.mark.parametrize("world", worlds((4,), launchers=("plain", "mpich")))
def test_every_third_unlink_fails_and_the_rest_goes(world: World, on_tmpfs: Path) -> None:
    entries: dict[Name, Node] = {f"{'stuck' if i % 3 == 2 else 'f'}{i}": File() for i in range(90)}
    backing = on_tmpfs / "backing"
    build(backing / "tree", {"a": Dir(entries), "b": Dir({"c": Dir(entries)}), "d": Dir(files(9)), "e": Dir()})
    with mounted(backing, eio_unlink="stuck", meta_us=100) as mount_point:
        done = remove(mount_point / "tree", world=world, code=23)
    stuck = {f"stuck{i}" for i in range(90) if i % 3 == 2}
    left = {os.fsdecode(path) for path in oracle.entries(backing / "tree")}
    assert left == {"a", "b", "b/c"} | {f"{directory}/{name}" for directory in ("a", "b/c") for name in stuck}
    assert {path.rpartition("/")[2] for path in done.failures} == stuck and len(done.failures) == 60
    assert set(done.failures.values()) == {"cannot remove: Input/output error"}


@needs_fuse
def test_a_directory_that_cannot_be_listed_stays_and_the_rest_goes(on_tmpfs: Path) -> None:
    backing = on_tmpfs / "backing"
    build(backing / "tree", {"bad": Dir({"f": File()}), "good": Dir(files(9)), "f": File()})
    with mounted(backing, eio_list="bad") as mount_point:
        done = remove(mount_point / "tree", code=23)
    assert set(oracle.entries(backing / "tree")) == {b"bad", b"bad/f"}
    assert list(done.failures.values()) == ["cannot list: Input/output error"]


def test_what_is_written_meanwhile_is_named_and_stays(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(on_tmpfs / "tree", {"a": Dir({"f": File(), "b": Dir({"f": File()})}), "f": File()})
    rmdir = os.rmdir

    def late(name: bytes, *, dir_fd: int) -> None:
        if name == b"b":
            inside = os.open(name, os.O_RDONLY, dir_fd=dir_fd)
            os.close(os.open("new", os.O_CREAT, dir_fd=inside))
            os.close(inside)
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", late)
    report = hpcp_mpi.remove(on_tmpfs / "tree")
    monkeypatch.undo()
    path = os.fsencode(on_tmpfs / "tree/a/b")
    reason = "not empty: something was written here meanwhile: new"
    assert [(failure.path, failure.reason) for failure in report.failures] == [(path, reason)]
    assert set(oracle.entries(on_tmpfs / "tree")) == {b"a", b"a/b", b"a/b/new"}


def test_what_somebody_else_removes_meanwhile_is_no_failure(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(on_tmpfs / "tree", {f"d{i}": Dir(files(20)) for i in range(20)})
    unlink, lock = os.unlink, threading.Lock()
    times = [0]

    def twice(name: str, *, dir_fd: int) -> None:
        with lock:
            times[0] += 1
        if times[0] % 3 == 0:
            unlink(name, dir_fd=dir_fd)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", twice)
    report = hpcp_mpi.remove(on_tmpfs / "tree")
    monkeypatch.undo()
    assert gone(on_tmpfs / "tree") and report.failures == []
    assert report.outcome.removed.files == 400 - 400 // 3


def test_a_root_that_was_replaced_before_its_turn_is_left_alone(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(on_tmpfs, {"tree": Dir(files(5)), "other": Dir()})
    empty = emptying.DirectoryEmptier.empty

    def replacing(self: emptying.DirectoryEmptier, folder: emptying.Folder, to_the_end: bool) -> None:
        os.rename(on_tmpfs / "tree", on_tmpfs / "moved")
        os.rename(on_tmpfs / "other", on_tmpfs / "tree")
        empty(self, folder, to_the_end)

    monkeypatch.setattr(emptying.DirectoryEmptier, "empty", replacing)
    report = hpcp_mpi.remove(on_tmpfs / "tree")
    assert [failure.reason for failure in report.failures] == ["it was replaced meanwhile; the new entry was kept"]
    assert sorted(os.listdir(on_tmpfs)) == ["moved", "tree"] and os.listdir(on_tmpfs / "moved") == []


@each_value
@needs_fuse
@pytest.mark.parametrize("world", worlds((4,), launchers=("plain", "mpich")))
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 75)], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_it_soon_and_the_same_command_goes_on(
    number: int, code: int, world: World, on_tmpfs: Path
) -> None:
    backing = on_tmpfs / "backing"
    build(backing / "tree", {f"d{i}": Dir(files(50)) for i in range(20)})
    with mounted(backing, meta_us=5000) as mount_point:
        with world.start(["-rm", "-rf", "-j", "2", mount_point / "tree"]) as running:
            deadline = time.monotonic() + 60
            while len(list(oracle.entries(backing / "tree"))) == 1020:
                assert time.monotonic() < deadline, running.output()
            running.signal_group(number) if number == signal.SIGINT else running.signal(number)
            done = running.finish(timeout=20)
    assert done.returncode == code and done.left_behind == () and "Traceback" not in done.stderr, str(done)
    rest = len([path for path in oracle.entries(backing / "tree")])
    assert 0 < rest < 1020
    assert removed_entries(remove(backing / "tree", world=world)) == rest + 1


def test_what_is_removed_is_what_a_dry_run_showed(on_tmpfs: Path) -> None:
    build(on_tmpfs / "tree", {f"d{i}": Dir({**files(20), "keep": File()}) for i in range(0, 30, 2)})
    build(on_tmpfs / "tree", {f"d{i}": Dir(files(20)) for i in range(1, 30, 2)})
    options: list[Argument] = ["-rm", "-rf", "-e", "keep", "-v", on_tmpfs / "tree"]

    def items(done: str) -> list[str]:
        return [line for line in done.splitlines() if line.startswith("*deleting")]

    would = items(PLAIN.run([*options, "-n"]).check().stdout)
    there = set(oracle.entries(on_tmpfs))
    assert would == items(PLAIN.run(options).check().stdout) and len(would) == 600 + 15
    went = there - set(oracle.entries(on_tmpfs))
    assert {os.fsencode(line[12:].rstrip("/")) for line in would} == went
