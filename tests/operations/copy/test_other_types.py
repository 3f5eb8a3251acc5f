"""A directory where the destination has something else under its name: nobody asked to remove that, so it stays.

As with `cp -a`, which refuses it, and unlike `rsync -a`, which removes it without a word. With -rme -rf it goes, with
--backup-dir it is kept there, and a line says so.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
from tests.support import oracle
from tests.support.copies import TINY_CHUNKS, copy
from tests.support.interrupted import BrokenOff, Notes
from tests.support.interrupted import run as run_recorded
from tests.support.launch import World, command_line
from tests.support.terminal import at_terminal
from tests.support.trees import Dir, Fifo, File, Symlink, build

PLAIN, MPICH = World("plain"), World("mpich", 3)
IN_THE_WAY = ("a file", "a link", "a pipe")
LINES = {f"*deleting   {name}" for name in IN_THE_WAY}
REASON = "what is there is no directory: remove it first, or give --backup-dir (which keeps it) or -rme -rf"


@pytest.fixture
def place(on_tmpfs: Path) -> Path:
    deep = Dir({"sub": Dir({"f": File(b"new")}), "g": File(b"new")})
    build(on_tmpfs / "src", {**dict.fromkeys(IN_THE_WAY, deep), "other": File(b"other")})
    build(on_tmpfs / "elsewhere", {"mine": File(b"mine")})
    there = {"a file": File(b"precious"), "a link": Symlink("../elsewhere"), "a pipe": Fifo()}
    build(on_tmpfs / "dst", {**there, "sub": Dir({"s": File(b"s")})})
    return on_tmpfs


def kept(place: Path) -> bool:
    """Whether everything that was in the way is still there."""
    dst = place / "dst"
    return (
        (dst / "a file").read_bytes() == b"precious"
        and (dst / "a link").is_symlink()
        and stat.S_ISFIFO(os.lstat(dst / "a pipe").st_mode)
        and os.listdir(place / "elsewhere") == ["mine"]
    )


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("*deleting")}


def test_cp_refuses_it_and_rsync_does_it_without_a_word(place: Path) -> None:
    done = subprocess.run(["cp", "-a", f"{place}/src/.", f"{place}/dst/"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("cannot overwrite non-directory") == 3
    assert kept(place)
    done = subprocess.run(["rsync", "-ai", f"{place}/src/", f"{place}/dst/"], capture_output=True, text=True)
    assert done.returncode == 0 and (place / "dst/a file").is_dir() and "deleting" not in done.stdout


@pytest.mark.parametrize(
    "world, more", [(PLAIN, []), (MPICH, ["-pfl"]), (PLAIN, ["-n"]), (PLAIN, TINY_CHUNKS), (PLAIN, ["-do"])], ids=str
)
def test_what_is_in_the_way_of_a_directory_stays_and_that_fails(world: World, more: list[str], place: Path) -> None:
    done = copy("src", "dst", "-v", *more, cwd=place, world=world, code=23)
    assert done.failures == {
        f"{place}/src/{name}": f"cannot be made at the destination: {REASON}" for name in IN_THE_WAY
    }
    assert kept(place)
    assert (place / "dst/other").exists() is (more not in (["-n"], ["-do"]))


@pytest.mark.parametrize("world, more", [(PLAIN, []), (MPICH, ["-pfl"])], ids=str)
def test_a_mirror_replaces_it_and_says_so_before_and_while_it_does(world: World, more: list[str], place: Path) -> None:
    for words in (["-n"], ["-v"]):
        assert kept(place)
        done = world.run(["-rme", "-rf", *words, *more, "src", "dst"], cwd=place)
        assert done.returncode == 0, str(done)
        assert lines(done.stdout) == LINES | {"*deleting   sub/", "*deleting   sub/s"}
    oracle.assert_equal_trees(place / "src", place / "dst")
    assert os.listdir(place / "elsewhere") == ["mine"]


@pytest.mark.parametrize("world, more", [(PLAIN, []), (MPICH, ["-pfl"]), (PLAIN, ["-n"])], ids=str)
def test_a_mirror_that_counts_removals_does_not_replace_it_uncounted(
    world: World, more: list[str], place: Path
) -> None:
    done = copy("-rme", "-rf", "--max-delete", "2", *more, "src", "dst", cwd=place, world=world, code=23)
    named = {f"{place}/src/{name}" for name in IN_THE_WAY}
    assert set(done.failures) >= named and all("--max-delete is given" in done.failures[path] for path in named)
    assert kept(place) and (place / "dst/sub/s").exists()


def test_a_mirror_that_would_ask_at_the_end_has_replaced_nothing_by_then(place: Path) -> None:
    with at_terminal(*command_line(["-rme", "src", "dst"], flavour="plain"), place) as terminal:
        done = terminal.finish()
    assert done.returncode == 23 and "it would go before the question" in done.screen
    assert kept(place) and (place / "dst/other").exists() and (place / "dst/sub/s").exists()


def test_with_a_backup_directory_it_is_kept_there(place: Path) -> None:
    done = PLAIN.run(["-v", "--backup-dir", "../backup", "src", "dst"], cwd=place)
    assert done.returncode == 0, str(done)
    assert lines(done.stdout) == LINES
    assert (place / "backup/a file").read_bytes() == b"precious"
    assert os.readlink(place / "backup/a link") == "../elsewhere"
    oracle.assert_equal_trees(place / "src", place / "dst", exclude=["sub"])


def test_a_source_that_lands_on_a_file_fails_and_the_others_are_copied(place: Path) -> None:
    build(place / "into", {"src": File(b"precious")})
    done = copy("src", "elsewhere", "into", cwd=place, code=23)
    assert set(done.failures) == {f"{place}/src"}
    assert (place / "into/src").read_bytes() == b"precious" and (place / "into/elsewhere/mine").exists()


def test_a_move_leaves_what_found_no_place(place: Path) -> None:
    done = copy("-rm", "-rf", "src", "-d", "dst", cwd=place, code=23)
    assert set(done.failures) >= {f"{place}/src/{name}" for name in IN_THE_WAY}
    assert kept(place)
    assert sorted(os.listdir(place / "src")) == sorted(IN_THE_WAY)
    assert (place / "src/a file/sub/f").read_bytes() == b"new"


def test_a_compare_calls_it_modified_and_names_what_would_go(place: Path) -> None:
    done = PLAIN.run(["-cfl", "src", "dst"], cwd=place)
    assert done.returncode == 3 and "fail" not in done.stderr + done.stdout, str(done)


def test_with_several_destinations_the_one_that_has_it_fails(place: Path) -> None:
    done = copy("src", "-d", "dst", "-d", "two", cwd=place, code=23)
    assert set(done.failures) >= {f"{place}/src/{name}" for name in IN_THE_WAY}
    assert kept(place) and (place / "two/a file/sub").is_dir()


@pytest.mark.parametrize("mirror", [False, True])
def test_a_resumed_run_decides_the_same(mirror: bool, place: Path) -> None:
    """What comes up at the destination between two runs is looked at again, too."""
    src = os.fsencode(place / "src")

    def asked(dst: Path) -> Request:
        return Request(Verb.COPY, (src,), (os.fsencode(dst),), Options(mirror=mirror))

    counting = Notes()
    run_recorded(asked(place / "counted"), counting)
    for stop_at in range(1, len(counting.checkpoints) + 1, 3):
        dst, notes = place / f"dst{stop_at}", Notes(stop_at)
        build(dst, {"a file": File(b"precious")})
        try:
            run_recorded(asked(dst), notes)
        except BrokenOff:
            report = run_recorded(asked(dst), Notes(), notes.saved(stop_at))
            assert report.exit_code == (0 if mirror else 23), (stop_at, report.failures)
        assert (dst / "a file").is_dir() is mirror
