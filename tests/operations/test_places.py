"""What a command names: other hosts' paths, patterns of destinations, and paths without a working directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import hpcp_mpi
from hpcp_mpi.vocab.errors import UsageError
from tests.support import oracle
from tests.support.launch import Finished, World, command_line
from tests.support.trees import Dir, File, build

PLAIN, MPICH = World("plain"), World("mpich", 3)
# Starts what follows in a directory that is there no more.
LOST = ["sh", "-c", 'at=$(mktemp -d) && cd "$at" && rmdir "$at" && exec "$@"', "sh"]


@pytest.fixture
def place(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", {"f": File(b"f"), "d": Dir({"g": File(b"g")})})
    return on_tmpfs


def run(place: Path, *words: Any, world: World = PLAIN, **setting: Any) -> Finished:
    return world.run([*words], **{"cwd": place, **setting})


def refused(done: Finished, says: str, *codes: int) -> None:
    assert done.returncode in codes and says in done.stderr and "Traceback" not in done.stderr, str(done)


# --- no working directory


@pytest.mark.parametrize("world", [PLAIN, MPICH], ids=str)
def test_with_absolute_paths_no_working_directory_is_needed(world: World, place: Path) -> None:
    src, dst = place / "src", place / "dst"
    verbs = (
        (["-n", src, dst], 0),
        (["--json", place / "j", "--ledger", place / "led", src, dst], 0),
        (["-cfl", src, dst], 0),
        (["-rm", "-rf", src, "-d", place / "moved"], 0),
        (["-rm", "-rf", dst], 0),
    )
    for words, code in verbs if world is PLAIN else verbs[1:2] + verbs[-1:]:
        done = run(place, *words, world=world, wrapper=LOST)
        assert done.returncode == code and "Traceback" not in done.stderr, str(done)
    assert not dst.exists() and (world is MPICH or (place / "moved/d/g").exists())


def test_lists_need_no_working_directory_either(place: Path) -> None:
    for words in (
        ["-fl", place / "list", f"{place}/src/"],
        ["-fl", "-", place / "src"],
        ["-sfl", place / "list", place / "src", "-d", place / "dst"],
        ["-cfl", "-fl", place / "list", f"{place}/src/"],
        ["-dfl", place / "table", place / "src", "-d", place / "dst"],
        ["--status", place / "led"],
    ):
        run(place, "--ledger", "led", "src", "other")
        done = run(place, *words, wrapper=LOST)
        assert done.returncode == 0 and "Traceback" not in done.stderr, str(done)
    oracle.assert_equal_trees(place / "src", place / "dst")


def test_the_launcher_may_be_without_one_as_well(place: Path) -> None:
    command, env = command_line([place / "src", place / "dst"], flavour="mpich", n=2)
    done = subprocess.run([*LOST, *command], env=env, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 and (place / "dst/f").exists(), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["src", "{place}/dst"],
        ["{place}/src", "dst"],
        ["{place}/src", "."],
        ["--json", "j", "{place}/src", "{place}/dst"],
        ["--ledger", "led", "{place}/src", "{place}/dst"],
        ["-fl", "list", "{place}/src"],
        ["-sfl", "{place}/list", "-d", "{place}/dst"],
        ["-dfl", "-cfl", "{place}/src", "{place}/src"],
        ["-rm", "-rf", "../src"],
        ["--status", "led"],
        ["-x", "patterns", "{place}/src", "{place}/dst"],
    ],
    ids=" ".join,
)
def test_a_relative_path_without_one_is_refused_in_words(words: list[str], place: Path) -> None:
    (place / "list").write_text("f\n")
    done = run(place, *(word.format(place=place) for word in words), wrapper=LOST)
    refused(done, "src" if "-rm" in words else "", 1)
    assert sorted(os.listdir(place)) == ["list", "src"]
    assert "working directory was removed" in done.stderr or words[0] in ("--status", "-x"), done.stderr


# --- other hosts

REMOTE = ["host:/x", "user@host:/x", "host:path", "host:", "rsync://host/x", "s3://bucket/x", "gs://b", "https://h/x/"]


@pytest.mark.parametrize("name", [*REMOTE, "[::1]:/x", "C:\\x"])
def test_a_destination_on_another_host_is_refused(name: str, place: Path) -> None:
    for words in (["src", name], ["src", "-d", name]):
        refused(run(place, *words), f"./{name}".replace("\\", "\\\\"), 2)
    assert os.listdir(place) == ["src"]


@pytest.mark.parametrize(
    "words", [["-n"], ["-cfl"], ["-rm", "-rf"], ["-d", "dst"], ["--backup-dir", "s3://b/x"]], ids=str
)
def test_so_it_is_for_every_verb(words: list[str], place: Path) -> None:
    name = "dst" if "--backup-dir" in words else "host:/x"
    refused(run(place, *words, "src", "-d", name), "looks like a place on another host", 2)
    assert os.listdir(place) == ["src"]


@pytest.mark.parametrize("name", ["host:/x", "s3://bucket/x", "user@host:x"])
def test_a_source_on_another_host_is_refused(name: str, place: Path) -> None:
    for words in ([name, "dst"], ["-fl", "list", name], ["-cfl", name, "src"], ["src", name, "dst"]):
        refused(run(place, *words), "looks like a place on another host", 2)
    assert os.listdir(place) == ["src"]


def test_what_is_called_so_here_is_used(place: Path) -> None:
    build(place / "a:b", {"x": File(b"x")})
    assert run(place, "a:b", "./c:d").returncode == 0
    assert run(place, "a:b", "c:d").returncode == 0  # it is there
    assert run(place, "a:b/x", "a:b/y").returncode == 0  # a:b is there
    assert run(place, "a:b", f"{place}/e:f").returncode == 0
    assert run(place, "a:*", "g").returncode == 0
    assert run(place, "--backup-dir", "gone-12:30", "a:b", "g").returncode == 0
    assert run(place, "-rm", "-rf", "a:b").returncode == 0
    assert sorted(os.listdir(place)) == ["c:d", "e:f", "g", "src"]
    assert sorted(os.listdir(place / "c:d")) == ["x"]


def test_python_callers_are_refused_the_same(place: Path) -> None:
    with pytest.raises(UsageError, match="another host"):
        hpcp_mpi.copy(place / "src", "host:/x")


# --- patterns of destinations


def test_a_destination_that_is_a_pattern_is_expanded(place: Path) -> None:
    for name in ("disk1", "disk2"):
        (place / name).mkdir()
    for words in (["src", "-d", "disk*/"], ["-rds", "src", "-d", f"{place}/disk[12]/"]):
        done = run(place, *words)
        assert done.returncode == 0, str(done)
        found = [path.relative_to(place) for path in place.glob("disk*/src/**/*") if path.is_file()]
        assert sorted(path.relative_to(path.parts[0] + "/src").as_posix() for path in found) == ["d/g", "f"]
    assert sorted(os.listdir(place)) == ["disk1", "disk2", "src"]


def test_one_that_matches_nothing_is_refused_unless_it_is_a_name(place: Path) -> None:
    for words in (["src", "-d", "disk*/"], ["-n", "src", "-d", "disk[1]"]):
        refused(run(place, *words), "no destination matches", 1)
    assert os.listdir(place) == ["src"]
    (place / "disk[1]").mkdir()
    (place / "disk1").mkdir()
    assert run(place, "src", "disk[1]").returncode == 0
    assert os.listdir(place / "disk1") == [] and (place / "disk[1]/f").exists()


def test_the_last_argument_is_a_name_as_it_is(place: Path) -> None:
    """A shell expands what is not quoted, and a script has quoted it: a project may be called `*`."""
    (place / "disk1").mkdir()
    assert run(place, "src", "disk*").returncode == 0
    assert os.listdir(place / "disk1") == [] and (place / "disk*/f").exists()


def test_where_one_destination_is_meant_several_matches_are_refused(place: Path) -> None:
    (place / "list").write_text("f\n")
    for name in ("disk1", "disk2"):
        (place / name).mkdir()
    for words in (["-cfl", "src", "-d", "disk*"], ["-nhfl", "-sfl", "list", "src", "-d", "disk*"]):
        refused(run(place, *words), "several destinations", 2)


def test_a_tilde_that_no_shell_expanded_is_the_home(place: Path) -> None:
    done = run(place, "src", "-d", "~/dst", env={"HOME": os.fspath(place / "home")})
    assert done.returncode == 0 and (place / "home/dst/f").exists(), str(done)
    assert sorted(os.listdir(place)) == ["home", "src"]
