"""What may be asked of destinations and of the programs that write there: -ncd, -tfs, -ctl, -nb."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import faultfs, oracle
from tests.support.copies import PLAIN, copy, cps, items, refused, run, stages
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse, worlds
from tests.support.trees import Dir, File, Symlink, build

pytestmark = needs_commands("rsync", "findmnt")
MIB = 1 << 20


@pytest.fixture
def source(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", {"f": File(b"f"), "d": Dir({"g": File(b"g")})})
    return on_tmpfs / "src"


# --- -ncd


def test_a_destination_that_does_not_exist_is_refused(source: Path, on_tmpfs: Path) -> None:
    for destination in (on_tmpfs / "new", f"{on_tmpfs}/new/", on_tmpfs / "a/b/c"):
        refused("-ncd", source, destination, says="does not exist[^$]*-ncd", code=[1])
    refused("-ncd", source / "f", f"{on_tmpfs}/new/", says="does not exist", code=[1])
    assert sorted(os.listdir(on_tmpfs)) == ["src"]


def test_one_that_exists_is_used(source: Path, on_tmpfs: Path) -> None:
    (on_tmpfs / "dst").mkdir()
    copy("-ncd", source, on_tmpfs / "dst")
    oracle.assert_equal_trees(source, on_tmpfs / "dst")
    refused("-ncd", source, f"{on_tmpfs}/dst/", says="dst/src does not exist", code=[1])
    assert sorted(os.listdir(on_tmpfs / "dst")) == ["d", "f"]
    (on_tmpfs / "dst/src").mkdir()
    copy("-ncd", source, f"{on_tmpfs}/dst/")  # d is made in there
    oracle.assert_equal_trees(source, on_tmpfs / "dst/src")


def test_a_file_may_get_a_new_name(source: Path, on_tmpfs: Path) -> None:
    copy("-ncd", source / "f", on_tmpfs / "new name")
    assert (on_tmpfs / "new name").read_bytes() == b"f"


def test_of_several_destinations_those_that_are_missing_are_left_out(source: Path, on_tmpfs: Path) -> None:
    (on_tmpfs / "there").mkdir()
    done = copy("-ncd", source, "-d", on_tmpfs / "missing", "-d", on_tmpfs / "there")
    oracle.assert_equal_trees(source, on_tmpfs / "there")
    for place in ("empty", "full"):
        (on_tmpfs / place).mkdir()
    (on_tmpfs / "full/src").mkdir()
    copy("-ncd", source, "-d", f"{on_tmpfs}/empty/", "-d", f"{on_tmpfs}/full/")
    assert os.listdir(on_tmpfs / "empty") == []
    oracle.assert_equal_trees(source, on_tmpfs / "full/src")
    assert "skipped" in done.notes[str(on_tmpfs / "missing")] and not (on_tmpfs / "missing").exists()
    refused("-ncd", source, "-d", on_tmpfs / "no", "-d", on_tmpfs / "nor that", says="none of the destinations")


# --- -tfs


def test_another_file_system_than_asked_for_is_refused(source: Path, place: Path) -> None:
    kind = run(["findmnt", "-n", "-o", "FSTYPE", "-T", place]).split()[-1]
    for destination in (place, place / "new/below"):
        refused("-tfs", "lustre", source, f"{destination}/", says=f"is on {kind}, not on lustre")
    assert not (place / "new").exists()
    copy("-tfs", kind, source, place / "dst")
    oracle.assert_equal_trees(source, place / "dst")


def test_of_several_destinations_all_have_to_be_on_it(source: Path, on_tmpfs: Path, on_disk: Path) -> None:
    refused("-tfs", "tmpfs", source, "-d", on_tmpfs / "new", "-d", on_disk / "new", says="not on tmpfs")
    assert not (on_tmpfs / "new").exists() and not (on_disk / "new").exists()


# --- -ctl


@each_value
@needs_fuse
@pytest.mark.parametrize("world", [PLAIN, *worlds((3,), launchers=("mpich",))], ids=str)
@pytest.mark.parametrize("split", ["0", "4M"])
def test_a_cp_that_takes_too_long_is_ended_and_what_it_finished_lands(world: World, split: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "back", {"d": Dir({"a": File(b"a"), "slow": File(os.urandom(3 * MIB)), "z": File(b"z")})})
    with faultfs.mounted(on_tmpfs / "back", data_us=100_000) as mount:
        done = copy("-ctl", "0.7", "--split-size", split, mount, on_tmpfs / "dst", code=23, world=world)
        assert "took longer than 0.7 s (-ctl)" in done.failures[str(mount / "d/slow")]
        assert cps(mount, on_tmpfs) == [] and stages(on_tmpfs / "dst") == []
    assert not (on_tmpfs / "dst/d/slow").exists()
    assert (on_tmpfs / "dst/d/a").read_bytes() == b"a"
    # What was finished is not copied again, and without a limit all is.
    again = copy(on_tmpfs / "back", on_tmpfs / "dst")
    assert again.report["copied"]["files"] <= 2
    oracle.assert_equal_trees(on_tmpfs / "back", on_tmpfs / "dst")


def test_what_is_quick_enough_is_left_alone(source: Path, on_tmpfs: Path) -> None:
    copy("-ctl", "30", source, on_tmpfs / "dst")
    oracle.assert_equal_trees(source, on_tmpfs / "dst")


# --- -nb


@pytest.mark.parametrize("world", [PLAIN, *worlds((3,), launchers=("mpich",))], ids=str)
def test_one_source_after_the_other_makes_the_same(world: World, on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"x": Dir({"1": File(b"1")}), "l": Symlink("../f")})
    build(on_tmpfs / "b", {"y": Dir({"2": File(b"2")}, mtime_ns=5), "n": File(b"n" * 1000)})
    (on_tmpfs / "f").write_bytes(b"f")
    sources = [on_tmpfs / "a", on_tmpfs / "b", on_tmpfs / "f"]
    one = copy("-nb", *sources, on_tmpfs / "one", world=world)
    all_ = copy("-b", *sources, on_tmpfs / "all", world=world)
    oracle.assert_equal_trees(on_tmpfs / "all", on_tmpfs / "one", top=False)
    for key in ("found", "copied", "identical", "failure_count", "sources"):
        assert one.report[key] == all_.report[key], key
    assert len(one.report["ranks"]) == len(all_.report["ranks"])
    assert copy("-nb", *sources, on_tmpfs / "one", world=world).copied_entries == 0


def test_merged_contents_too(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"d": Dir({"1": File(b"1")}, mtime_ns=5)})
    build(on_tmpfs / "b", {"d": Dir({"2": File(b"2")}, mtime_ns=6), "e": Dir()})
    copy("-nb", f"{on_tmpfs}/a/", f"{on_tmpfs}/b/", on_tmpfs / "one")
    copy(f"{on_tmpfs}/a/", f"{on_tmpfs}/b/", on_tmpfs / "all")
    oracle.assert_equal_trees(on_tmpfs / "all", on_tmpfs / "one")


def test_everything_is_refused_before_the_first_source_is_copied(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"same": File(b"1")})
    build(on_tmpfs / "b", {"same": File(b"2")})
    refused("-nb", f"{on_tmpfs}/a/", f"{on_tmpfs}/b/", on_tmpfs / "dst", says="same")
    refused("-nb", on_tmpfs / "a", on_tmpfs / "missing", on_tmpfs / "dst", says="missing")
    assert not (on_tmpfs / "dst").exists()


def test_a_mirror_knows_of_all_sources(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"d": Dir({"1": File(b"1")})})
    build(on_tmpfs / "b", {"d": Dir({"2": File(b"2")}), "e": Dir({"3": File(b"3")})})
    build(on_tmpfs / "dst", {"d": Dir({"2": File(b"2"), "old": File(b"o")}), "old": Dir({"o": File(b"o")})})
    copy("-nb", "-rme", "-rf", f"{on_tmpfs}/a/", f"{on_tmpfs}/b/", on_tmpfs / "dst")
    assert sorted(os.fsdecode(path) for path in oracle.entries(on_tmpfs / "dst")) == ["d", "d/1", "d/2", "e", "e/3"]


def test_a_dry_run_of_several_says_what_would_be_done(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"1": File(b"1")})
    build(on_tmpfs / "b", {"2": File(b"2")})
    done = copy("-nb", "-n", on_tmpfs / "a", on_tmpfs / "b", on_tmpfs / "dst")
    assert set(items(done.done.stdout)) == {"a/", "a/1", "b/", "b/2"} and not (on_tmpfs / "dst").exists()
