"""Exclude patterns that match nothing: noted, and no licence to remove what they were to protect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
from tests.support import direct
from tests.support.interrupted import BrokenOff, Notes
from tests.support.interrupted import run as run_recorded
from tests.support.launch import Finished, World, command_line
from tests.support.terminal import at_terminal
from tests.support.trees import Dir, File, build

PLAIN, MPICH = World("plain"), World("mpich", 3)
REFUSED = 23


@pytest.fixture
def place(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", {"sub": Dir({"f": File(b"f"), "x.tmp": File(b"t")}), "g": File(b"g")})
    # What `-e cache/` is to protect, and something that is extra.
    build(
        on_tmpfs / "dst",
        {"sub": Dir({"f": File(b"f")}), "cache": Dir({"made": File(b"at the destination")}), "old": File(b"extra")},
    )
    return on_tmpfs


def mirror(place: Path, *more: str, world: World = PLAIN, **setting: Any) -> Finished:
    return world.run(["-rme", *more, "--json", "report.json", "src", "dst"], cwd=place, **setting)


def notes(place: Path) -> dict[str, str]:
    report = json.loads((place / "report.json").read_text())
    return {each["path"]: each["note"] for each in report["notes"]}


# --- the ways to write a pattern


@pytest.mark.parametrize(
    "pattern, world",
    [("cache/", PLAIN), ("cache/", MPICH), ("./cache", PLAIN), ("{place}/src/./cache/", PLAIN)],
    ids=str,
)
def test_however_a_pattern_is_written_it_protects(pattern: str, world: World, place: Path) -> None:
    done = mirror(place, "-rf", "-e", pattern.format(place=place), world=world)
    assert done.returncode == 0, str(done)
    assert (place / "dst/cache/made").exists()
    assert not (place / "dst/old").exists()
    assert not any("matched nothing" in note for note in notes(place).values())


def test_an_exclude_file_of_windows_protects(place: Path) -> None:
    (place / "patterns").write_bytes(b"\xef\xbb\xbfcache/\r\n# tmp\r\n*.tmp\r\n")
    done = mirror(place, "-rf", "-x", "patterns")
    assert done.returncode == 0, str(done)
    assert (place / "dst/cache/made").exists() and not (place / "dst/sub/x.tmp").exists()


def test_a_slash_at_the_end_is_for_directories_at_the_destination_too(place: Path) -> None:
    (place / "dst/sub/cache").write_bytes(b"a file that is extra")
    assert mirror(place, "-rf", "-e", "cache/").returncode == 0
    assert (place / "dst/cache/made").exists() and not (place / "dst/sub/cache").exists()
    (place / "src/cache").write_bytes(b"a file that no pattern is for, where a protected directory is")
    done = mirror(place, "-rf", "-e", "cache/")
    assert done.returncode == REFUSED
    assert (place / "dst/cache/made").exists()


@pytest.mark.parametrize("pattern", ["../cache", ""])
def test_a_pattern_that_can_match_nothing_is_refused_at_once(pattern: str, place: Path) -> None:
    done = mirror(place, "-rf", "-e", pattern)
    assert done.returncode == 2 and "can match nothing" in done.stderr
    assert (place / "dst/old").exists() and not (place / "dst/g").exists()


# --- mirrors


@pytest.mark.parametrize("world, more", [(PLAIN, []), (MPICH, ["-pfl"])], ids=str)
def test_a_mirror_with_a_pattern_that_matched_nothing_copies_and_removes_nothing(
    more: list[str], world: World, place: Path
) -> None:
    done = mirror(place, "-rf", "-e", "chache", "-e", "*.tmp", *more, world=world)
    assert done.returncode == REFUSED, str(done)
    assert "The exclude pattern chache matched nothing, so it protects nothing" in done.stderr
    assert "-rf twice" in done.stderr
    assert (place / "dst/old").exists() and (place / "dst/cache/made").exists()
    assert (place / "dst/g").read_bytes() == b"g"
    assert notes(place)["chache"] == "this exclude pattern matched nothing" and "*.tmp" not in notes(place)


@pytest.mark.parametrize("more", [["-rf", "-rf", "-e", "chache"], ["-rf", "-eo", "chache"], ["-rf", "-xo", "patterns"]])
def test_who_says_twice_that_it_is_meant_gets_it(more: list[str], place: Path) -> None:
    (place / "patterns").write_text("chache\nnever\n")
    done = mirror(place, *more)
    assert done.returncode == 0, str(done)
    assert not (place / "dst/old").exists() and not (place / "dst/cache").exists()
    assert ("chache" in notes(place)) is ("-e" in more)


def test_a_dry_run_of_a_mirror_notes_it(place: Path) -> None:
    done = mirror(place, "-n", "-e", "chache")
    assert done.returncode == 0
    assert "note: chache: this exclude pattern matched nothing" in done.stderr


@pytest.mark.parametrize("force, keys, code, gone", [(["-rf"], "y\n", 0, True), ([], "n\n", 0, False)])
def test_at_a_terminal_it_asks_even_with_minus_rf(
    force: list[str], keys: str, code: int, gone: bool, place: Path
) -> None:
    words = ["-rme", *force, "-e", "chache", "src", "dst"]
    with at_terminal(*command_line(words, flavour="plain"), place) as terminal:
        terminal.expect(r"The exclude pattern chache matched nothing.*\[y/N\] ")
        assert (place / "dst/old").exists()
        terminal.type(keys)
        assert terminal.finish().returncode == code
    assert (place / "dst/old").exists() is not gone


def test_a_pattern_that_matches_only_below_what_is_extra_protects_there(place: Path) -> None:
    (place / "dst/cache/kept.rec").write_bytes(b"only here")
    done = mirror(place, "-rf", "-e", "*.rec")
    assert done.returncode == 0, str(done)
    assert (place / "dst/cache/kept.rec").exists()
    assert not (place / "dst/cache/made").exists() and not (place / "dst/old").exists()


def test_with_several_destinations_each_one_is_asked(place: Path) -> None:
    (place / "two").mkdir()
    (place / "two/old").write_bytes(b"extra")
    for more, code in ((["-e", "chache"], REFUSED), (["-e", "*.tmp"], 0)):
        done = PLAIN.run(["-rme", "-rf", *more, "src", "-d", "dst", "-d", "two"], cwd=place)
        assert done.returncode == code, str(done)
        assert (place / "dst/old").exists() is (place / "two/old").exists() is (code == REFUSED)


def test_to_delete_what_is_excluded_needs_no_pattern_that_matches(place: Path) -> None:
    assert mirror(place, "-rf", "--delete-excluded", "-e", "chache").returncode == 0
    assert not (place / "dst/old").exists()


# --- other verbs


@pytest.mark.parametrize("world", [MPICH], ids=str)
def test_a_removal_with_a_pattern_that_matched_nothing_removes_nothing(world: World, place: Path) -> None:
    done = world.run(["-rm", "-rf", "-e", "chache", "dst"], cwd=place)
    assert done.returncode == REFUSED and "matched nothing, so it protects nothing" in done.stderr
    assert (place / "dst/cache/made").exists() and (place / "dst/old").exists()
    assert world.run(["-rm", "-rf", "-e", "cache/", "dst"], cwd=place).returncode == 0
    assert [path.name for path in sorted((place / "dst").rglob("*"))] == ["cache", "made"]
    assert world.run(["-rm", "-rf", "-eo", "chache", "dst"], cwd=place).returncode == 0
    assert not (place / "dst").exists()


def test_a_removal_whose_argument_is_excluded_leaves_it(place: Path) -> None:
    done = PLAIN.run(["-rm", "-rf", "-e", "cache", "dst/cache", "dst/old"], cwd=place)
    assert done.returncode == 0, str(done)
    assert (place / "dst/cache/made").exists() and not (place / "dst/old").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["src", "new"],
        ["-rm", "-rf", "src", "-d", "new"],
        ["-cfl", "src", "src2"],
        ["-fl", "list", "src"],
        ["-nb", "src", "src2", "-d", "new"],
        ["-sfl", "names", "src", "-d", "new"],
    ],
    ids=lambda words: " ".join(words),
)
def test_every_verb_notes_a_pattern_that_matched_nothing_once(words: list[str], place: Path) -> None:
    build(place / "src2", {"sub": Dir({"f": File(b"f"), "x.tmp": File(b"t")}), "g": File(b"g"), "only2": File(b"")})
    (place / "names").write_bytes(b"g\nsub/x.tmp\n")
    more = ["-e", "only2"] if words[0] in ("-nb", "-cfl") else []  # matches in one of them
    done = PLAIN.run([*words, "-e", "chache", "-e", "*.tmp", *more, *(["-nhfl"] if "-sfl" in words else [])], cwd=place)
    assert done.returncode in (0, 3), str(done)
    assert [line for line in done.stderr.splitlines() if line.startswith("note: ")] == [
        "note: chache: this exclude pattern matched nothing"
    ]


def test_python_callers_are_told_the_same(place: Path) -> None:
    src, dst = place / "src", place / "dst"
    assert direct.copy(src, dst, mirror=True, excludes=(b"chache",)).exit_code == REFUSED
    assert (dst / "old").exists()
    assert direct.remove(dst, excludes=(b"chache",)).exit_code == REFUSED
    assert (dst / "old").exists()
    assert direct.copy(src, dst, mirror=True, optional_excludes=(b"chache",)).exit_code == 0
    assert not (dst / "old").exists()


# --- resumed runs, which look at a part of the sources only


@pytest.mark.parametrize("pattern, refused", [(b"*.tmp", False), (b"chache", True)])
def test_a_resumed_mirror_knows_what_matched_before(pattern: bytes, refused: bool, place: Path) -> None:
    """Whichever checkpoint it resumes from: also from one after which no directory is listed any more."""
    src, dst = os.fsencode(place / "src"), os.fsencode(place / "dst")
    asked = Request(Verb.COPY, (src,), (dst,), Options(mirror=True, excludes=(pattern,)))
    counting = Notes()
    run_recorded(Request(Verb.COPY, (src,), (dst + b"2",), Options(mirror=True, excludes=(pattern,))), counting)
    for stop_at in range(1, len(counting.checkpoints) + 1):
        build(dst := place / f"dst{stop_at + 2}", {"old": File(b"extra")})
        asked = Request(Verb.COPY, (src,), (os.fsencode(dst),), Options(mirror=True, excludes=(pattern,)))
        stopped = Notes(stop_at)
        try:
            report = run_recorded(asked, stopped)
        except BrokenOff:
            report = run_recorded(asked, Notes(), stopped.saved(stop_at))
        assert report.exit_code == (REFUSED if refused else 0), (stop_at, report.failures)
        assert (dst / "old").exists() is refused
