"""--backup-dir: what a run replaces or removes is kept, so the old tree can be had back."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.operations.copy.test_any_tree import OPTIONS
from tests.support import direct, oracle
from tests.support.copies import TINY_CHUNKS, changed, copy, refused, run, stages, state
from tests.support.effort import many
from tests.support.launch import World
from tests.support.marks import each_world, needs_commands, needs_root
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import Dir, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync")


def contents(root: Path) -> dict[bytes, tuple[object, ...]]:
    """What every entry is, but for metadata, which a run may change in place."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path, info in oracle.lstats(root).items():
        here = root / os.fsdecode(path)
        if here.is_symlink():
            found[path] = ("link", os.readlink(here))
        elif here.is_dir():
            found[path] = ("directory",)
        elif here.is_file():
            found[path] = ("file", here.read_bytes())
        else:
            found[path] = (stat.S_IFMT(info.st_mode),)
    return found


@settings(max_examples=many(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), trees(), OPTIONS, st.data())
def test_the_old_tree_can_be_had_back(tree: Tree, other: Tree, options: dict[str, Any], data: st.DataObject) -> None:
    # Whole contents are compared: two random trees may have files of one size, time and end.
    options = {**options, "excludes": (), "mirror": True, "sparse": "auto", "full_hash": True}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        src, dst, old, backup = (Path(place) / name for name in ("src", "dst", "old", "backup"))
        build(src, tree)
        build(dst, other)
        if data.draw(st.booleans()):
            direct.copy(src, dst, mirror=True)
            meddle(data.draw, dst)
        run(["cp", "-a", dst, old])
        wanted = contents(old)
        report = direct.copy(src, dst, **options, backup_dir=os.fsencode(backup))
        assert report.failures == []
        oracle.assert_equal_trees(src, dst)
        kept = contents(backup)
        assert all(wanted[path] == kept[path] for path in kept), "a backup is what the old tree had"
        now = contents(dst)
        lost = {path for path, what in wanted.items() if now.get(path) != what and kept.get(path) != what}
        assert lost == set()
        assert stages(dst) == [] and stages(backup) == []
        again = direct.copy(src, dst, **options, backup_dir=os.fsencode(backup))
        assert again.failures == [] and contents(backup) == kept


@pytest.mark.parametrize("more", [(), TINY_CHUNKS, ("-pfl",)], ids=["chunks", "tiny-chunks", "all-list"])
def test_a_backup_below_the_destination_is_no_extra(more: tuple[str, ...], on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"new"), "d": File(b"now a file"), "e": Dir({"g": File(b"g")})})
    build(dst, {
        "f": File(b"old", mode=0o600), "d": Dir({"x": File(b"x")}, mode=0o711), "e": Symlink("f"),
        "gone": Dir({"empty": Dir({}, mode=0o700)}, mode=0o2750), "l": Symlink("nowhere"),
    })  # fmt: skip
    for _ in range(2):
        copy(src, dst, "-rme", "-rf", "--backup-dir", "bak", *more)
        oracle.assert_equal_trees(src, dst, exclude=["bak"])
        backup = oracle.lstats(dst / "bak")
        assert set(backup) == {b".", b"f", b"d", b"d/x", b"e", b"gone", b"gone/empty", b"l"}
        assert (dst / "bak/f").read_bytes() == b"old" and os.readlink(dst / "bak/e") == "f"
        modes = {path.decode(): info.st_mode & 0o7777 for path, info in backup.items()}
        assert (modes["f"], modes["d"], modes["gone"], modes["gone/empty"]) == (0o600, 0o711, 0o2750, 0o700)


def test_without_a_mirror_only_what_is_replaced_is_kept(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"new"), "same": File(b"same", mtime_ns=10**18), "n": File(b"n")})
    build(dst, {"f": File(b"old"), "same": File(b"same", mtime_ns=10**18), "extra": File(b"e")})
    copy(src, dst, "--backup-dir", on_tmpfs / "backup")
    assert contents(on_tmpfs / "backup") == {b".": ("directory",), b"f": ("file", b"old")}
    assert (dst / "extra").exists()


def test_a_big_file_that_is_replaced_is_kept(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"new" * (3 << 20))})
    build(dst, {"f": File(b"old" * 1000)})
    copy(src, dst, "--backup-dir", "bak", "--split-size", "4M")
    assert (dst / "bak/f").read_bytes() == b"old" * 1000
    oracle.assert_equal_trees(src, dst, exclude=["bak"], top=False)


@pytest.mark.parametrize("mtime_ns", [10**18, 2 * 10**18], ids=["only content differs", "time differs"])
def test_names_of_one_file_are_kept_each(mtime_ns: int, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": File(b"new", mtime_ns=mtime_ns), "b": HardLink("a"), "d": Dir({"c": HardLink("a")})})
    old = {"a": File(b"old", mtime_ns=10**18), "b": HardLink("a"), "d": Dir({"c": File(b"own", mtime_ns=10**18)})}
    build(dst, old)
    copy(src, dst, "--backup-dir", "bak", *TINY_CHUNKS)
    oracle.assert_equal_trees(src, dst, exclude=["bak"], top=False)
    kept = contents(dst / "bak")
    assert {path: what[1] for path, what in kept.items() if what[0] == "file"} == {
        b"a": b"old", b"b": b"old", b"d/c": b"own",
    }  # fmt: skip


def test_names_of_one_file_are_kept_each_where_only_content_counts(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": File(b"abc"), "b": File(b"def"), "c": File(b"ghi")})
    build(dst, {"a": File(b"old", mtime_ns=10**18), "b": HardLink("a"), "c": HardLink("a")})
    copy(src, dst, "-co", "--backup-dir", "bak", *TINY_CHUNKS)
    kept = contents(dst / "bak")
    assert {path: what[1] for path, what in kept.items() if what[0] == "file"} == {
        b"a": b"old",
        b"b": b"old",
        b"c": b"old",
    }


def test_an_older_backup_is_replaced_unless_one_of_the_two_is_a_directory(on_tmpfs: Path) -> None:
    src, dst, backup = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "backup"
    build(src, {"f": File(b"3"), "g": File(b"3"), "d": Dir({})})
    build(dst, {"f": File(b"2"), "g": File(b"2"), "d": Dir({"x": File(b"2")})})
    build(backup, {"f": File(b"1"), "g": Dir({"y": File(b"1")}), "d": File(b"1"), "d.1": File(b"0")})
    copy(src, dst, "-rme", "-rf", "--backup-dir", backup)
    assert {path: what[-1] for path, what in contents(backup).items()} == {
        b".": "directory", b"f": b"2", b"g": b"2", b"g.1": "directory", b"g.1/y": b"1",
        b"d": "directory", b"d/x": b"2", b"d.1": b"0", b"d.2": b"1",
    }  # fmt: skip


def test_where_links_are_refused_old_versions_are_renamed(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"new"), "d": Dir({"g": File(b"new")})})
    build(dst, {"f": File(b"old"), "d": File(b"was a file")})

    def refuse(*args: object, **more: object) -> None:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "link", refuse)
    report = direct.copy(src, dst, backup_dir=b"bak")
    assert report.failures == []
    assert {path: what[-1] for path, what in contents(dst / "bak").items()} == {
        b".": "directory", b"f": b"old", b"d": b"was a file",
    }  # fmt: skip


def test_what_cannot_be_kept_is_not_replaced(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"new"), "g": File(b"g")})
    build(dst, {"f": File(b"old"), "extra": File(b"e")})

    def refuse(*args: object, **more: object) -> None:
        raise OSError(errno.EDQUOT, "quota exceeded")

    monkeypatch.setattr(os, "link", refuse)
    report = direct.copy(src, dst, backup_dir=b"bak", mirror=True)
    assert [failure.path for failure in report.failures if b"src" in failure.path] == [os.fsencode(src / "f")]
    assert (dst / "f").read_bytes() == b"old" and (dst / "g").exists() and (dst / "extra").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_backup_directory_that_cannot_be_made_leaves_nothing_behind(there: bool, on_tmpfs: Path) -> None:
    """Neither a destination that was new, nor what is above it, nor what is above the backup directory."""
    src, dst = on_tmpfs / "src", on_tmpfs / "above/dst"
    build(src, {"f": File(b"f")})
    if there:
        dst.mkdir(parents=True)
    before = set(oracle.entries(on_tmpfs))
    for backup in ("new/" + 300 * "b", on_tmpfs / "beside" / (300 * "b")):
        refused(src, dst, "--backup-dir", backup, says="cannot make the backup directory", code=[1])
        assert set(oracle.entries(on_tmpfs)) == before


def test_a_dry_run_keeps_and_makes_nothing(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"new")})
    build(dst, {"f": File(b"old"), "bak": Dir({"older": File()}), "x": File()})
    before = state(on_tmpfs)
    run_ = copy(src, dst, "-rme", "-n", "--backup-dir", "bak")
    assert changed(before, state(on_tmpfs)) == set()
    assert [line for line in run_.done.stdout.splitlines() if line.startswith("*")] == ["*deleting   x"]


@each_world((4,), launchers=("mpich", "openmpi"))
def test_a_backup_made_by_many_ranks(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {f"d{i}": Dir({f"f{j}": File(b"new") for j in range(0, 40, 2)}) for i in range(20)})
    build(dst, {f"d{i}": Dir({f"f{j}": File(b"old") for j in range(40)}, mode=0o750) for i in range(30)})
    run(["cp", "-a", dst, on_tmpfs / "old"])
    copy(src, dst, "-rme", "-rf", "--backup-dir", on_tmpfs / "backup", *TINY_CHUNKS, world=world)
    oracle.assert_equal_trees(src, dst)
    assert contents(on_tmpfs / "backup") == contents(on_tmpfs / "old")


# --- refused


def test_places_that_are_no_place_for_backups_are_refused(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({"has": Dir({}), "f": File()}), "p": Dir({"dst": Dir({"f": File()})}), "file": File()})
    src, dst = on_tmpfs / "src", on_tmpfs / "p/dst"
    before = state(on_tmpfs)
    for place in (".", "..", "../..", "has", src, src / "deep", on_tmpfs, on_tmpfs / "file", on_tmpfs / "file/x"):
        refused(src, dst, "--backup-dir", place, code=[2])
    assert changed(before, state(on_tmpfs)) == set()


@needs_root
def test_another_file_system_is_refused(on_tmpfs: Path, on_disk: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"new")})
    build(on_tmpfs / "dst", {"f": File(b"old")})
    refused(on_tmpfs / "src", on_tmpfs / "dst", "--backup-dir", on_disk / "bak", says="file system", code=[1])
    assert (on_tmpfs / "dst/f").read_bytes() == b"old" and not (on_disk / "bak").exists()
