"""Who may rename in a directory gives the name of a stage to another directory of root's: that is not emptied, and
no stage is given to anybody.

Such a directory they may rename, not empty. The moments are those right after a stage, or a directory, was made.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.engine import destination
from hpcp_mpi.host import dirfd
from hpcp_mpi.host.stage import SharedStages, set_aside, staged
from tests.support.copies import PLAIN
from tests.support.trees import Dir, File, build

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
U, BOB = 65534, 1234  # the attacker, and a user who is not asked
RENAME = "import os, sys; os.chdir(sys.argv[1]); [os.rename(*each.split(':')) for each in sys.argv[2:]]"
MiB = 1 << 20


def as_u(place: Path, *renames: str) -> None:
    """Rename entries of a directory, as the attacker."""
    subprocess.run([sys.executable, "-I", "-c", RENAME, place, *renames], user=U, group=U, extra_groups=[], check=True)


@pytest.fixture
def theirs(on_tmpfs: Path) -> Path:
    """A directory of the attacker's, in which root has one of its own."""
    place = on_tmpfs / "u"
    build(place, {"private": Dir({"only-copy": File(b"k", owner=(0, 0))}, mode=0o700, owner=(0, 0))}, owner=(U, U))
    return place


@pytest.fixture
def given_away(monkeypatch: pytest.MonkeyPatch, theirs: Path) -> Callable[[str], None]:
    """Returns what makes the attacker give the name of the next stage to another directory right after its mkdir."""
    make = os.mkdir

    def attack(other: str) -> None:
        def mkdir(name: bytes, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            make(name, mode, dir_fd=dir_fd)
            if name.startswith(b".hpcp-mpi.") and (theirs / other).exists():
                as_u(theirs, f"{os.fsdecode(name)}:aside", f"{other}:{os.fsdecode(name)}")

        monkeypatch.setattr(os, "mkdir", mkdir)

    return attack


def ignore(name: bytes, note: str) -> None:
    """A remark that nobody reads."""


def make_shared(directory: int) -> None:
    _name, stage = SharedStages("01234567.1").make(directory, b"")
    os.close(stage)


def make_staged(directory: int) -> None:
    with staged(directory, "01234567.1", ignore):
        pass


def make_aside(directory: int) -> None:
    with set_aside(directory, "01234567.1", ignore):
        pass


@pytest.mark.parametrize("make", [make_staged, make_shared, make_aside])
def test_what_is_put_in_place_of_a_new_stage_is_neither_used_nor_emptied(
    make: Callable[[int], None], theirs: Path, given_away: Callable[[str], None]
) -> None:
    given_away("private")
    directory = os.open(theirs, os.O_RDONLY)
    with pytest.raises(PermissionError, match="another user replaced"):
        make(directory)
    os.close(directory)
    (kept,) = theirs.glob(".hpcp-mpi.*/only-copy")
    assert kept.read_bytes() == b"k" and stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_a_directory_that_the_run_made_does_not_become_a_stage(theirs: Path, given_away: Callable[[str], None]) -> None:
    """It is settled later, and then belongs to the attacker while `cp` writes in it."""
    (theirs / "made").mkdir(mode=0o700)
    given_away("made")
    directory = os.open(theirs, os.O_RDONLY)
    with pytest.raises(PermissionError, match="another user replaced"):
        make_staged(directory)
    os.close(directory)


def test_a_stage_does_not_become_a_directory_that_the_run_made(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def mkdir(name: bytes, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        make(name, mode, dir_fd=dir_fd)
        if name == b"new":
            as_u(theirs, "new:aside", f"{stage.name}:new")

    made: list[bytes] = []
    directory = os.open(theirs, os.O_RDONLY)
    with staged(directory, "01234567.1", ignore):
        (stage,) = theirs.glob(".hpcp-mpi.*")
        monkeypatch.setattr(os, "mkdir", mkdir)
        tree = dirfd.Tree(os.fsencode(theirs), note_made=lambda path, fd: made.append(path))
        with tree.made(b"new"):
            assert stat.S_IMODE((theirs / "new").stat().st_mode) == 0o1700
    os.close(directory)
    assert made == []


@pytest.mark.parametrize("command", [[], ["-pfl"]], ids=["chunks", "all-list"])
def test_a_stage_that_the_attacker_renames_is_given_to_nobody(command: list[str], theirs: Path, on_tmpfs: Path) -> None:
    """Another run finds it under the name of a directory of the source."""
    build(on_tmpfs / "src", {"d": Dir({}, owner=(U, U))}, owner=(U, U))
    directory = os.open(theirs, os.O_RDONLY)
    try:
        for mark in (True, False):  # held by another process, and one that keeps no lock on it any more
            with staged(directory, "01234567.1", ignore) as stage:
                (made,) = theirs.glob(".hpcp-mpi.*")
                as_u(theirs, f"{made.name}:d")
                if not mark:
                    import fcntl

                    fcntl.flock(stage, fcntl.LOCK_UN)
                done = PLAIN.run([on_tmpfs / "src", theirs, *command])
                assert done.returncode == 23 and "is not given to uid 65534" in done.stderr, str(done)
                assert os.fstat(stage).st_uid == 0 and stat.S_IMODE(os.fstat(stage).st_mode) == 0o1700
                as_u(theirs, f"d:{made.name}")
    finally:
        os.close(directory)


def test_a_directory_in_place_of_a_big_files_stage_is_not_emptied(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = SharedStages("01234567.1")
    directory = os.open(theirs, os.O_RDONLY)
    name, stage = stages.make(directory, b"")
    os.close(stage)
    as_u(theirs, f"{os.fsdecode(name)}:aside", f"private:{os.fsdecode(name)}")
    with pytest.raises(PermissionError, match="another user replaced"):
        stages.enter(directory, name)
    os.close(directory)
    assert (theirs / os.fsdecode(name) / "only-copy").exists()


def test_a_directory_that_takes_the_place_of_a_file_is_not_removed_with_it(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory replaces a file: what has become of that in the last moment may be anybody's."""
    (theirs / "name").touch()
    os.chown(theirs / "name", U, U)
    look = destination.lstat

    def attack(name: bytes, directory: int) -> os.stat_result | None:
        if (theirs / "private").exists():
            as_u(theirs, "name:file", "private:name")
        return look(name, directory)

    monkeypatch.setattr(destination, "lstat", attack)
    directory = os.open(theirs, os.O_RDONLY)
    with staged(directory, "01234567.1", ignore) as stage:
        os.mkdir("name", dir_fd=stage)
        with pytest.raises(OSError):
            destination.rename_into_place(stage, b"name", directory, b"name")
    os.close(directory)
    assert (theirs / "name/only-copy").read_bytes() == b"k"


def test_what_is_set_aside_is_no_stage_that_another_run_sweeps(theirs: Path, on_tmpfs: Path) -> None:
    """What had no other place stays where it is when something is copied to there."""
    build(on_tmpfs / "src", {"f": File(b"f")}, owner=(U, U))
    directory = os.open(theirs, os.O_RDONLY)
    with set_aside(directory, "01234567.1", ignore) as aside:
        os.close(os.open("1", os.O_CREAT | os.O_WRONLY, dir_fd=aside))
    os.close(directory)
    for arguments in ([], ["-pfl"], ["-rme", "-rf"]):
        PLAIN.run([on_tmpfs / "src", theirs, *arguments])
        if "-rme" not in arguments:
            assert list(theirs.glob(".hpcp-mpi.*/1"))
