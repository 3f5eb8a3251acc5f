"""Removal, hashes, metadata, limits of the machine, and commands."""

from __future__ import annotations

import gc
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from hpcp_mpi.host import machine as system
from hpcp_mpi.host import metadata
from hpcp_mpi.host.commands import Commands, Stopped, version_of
from hpcp_mpi.host.hashing import digest
from hpcp_mpi.host.remove_tree import remove_tree
from tests.support.marks import needs_root
from tests.support.trees import encode_acl


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


# --- removal


def test_a_tree_deeper_than_the_interpreters_stack_is_removed(directory: int, tmp_path: Path) -> None:
    levels = 1500
    assert levels > sys.getrecursionlimit()
    fd = os.dup(directory)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    gc.collect()  # or what earlier tests left open goes meanwhile
    open_before = len(os.listdir("/proc/self/fd"))
    system.allow_open_files()
    remove_tree(directory, b"d")
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_removing_follows_no_symlink_and_opens_read_only_directories(directory: int, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").touch()
    tree = tmp_path / "tree/locked"
    tree.mkdir(parents=True)
    (tree / "link").symlink_to(tmp_path / "outside")
    (tree / "f").touch()
    tree.chmod(0o500)
    remove_tree(directory, b"tree")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]
    assert (tmp_path / "outside/f").exists()
    (tmp_path / "link").symlink_to("outside")
    remove_tree(directory, b"link")
    assert (tmp_path / "outside/f").exists()
    remove_tree(directory, b"missing")


# --- hashing


@pytest.mark.parametrize("size", [0, 1, 65536, 5 << 20])
@pytest.mark.parametrize("tail", [None, 0, 1, 65536, 1 << 30])
def test_a_digest_is_that_of_the_bytes_at_the_end(size: int, tail: int | None, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    part = content if tail is None else content[max(0, size - tail) :]
    with open(tmp_path / "f", "rb") as file:
        assert digest(file.fileno(), size, tail) == xxhash.xxh64(part).intdigest()


def test_digests_tell_files_apart_as_sha256_does(tmp_path: Path) -> None:
    contents = [b"", b"a", b"b", b"a" * 100, b"a" * 99 + b"b", b"b" + b"a" * 99, bytes(100), bytes(101)]
    found = {}
    for number, content in enumerate(contents * 2):
        (tmp_path / str(number)).write_bytes(content)
        with open(tmp_path / str(number), "rb") as file:
            found.setdefault(digest(file.fileno(), len(content), None), set()).add(hashlib.sha256(content).digest())
    assert len(found) == len(contents) and all(len(each) == 1 for each in found.values())


def test_a_file_that_shrank_has_another_digest_and_a_stop_is_heard(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a" * 1000)
    with open(tmp_path / "f", "rb") as file:
        before = digest(file.fileno(), 1000, None)
        os.truncate(tmp_path / "f", 500)
        assert digest(file.fileno(), 1000, None) != before
        with pytest.raises(InterruptedError):
            digest(file.fileno(), 500, None, lambda: True)


# --- metadata


def write(directory: int, name: bytes, **wanted: object) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    metadata.write(
        directory,
        name,
        wanted.get("expected", found),  # type: ignore[arg-type]
        wanted.get("owner", (found.st_uid, found.st_gid)),  # type: ignore[arg-type]
        wanted.get("mode", stat.S_IMODE(found.st_mode)),  # type: ignore[arg-type]
        (wanted.get("xattrs", {}), metadata.xattrs_of(directory, name)),  # type: ignore[arg-type]
        wanted.get("times", (1, 2)),  # type: ignore[arg-type]
    )


def test_a_symlink_gets_its_own_times(directory: int, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    before = (tmp_path / "f").stat()
    (tmp_path / "link").symlink_to("f")
    write(directory, b"link", times=(1, -5))
    assert os.lstat(tmp_path / "link").st_mtime_ns == -5
    assert (tmp_path / "f").stat() == before


@needs_root
def test_a_symlink_gets_its_own_owner_and_a_file_keeps_setuid(directory: int, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "link").symlink_to("f")
    write(directory, b"link", owner=(1234, 4321))
    assert (os.lstat(tmp_path / "link").st_uid, (tmp_path / "f").stat().st_uid) == (1234, 0)
    write(directory, b"f", owner=(1234, 4321), mode=0o6755)
    status = (tmp_path / "f").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o6755)


def test_an_entry_that_was_replaced_meanwhile_is_left_alone(directory: int, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    expected = (tmp_path / "f").stat()
    (tmp_path / "other").touch()
    (tmp_path / "other").rename(tmp_path / "f")
    before = (tmp_path / "f").stat()
    with pytest.raises(OSError, match="replaced"):
        write(directory, b"f", expected=expected, mode=0o777)
    assert (tmp_path / "f").stat() == before


def test_attributes_and_acls_are_added_changed_and_taken_away(directory: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    try:
        os.setxattr(path, "user.stale", b"1")
        os.setxattr(path, "user.old", b"1")
        os.setxattr(path, "system.posix_acl_access", encode_acl("u::rw-,u:1234:rwx,g::r--,m::rwx,o::r--"))
    except OSError:
        pytest.skip("no attributes here")
    write(directory, b"f", mode=0o640, xattrs={b"user.old": b"2", b"user.new": b"3"})
    assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == {"user.old": b"2", "user.new": b"3"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_mtime_ns == 2
    entries = subprocess.run(["getfacl", "-cp", path], capture_output=True, text=True, check=True).stdout.split()
    assert entries == ["user::rw-", "group::r--", "other::---"]


def test_the_letters_tell_acls_from_other_attributes() -> None:
    acl = {b"system.posix_acl_access": b"x"}
    assert metadata.xattr_letters({}, {}) == ""
    assert metadata.xattr_letters(acl, {}) == "a"
    assert metadata.xattr_letters({}, {b"user.a": b"1"}) == "x"
    assert metadata.xattr_letters({**acl, b"user.a": b"1"}, {b"user.a": b"2"}) == "ax"


# --- the machine


@pytest.mark.parametrize(
    "asked, available, mates, wanted",
    [(None, 2, 1, 8), (None, 64, 64, 4), (3, 64, 9, 3), (0, 8, 1, 4), (0, 1, 1, 1), (-2, 4, 1, 8), (-1, 4, 8, 1)],
)
def test_jobs_are_shared_out_among_the_ranks_of_a_node(
    asked: int | None, available: int, mates: int, wanted: int
) -> None:
    assert system.slots(asked, available, mates) == wanted


def test_the_cpus_are_those_that_this_process_may_use() -> None:
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from hpcp_mpi.host import machine; "
    done = subprocess.run([sys.executable, "-c", script + "print(machine.cpus())"], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


# --- commands


def test_a_command_tells_its_code_its_words_and_the_signal_that_ended_it(tmp_path: Path) -> None:
    commands = Commands()
    here = os.fsencode(tmp_path)
    assert commands.run([b"sh", b"-c", b"echo words >&2; exit 3"], here) == (3, b"words\n")
    assert commands.run([b"sh", b"-c", b"kill -9 $$"], here) == (-9, b"")
    assert commands.run([b"sh", b"-c", b"touch here; env >&2"], here)[0] == 0
    assert (tmp_path / "here").exists()


def test_after_a_stop_nothing_is_started() -> None:
    commands = Commands()
    commands.stop()
    with pytest.raises(Stopped):
        commands.run([b"true"], b"/")


def test_a_program_that_not_even_a_kill_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits inside the kernel, for a server that does not answer."""
    deaf: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(subprocess.Popen, "kill", lambda program: deaf.append(program))
    monkeypatch.setattr("hpcp_mpi.host.commands._DYING", 0.1)
    code, words = Commands(timeout=0.1).run([b"sh", b"-c", b"sleep 10; exit 3"], b"/")
    (program,) = deaf
    assert program.poll() is None
    program.terminate()
    program.wait()
    assert code == -9
    assert (
        words.splitlines()[-1]
        == b"took longer than 0.1 s (-ctl), and is not even ended by SIGKILL: its storage does not answer"
    )


def test_a_program_that_is_missing_has_no_version() -> None:
    assert version_of("hpcp-mpi-no-such-program") is None
    assert "coreutils" in (version_of("cp") or "")
