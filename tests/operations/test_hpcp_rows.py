"""What the table of docs/from-hpcp.md says of hpcp's options, row by row: one small tree and the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import oracle
from tests.support.copies import copy, refused
from tests.support.launch import Argument, Finished, World
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, Symlink, build

PLAIN = World("plain")


@pytest.fixture
def here(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with src: a file, a link, and a directory that has a file to be excluded."""
    build(on_tmpfs / "src", {"a": File(b"a"), "ln": Symlink("a"), "d": Dir({"b": File(b"bb"), "c.tmp": File(b"c")})})
    monkeypatch.chdir(on_tmpfs)
    return on_tmpfs


def run(*words: Argument, code: int = 0, **setting: Any) -> Finished:
    done = PLAIN.run(words, **setting)
    assert done.returncode == code, str(done)
    return done


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


ALL = ["a", "d", "d/b", "d/c.tmp", "ln"]


@pytest.mark.parametrize("option", ["-b", "--batch", "-nb", "--no_batch", "--sequential"])
def test_batches_or_not_several_sources_end_up_the_same(option: str, here: Path) -> None:
    build(here / "other", {"x": File(b"x")})
    run(option, "src", "other", "-d", "dst")
    assert names(here / "dst") == sorted(["src", "other", "other/x", *(f"src/{name}" for name in ALL)])


def test_minus_v_lists_what_is_changed_as_rsync_does(here: Path) -> None:
    assert ">f+++++++++ a" in run("-v", "src", "dst").stdout.splitlines()
    assert "+++" not in run("src", "other").stdout


def test_minus_do_copies_directories_and_not_even_a_single_file(here: Path) -> None:
    run("-do", "src", "dst")
    assert names(here / "dst") == ["d"]
    run("-do", "src/a", "dst/a")
    assert names(here / "dst") == ["d"]


def test_a_full_hash_wins_over_no_hash(here: Path) -> None:
    run("src", "dst")
    times = os.stat("src/a").st_mtime_ns
    Path("dst/a").write_bytes(b"A")
    os.utime("dst/a", ns=(times, times))
    assert copy("-hs", "0", "src", "dst").copied_entries == 0
    assert copy("-hs", "0", "-fh", "src", "dst").report["copied"]["files"] == 1


def test_lists_are_written_and_read_with_every_kind_of_name(here: Path) -> None:
    awkward = [b"co:lon", b" edge ", b"new\nline", b"tab\t", b"back\\slash", b"\xff\xfe", b"-dash", b"#hash"]
    for name in awkward:
        Path(os.fsdecode(b"src/d/" + name)).write_bytes(name)
    run("-fl", "list", "src/")
    run("-sfl", "list", "src", "-d", "dst")
    oracle.assert_equal_trees(here / "src", here / "dst")


def test_a_list_goes_to_standard_output_and_nothing_else_does(here: Path) -> None:
    run("-tfl", "list", "src/")
    assert run("-fl", "-", "src/").stdout.encode() == Path("list").read_bytes()


def test_without_hashes_a_list_has_names_only(here: Path) -> None:
    run("-nhfl", "-fl", "list", "src/")
    assert Path("list").read_text().splitlines() == ["./", "a", "d/", "d/b", "d/c.tmp", "ln"]


def test_what_a_list_names_keeps_its_place_and_nothing_else_is_copied(here: Path) -> None:
    Path("list").write_text("d/b\nmissing\n")
    report = copy("-lfl", "list", "src", "-d", "dst", code=23)
    assert names(here / "dst") == ["d", "d/b"]
    assert [path.rpartition("/")[2] for path in report.failures] == ["missing"]


def test_a_compare_that_finds_something_ends_with_3_and_writes_nothing(here: Path) -> None:
    run("src", "dst")
    run("-cfl", "src", "dst")
    Path("dst/extra").touch()
    before = oracle.lstats(here)
    assert "extra" in run("-cfl", "src", "-d", "dst", code=3).stdout
    assert oracle.lstats(here).keys() == before.keys()


def test_a_compare_with_a_list(here: Path) -> None:
    run("-fl", "list", "src/")
    run("-cfl", "-fl", "list", "src/")
    Path("src/a").write_bytes(b"A")
    assert ">fc........ a" in run("-cfl", "-fl", "list", "src/", code=3).stdout.splitlines()


def test_minus_dfl_implies_a_compare_and_never_overwrites_the_list(here: Path) -> None:
    run("-fl", "list", "src/")
    before = Path("list").read_bytes()
    Path("src/new").touch()
    refused("-fl", "list", "-dfl", "list", "src/", says="same file")
    assert Path("list").read_bytes() == before
    build(here / "dst", {"old": File(b"o")})
    run("src", "dst", "-dfl=table", code=3)
    assert Path("table").read_text().startswith("#hpcp-changes\t1\n") and names(here / "dst") == ["old"]


@needs_commands("tar")
def test_minus_tdfl_alone_compares_and_its_names_make_a_tar_file(here: Path) -> None:
    build(here / "dst", {"a": File(b"old")})
    run("src", "dst", "-tdfl", "-dfl=list", code=3)
    assert (here / "dst/a").read_bytes() == b"old"
    subprocess.run(["tar", "-C", "src", "-cf", "new.tar", "-T", "list"], check=True)
    subprocess.run(["tar", "-C", "dst", "-xf", "new.tar"], check=True)
    assert names(here / "dst") == ALL and (here / "dst/a").read_bytes() == b"a"


def test_minus_rm_removes_but_not_what_is_excluded(here: Path) -> None:
    run("-rm", "-rf", "-e", "*.tmp", "src")
    assert names(here) == ["src", "src/d", "src/d/c.tmp"]


def test_a_move_leaves_what_has_no_copy(here: Path) -> None:
    build(here / "dst", {"a": Dir({"in the way": File(b"x")})})
    report = copy("-rm", "-rf", "-e", "*.tmp", "src", "-d", "dst", code=23)
    assert names(here / "src") == ["a", "d", "d/c.tmp"]
    assert any(path.endswith("/src/a") for path in report.failures)


def test_minus_rf_alone_removes_one_path_and_never_makes_a_copy_a_move(here: Path) -> None:
    run("-rf", "src", "-d", "dst")
    assert names(here / "src") == names(here / "dst") == ALL
    refused("-rf", "src", "dst", says="is the last one a destination", code=[2])
    run("-rf", "dst")
    assert names(here / "src") == ALL and not (here / "dst").exists()


def test_a_mirror_removes_directories_too_and_is_refused_for_a_file(here: Path) -> None:
    build(here / "dst", {"old": Dir({"x": File(b"x")}), "d": Dir({"c.tmp": File(b"mine")})})
    refused("-rme", "-rf", "src/a", "-d", "dst", says="no directory")
    run("-rme", "-rf", "-e", "*.tmp", "src", "dst")
    assert names(here / "dst") == ALL and (here / "dst/d/c.tmp").read_bytes() == b"mine"


def test_minus_rwloff_changes_nothing(here: Path) -> None:
    run("-rm", "-rf", "-rwloff", "src")
    assert names(here) == []


@pytest.mark.parametrize(
    "option, inside, outside", [((), True, False), (("-lt",), True, True), (("-nlt",), False, False)]
)
def test_what_relative_links_point_to(option: tuple[str, ...], inside: bool, outside: bool, here: Path) -> None:
    """`src/one` lands in `dst/one`: `dst` is the place that was named, and the links lead out of `src/one`."""
    build(
        here / "tree",
        {"one": Dir({"near": Symlink("../two/t"), "far": Symlink("../../out/t")}), "two": Dir({"t": File(b"t")})},
    )
    build(here / "out", {"t": File(b"t")})
    (here / "place").mkdir()
    run(*option, "tree/one", "-d", "place/dst/")
    assert (here / "place/dst/two/t").exists() == inside
    assert (here / "place/out/t").exists() == outside


def test_link_tracking_and_none_exclude_each_other(here: Path) -> None:
    refused("-lt", "-nlt", "src", "dst", says="-lt and -nlt exclude each other")


def test_minus_pfl_copies_the_same(here: Path) -> None:
    run("-pfl", "src", "dst")
    oracle.assert_equal_trees(here / "src", here / "dst")


@pytest.mark.parametrize("option", [(), ("-rds",)])
def test_files_are_spread_and_a_later_run_finds_them(option: tuple[str, ...], here: Path) -> None:
    build(here / "many", {f"f{number}": File(b"x") for number in range(40)})
    spread = (*option, "many", "-d", "one", "-C", "two")
    run(*spread)
    first, second = names(here / "one"), names(here / "two")
    assert first and second and sorted(first + second) == names(here / "many")
    assert copy(*spread).report["copied"]["files"] == 0


def test_limits_of_rates_are_taken_as_hpcp_writes_them(here: Path) -> None:
    run("-L", "10M", "-F", "10K", "src", "one")
    run("-rl", "1Gi", "-frl", "1Ki", "src", "two")
    refused("-L", "fast", "src", "dst", says="not a rate")


def test_another_type_of_file_system_is_refused(here: Path) -> None:
    refused("-tfs", "xfs", "src", "dst", says="tmpfs")
    assert not (here / "dst").exists()
    run("-tfs", "tmpfs", "src", "dst")


def test_a_destination_that_is_not_there_is_left_out(here: Path) -> None:
    (here / "one").mkdir()
    run("-ncd", "src", "-d", "one", "-d", "two")
    assert names(here / "one") == ALL and not (here / "two").exists()
    refused("-ncd", "src", "two", says="exist")


def test_content_only_copies_no_times(here: Path) -> None:
    os.utime("src/a", (1, 1))
    run("-co", "src", "dst")
    assert os.stat("dst/a").st_mtime > 1 and Path("dst/a").read_bytes() == b"a"


def test_a_time_limit_for_cp_and_too_little_room_are_understood(here: Path) -> None:
    run("-ctl", "60", "-enes", "src", "dst")
    assert names(here / "dst") == ALL
