"""Stages are private, are removed with their content, and are swept only when no process uses them any more."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from hpcp_mpi.host.stage import staged, sweep
from tests.host.staging import notes, remark
from tests.support.marks import needs_root


def test_nobody_else_may_enter_a_stage_whatever_the_umask(directory: int, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with staged(directory, "01234567.1", remark):
            (stage,) = tmp_path.iterdir()
            assert stage.name.startswith(".hpcp-mpi.01234567.1.")
            assert stat.S_IMODE(stage.stat().st_mode) == 0o1700
            assert stage.stat().st_uid == os.geteuid()
    finally:
        os.umask(before)


def test_a_default_acl_opens_no_stage(directory: int, tmp_path: Path) -> None:
    from tests.support.trees import encode_acl

    acl = encode_acl("u::rwx,u:65534:rwx,g::rwx,m::rwx,o::rwx")
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", acl)
    except OSError:
        pytest.skip("no ACLs here")
    with staged(directory, "01234567.1", remark) as stage:
        assert stat.S_IMODE(os.fstat(stage).st_mode) & 0o077 == 0


def test_a_stage_goes_with_all_that_is_left_in_it(directory: int, tmp_path: Path) -> None:
    with staged(directory, "01234567.1", remark) as stage:
        os.mkdir("d", dir_fd=stage)
        os.mkdir("d/e", 0o500, dir_fd=stage)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o000, dir_fd=stage))
    assert list(tmp_path.iterdir()) == [] and notes == []


def test_a_stage_goes_when_what_is_done_in_it_fails(directory: int, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        with staged(directory, "01234567.1", remark):
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_was_put_in_place_of_a_stage_is_not_emptied(directory: int, tmp_path: Path) -> None:
    with staged(directory, "01234567.1", remark) as stage:
        os.mkdir("ours", dir_fd=stage)
        (made,) = tmp_path.iterdir()
        made.rename(tmp_path / "aside")
        made.mkdir()
        (made / "theirs").touch()
    assert (made / "theirs").exists()
    assert len(notes) == 1 and "could not be removed" in notes[0][1]


@needs_root
def test_a_stage_that_belongs_to_another_user_is_refused(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def make_for_another(name: bytes, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        os.chown(name, 65534, -1, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", make_for_another)
    with pytest.raises(PermissionError, match="another user replaced it"):
        with staged(directory, "01234567.1", remark):
            raise AssertionError("it was used")


def test_a_stage_that_is_not_empty_and_open_to_others_is_refused(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def make_trap(name: bytes, mode: int, *, dir_fd: int) -> None:
        make(name, 0o777, dir_fd=dir_fd)
        os.chmod(name, 0o777, dir_fd=dir_fd)
        (tmp_path / os.fsdecode(name) / "trap").symlink_to("/etc/passwd")

    monkeypatch.setattr(os, "mkdir", make_trap)
    with pytest.raises(PermissionError):
        with staged(directory, "01234567.1", remark):
            raise AssertionError("it was used")


def left_behind(tmp_path: Path) -> Path:
    stage = tmp_path / ".hpcp-mpi.dead0000.0.0"
    (stage / "d/e").mkdir(parents=True)
    (stage / "d/f").touch()
    stage.chmod(0o1700)
    return stage


def test_a_dead_stage_is_swept(directory: int, tmp_path: Path) -> None:
    stage = left_behind(tmp_path)
    assert sweep(directory, os.fsencode(stage.name))
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_a_living_process_has_locked_is_left_alone(directory: int, tmp_path: Path) -> None:
    stage = left_behind(tmp_path)
    fd = os.open(stage, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert not sweep(directory, os.fsencode(stage.name))
    assert (stage / "d/f").exists()
    os.close(fd)
    assert sweep(directory, os.fsencode(stage.name))


@pytest.mark.parametrize("age, swept", [(0, False), (25 * 3600, True)])
def test_without_locks_only_an_old_stage_is_swept(
    age: int, swept: bool, directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = left_behind(tmp_path)
    then = stage.stat().st_mtime - age
    os.utime(stage, (then, then))

    def no_locks(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert sweep(directory, os.fsencode(stage.name)) is swept
    assert stage.exists() is not swept


@needs_root
def test_what_another_user_made_look_like_a_stage_is_left_alone(directory: int, tmp_path: Path) -> None:
    stage = left_behind(tmp_path)
    os.chown(stage, 65534, 65534)
    assert not sweep(directory, os.fsencode(stage.name))
    assert (stage / "d/f").exists()


def test_a_symlink_that_has_the_name_of_a_stage_is_not_followed(directory: int, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").touch()
    (tmp_path / ".hpcp-mpi.link").symlink_to("outside")
    sweep(directory, b".hpcp-mpi.link")
    assert (tmp_path / "outside/f").exists()
