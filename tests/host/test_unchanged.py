"""Whether anything was exchanged in a subtree: on each file system, whatever was done and undone in it."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host import unchanged
from hpcp_mpi.host.unchanged import MountTable, Unchanged, only_ours
from tests.support import filesystems

USER = 1234


def status(mode: int, owner: int) -> os.stat_result:
    return os.stat_result((stat.S_IFDIR | mode, 1, 1, 2, owner, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    "mode, owner, ours",
    [
        (0o755, 0, True),
        (0o700, USER, True),
        (0o2750, USER, True),
        (0o755, USER + 1, False),
        (0o775, 0, False),  # also what the mask of an ACL shows
        (0o757, USER, False),
        (0o1777, 0, False),  # who owns an entry may exchange that one
    ],
)
def test_a_directory_is_ours_if_only_root_and_we_may_write_to_it(mode: int, owner: int, ours: bool) -> None:
    assert only_ours(status(mode, owner), USER) is ours


@pytest.fixture(scope="module")
def mounts() -> Iterator[dict[str, Path]]:
    with filesystems.all_mounted() as found:
        yield found


def tree(place: Path, owner: int) -> Path:
    for name in ("tree/a/b/c", "tree/a/leaf", "copy/tree/a/b/c", "copy/tree/a/leaf"):
        (place / name).mkdir(parents=True)
    (place / "tree/a/b/file").write_bytes(b"f")
    for directory, _, _ in os.walk(place / "tree"):
        os.chown(directory, owner, owner)
    os.chown(place, owner, owner)
    return place


def exchange(one: Path, other: Path) -> None:
    done = ctypes.CDLL(None, use_errno=True).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
    if done:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def rename_and_back(a: Path) -> None:
    (a / "b").rename(a / "x")
    (a / "x").rename(a / "b")


def exchange_and_back(a: Path) -> None:
    os.symlink("/", a.parent / "link")
    exchange(a / "b", a.parent / "link")
    exchange(a / "b", a.parent / "link")


def make_and_remove(a: Path) -> None:
    (a / "b/c/new").write_bytes(b"")
    (a / "b/c/new").unlink()


def set_times_back(a: Path) -> None:
    before = (a / "leaf").stat()
    (a / "leaf/new").mkdir()
    (a / "leaf/new").rmdir()
    os.utime(a / "leaf", ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_a_symlink(a: Path) -> None:
    (a / "b").rename(a.parent / "gone")
    os.symlink("../gone", a / "b")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "act", [rename_and_back, exchange_and_back, make_and_remove, set_times_back, replace_by_a_symlink]
)
def test_no_change_of_a_name_stays_unseen(
    act: Callable[[Path], None], mounts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "_MARGIN", 0.0)
    monkeypatch.setattr(unchanged, "_SERVER_MARGIN", 0.0)
    for kind, mount in mounts.items():
        if kind == "moose":  # stores whole seconds, for which there is the margin
            continue
        place = mount / f"unchanged-{act.__name__}"
        place.mkdir()
        tree(place, USER)
        time.sleep(0.03)
        looks = Unchanged(os.fsencode(place), time.time_ns())
        fd = os.open(place, os.O_PATH)
        try:
            copy = os.fsencode(place / "copy/tree")
            assert looks.holds(fd, b"tree", copy), kind
            assert looks.still_quiet(fd), kind
            time.sleep(0.03)
            act(place / "tree/a")
            assert not looks.holds(fd, b"tree", copy), kind
        finally:
            os.close(fd)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_changed_shortly_before_the_run_may_have_changed_in_it(mounts: dict[str, Path]) -> None:
    """The clocks of file systems tick in steps, and those of servers may be wrong."""
    for kind, mount in mounts.items():
        place = mount / "unchanged-margin"
        place.mkdir()
        tree(place, USER)
        fd = os.open(place, os.O_PATH)
        try:
            for seconds, holds in ((1, False), (70, True)):
                looks = Unchanged(os.fsencode(place), time.time_ns() + seconds * 10**9)
                assert looks.holds(fd, b"tree", os.fsencode(place / "copy/tree")) is holds, kind
                assert looks.quiet(os.fstat(fd)) is holds, kind
        finally:
            os.close(fd)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_alone_can_change_may_change(on_tmpfs: Path) -> None:
    tree(on_tmpfs, 0)
    looks = Unchanged(os.fsencode(on_tmpfs), time.time_ns())
    rename_and_back(on_tmpfs / "tree/a")
    fd = os.open(on_tmpfs, os.O_PATH)
    try:
        assert looks.holds(fd, b"tree", os.fsencode(on_tmpfs / "copy/tree"))
    finally:
        os.close(fd)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_another_file_system_shows_is_nobodys_word(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users may mount file systems of their own, whose times mean nothing, and unmount them again."""
    monkeypatch.setattr(unchanged, "_MARGIN", 0.0)
    tree(on_tmpfs, USER)
    time.sleep(0.03)
    looks = Unchanged(os.fsencode(on_tmpfs), time.time_ns() + 10**10)
    fd = os.open(on_tmpfs, os.O_PATH)
    mounts = MountTable()
    inner = on_tmpfs / "tree/a/b"
    try:
        assert looks.holds(fd, b"tree", os.fsencode(on_tmpfs / "copy/tree"))
        assert not mounts.changed()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={USER}", "none", inner], check=True)
        try:
            assert not looks.holds(fd, b"tree", os.fsencode(on_tmpfs / "copy/tree"))
        finally:
            subprocess.run(["umount", inner], check=True)
        assert looks.holds(fd, b"tree", os.fsencode(on_tmpfs / "copy/tree"))
        assert mounts.changed()
    finally:
        mounts.close()
        os.close(fd)


def test_a_server_is_asked_for_a_ctime(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert unchanged._asked_ctime()(fd) == os.fstat(fd).st_ctime_ns
    finally:
        os.close(fd)
