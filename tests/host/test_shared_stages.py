"""Stages that many ranks write into live until they are removed, or until no rank works in them any more."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.host import stage
from hpcp_mpi.host.stage import SharedStages, sweep
from tests.host.staging import notes, remark
from tests.support.marks import needs_root


def refusing(code: int) -> Callable[..., int]:
    def refuse(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_shared_stage_is_private_and_lives_until_it_is_removed(directory: int, tmp_path: Path) -> None:
    before = open_files()
    mine, theirs = SharedStages("01234567.1"), SharedStages("01234567.2")
    name, made = mine.make(directory, b"where")
    (path,) = tmp_path.iterdir()
    assert path.name == os.fsdecode(name) and stat.S_IMODE(path.stat().st_mode) == 0o1700
    assert mine.made() == [(b"where", name)]
    os.close(made)
    entered = theirs.enter(directory, name)
    assert not sweep(directory, name)
    mine.close()
    assert not sweep(directory, name)
    theirs.remove(directory, name, entered, remark)
    assert list(tmp_path.iterdir()) == [] and notes == [] and open_files() == before


def test_a_stage_that_nobody_holds_any_more_is_swept(directory: int, tmp_path: Path) -> None:
    stages = SharedStages("01234567.1")
    name, made = stages.make(directory, b"")
    os.close(made)
    assert not sweep(directory, name)
    stages.close()
    assert sweep(directory, name)
    with pytest.raises(FileNotFoundError):
        stages.enter(directory, name)


def test_only_the_stages_used_last_are_held(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_HELD", 2)
    before = open_files()
    stages = SharedStages("01234567.1")
    names = []
    for _ in range(3):
        name, made = stages.make(directory, b"")
        os.close(made)
        names.append(name)
        os.close(stages.enter(directory, names[0]))
    assert open_files() == before + 2
    assert [sweep(directory, name) for name in names] == [False, True, False]
    stages.close()
    assert open_files() == before


def test_a_stage_that_is_being_swept_is_not_entered(directory: int, tmp_path: Path) -> None:
    stages = SharedStages("01234567.1")
    name, made = stages.make(directory, b"")
    os.close(made)
    stages.close()
    sweeper = os.open(tmp_path / os.fsdecode(name), os.O_RDONLY)
    fcntl.flock(sweeper, fcntl.LOCK_EX)
    with pytest.raises(OSError, match="another run"):
        stages.enter(directory, name)
    os.close(sweeper)


def test_without_locks_a_stage_stays_young_while_it_is_used(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    stages = SharedStages("01234567.1")
    name, made = stages.make(directory, b"")
    os.close(made)
    os.utime(tmp_path / os.fsdecode(name), (1, 1))
    os.close(stages.enter(directory, name))
    assert not sweep(directory, name)


def test_a_directory_in_place_of_a_stage_is_not_entered(directory: int, tmp_path: Path) -> None:
    stages = SharedStages("01234567.1")
    name, made = stages.make(directory, b"")
    os.close(made)
    path = tmp_path / os.fsdecode(name)
    path.rename(tmp_path / "aside")
    path.mkdir(0o755)
    with pytest.raises(PermissionError):
        stages.enter(directory, name)
    path.rmdir()
    path.symlink_to("aside")
    with pytest.raises(OSError):
        stages.enter(directory, name)


@needs_root
def test_another_users_directory_in_place_of_a_stage_is_not_entered(directory: int, tmp_path: Path) -> None:
    stages = SharedStages("01234567.1")
    name, made = stages.make(directory, b"")
    os.close(made)
    os.chown(tmp_path / os.fsdecode(name), 65534, 65534)
    with pytest.raises(PermissionError):
        stages.enter(directory, name)
