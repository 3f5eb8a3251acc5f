"""The faulty file system is faithful where it is not told to fail, and fails exactly where it is told to."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.faultfs import mounted
from tests.support.marks import needs_commands, needs_fuse, needs_root
from tests.support.torture import torture
from tests.support.trees import File, build

pytestmark = needs_fuse


@needs_root
@needs_commands("rsync")
def test_without_faults_a_torture_tree_passes_through_unchanged(on_tmpfs: Path) -> None:
    torture(on_tmpfs / "src", as_root=True, beyond_path_max=False)
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing") as mountpoint:
        # faultfs has no ACLs: cp says so, and copies the rest.
        subprocess.run(["cp", "-a", on_tmpfs / "src", mountpoint / "dst"], capture_output=True)
        acls = ["extras/acl", "extras/acl-directory"]
        oracle.assert_equal_trees(on_tmpfs / "src", mountpoint / "dst", exclude=acls)
        oracle.assert_equal_trees(mountpoint / "dst", on_tmpfs / "backing/dst")


def test_reading_and_writing_fail_with_eio_by_name_and_others_do_not(tmp_path: Path) -> None:
    build(tmp_path / "b", {name: File(b"content") for name in ("good", "bad-to-read", "bad-to-write")})
    with mounted(tmp_path / "b", eio_read="bad-to-read", eio_write="bad-to-write") as mountpoint:
        assert (mountpoint / "good").read_bytes() == b"content"
        (mountpoint / "good").write_bytes(b"new")
        with pytest.raises(OSError) as failure:
            (mountpoint / "bad-to-read").read_bytes()
        assert failure.value.errno == errno.EIO
        with pytest.raises(OSError) as failure, open(mountpoint / "bad-to-write", "wb", buffering=0) as file:
            file.write(b"x")
        assert failure.value.errno == errno.EIO
    assert (tmp_path / "b/good").read_bytes() == b"new"


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "b/broken").mkdir(parents=True)
    with mounted(tmp_path / "b", eio_list="broken") as mountpoint:
        assert os.listdir(mountpoint) == ["broken"]
        with pytest.raises(OSError) as failure:
            os.listdir(mountpoint / "broken")
        assert failure.value.errno == errno.EIO


def test_a_vanishing_file_is_listed_and_gone_when_opened(tmp_path: Path) -> None:
    build(tmp_path / "b", {"vanishing": File(b"x"), "staying": File(b"y")})
    with mounted(tmp_path / "b", vanish="vanishing") as mountpoint:
        assert sorted(os.listdir(mountpoint)) == ["staying", "vanishing"]
        assert os.lstat(mountpoint / "vanishing").st_size == 1
        with pytest.raises(FileNotFoundError):
            (mountpoint / "vanishing").read_bytes()
        assert not os.path.lexists(mountpoint / "vanishing")
        assert (mountpoint / "staying").read_bytes() == b"y"


def test_the_file_system_is_full_after_so_many_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with mounted(tmp_path / "b", enospc_after=10_000) as mountpoint:
        (mountpoint / "fits").write_bytes(b"x" * 8000)
        with pytest.raises(OSError) as failure:
            (mountpoint / "too-much").write_bytes(b"x" * 8000)
        assert failure.value.errno == errno.ENOSPC


def test_metadata_and_data_wait_as_long_as_told(tmp_path: Path) -> None:
    build(tmp_path / "b", {"f": File(b"x")})
    with mounted(tmp_path / "b", meta_us=50_000, data_us=100_000) as mountpoint:
        began = time.monotonic()
        os.lstat(mountpoint / "f")
        assert time.monotonic() - began >= 0.05
        with open(mountpoint / "f", "rb", buffering=0) as file:
            began = time.monotonic()
            file.read()
            assert time.monotonic() - began >= 0.1


@needs_root
def test_permissions_and_owners_of_other_users_are_real(on_tmpfs: Path) -> None:
    build(on_tmpfs / "b", {"secret": File(b"x", mode=0o600)})
    os.chmod(on_tmpfs / "b", 0o777)
    with mounted(on_tmpfs / "b") as mountpoint:

        def as_nobody(*command: str) -> int:
            done = subprocess.run(command, user="nobody", group="nogroup", extra_groups=[], capture_output=True)
            return done.returncode

        assert as_nobody("cat", f"{mountpoint}/secret") != 0
        assert as_nobody("touch", f"{mountpoint}/mine") == 0
        assert os.lstat(mountpoint / "mine").st_uid == 65534


def test_it_is_unmounted_even_while_someone_sits_in_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with mounted(tmp_path / "b") as mountpoint:
        fd = os.open(mountpoint, os.O_RDONLY)
    os.close(fd)
    assert not os.path.lexists(mountpoint)


def test_locks_work_unless_they_are_refused(tmp_path: Path) -> None:
    build(tmp_path / "b", {"file": File(b"x")})
    for no_locks in (0, 1):
        with mounted(tmp_path / "b", no_locks=no_locks) as mountpoint, open(mountpoint / "file", "r+b") as file:
            if not no_locks:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                continue
            with pytest.raises(OSError) as failure:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert failure.value.errno == errno.ENOSYS


def test_single_calls_of_one_operation_fail_with_any_errno(tmp_path: Path) -> None:
    build(tmp_path / "b", {name: File(b"x") for name in ("a", "b", "c", "d", "other")})
    fault = {"fail_op": "unlink", "fail_errno": errno.ENOTCONN, "fail_first": 2, "fail_count": 1}
    with mounted(tmp_path / "b", trace=tmp_path / "calls", **fault) as mountpoint:  # type: ignore[arg-type]
        (mountpoint / "a").unlink()
        with pytest.raises(OSError) as failure:
            (mountpoint / "b").unlink()
        assert failure.value.errno == errno.ENOTCONN
        (mountpoint / "c").unlink()
    assert sorted(os.listdir(tmp_path / "b")) == ["b", "d", "other"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line for line in calls if line.startswith("unlink")] == ["unlink /a", "unlink /b", "unlink /c"]
    with mounted(tmp_path / "b", fail_op="all", fail_errno=errno.EREMOTEIO, fail_path="other") as mountpoint:
        (mountpoint / "d").read_bytes()
        with pytest.raises(OSError) as failure:
            (mountpoint / "other").lstat()
        assert failure.value.errno == errno.EREMOTEIO


def test_the_kernel_itself_tries_once_more_where_a_handle_is_stale(tmp_path: Path) -> None:
    build(tmp_path / "b", {name: File(b"x") for name in ("a", "b")})
    for count in (1, 2):
        with mounted(tmp_path / "b", fail_op="unlink", fail_errno=errno.ESTALE, fail_count=count) as mountpoint:
            if count == 1:
                (mountpoint / "a").unlink()
                continue
            with pytest.raises(OSError) as failure:
                (mountpoint / "b").unlink()
            assert failure.value.errno == errno.ESTALE
