"""Ranges of a copy have the source's bytes and holes, by every way of moving bytes.

Judged by cmp, by allocated blocks, and by injected errors of a file system. The tests of pages are in
test_tmpfs_pages.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import range_copy as ranges
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.range_copy import RangeCopier, changed, identity, opened, share_blocks
from hpcp_mpi.vocab.options import Options
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.ranging import pieces_of

BLOCK = 4096
SIZE = 40 * BLOCK + 77
Written = list[tuple[int, int]]  # (offset, bytes)


@pytest.fixture(autouse=True, params=["pages", "writes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of bytes into a file on tmpfs: with several CPUs, and with one."""
    monkeypatch.setattr(ranges, "cpus", lambda: 2 if request.param == "pages" else 1)


def make(path: Path, size: int, written: Written | None = None) -> None:
    """Make a file of random bytes, all of it or only in the written parts."""
    with open(path, "wb") as file:
        for at, count in [(0, size)] if written is None else written:
            file.seek(at)
            file.write(os.urandom(count))
        file.truncate(size)


def copy(source: Path, dest: Path, *parts: tuple[int, int], stopped: bool = False, **options: Any) -> None:
    """Copy parts (start, length) of source, all of it without any."""
    size = source.stat().st_size
    with open(source, "rb") as here, open(dest, "wb") as there:
        there.truncate(size)
        copier = RangeCopier(here.fileno(), there.fileno(), Options(**options), lambda: stopped)
        for part in parts or [(0, size)]:
            copier.copy(*part)


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["cmp", one, other]).returncode == 0


def data(path: Path) -> Written:
    """The parts of a file that have data: (offset, length)."""
    return [(at, len(piece)) for at, piece in pieces_of(path)]


def refusing(code: int) -> Callable[..., int]:
    def refuse(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


# --- the ways of bytes


@pytest.mark.parametrize("options", [{}, {"sparse": "always"}, {"sparse": "never"}, {"reflink": "never"}], ids=str)
@pytest.mark.parametrize("io_size", [0, BLOCK, 3 * BLOCK])
def test_ranges_in_any_order_make_a_copy(place: Path, options: dict[str, str], io_size: int) -> None:
    make(place / "s", SIZE, [(0, 3 * BLOCK), (7 * BLOCK, 100), (20 * BLOCK, 20 * BLOCK + 77)])
    length = 8 * BLOCK
    parts = [(at, min(length, SIZE - at)) for at in range(0, SIZE, length)]
    copy(place / "s", place / "d", *reversed(parts), io_size=io_size, **options)
    assert same(place / "s", place / "d")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM])
def test_what_the_kernel_does_not_copy_goes_through_memory(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "copy_file_range", refusing(code))
    make(on_tmpfs / "s", SIZE)
    copy(on_tmpfs / "s", on_tmpfs / "d")
    assert same(on_tmpfs / "s", on_tmpfs / "d")


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_kernel_that_says_it_is_at_the_end_is_not_believed(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    left = [calls]
    real = os.copy_file_range

    def lie(source: int, dest: int, count: int, *offsets: int) -> int:
        left[0] -= 1
        return real(source, dest, min(count, 5000), *offsets) if left[0] >= 0 else 0

    monkeypatch.setattr(os, "copy_file_range", lie)
    make(on_tmpfs / "s", SIZE)
    copy(on_tmpfs / "s", on_tmpfs / "d")
    assert same(on_tmpfs / "s", on_tmpfs / "d")


def test_short_reads_and_writes_are_gone_on_with(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.preadv, os.pwrite
    monkeypatch.setattr(os, "copy_file_range", refusing(errno.EXDEV))
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: read(fd, [views[0][:5001]], at))
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: write(fd, view[:999], at))
    make(on_tmpfs / "s", SIZE)
    copy(on_tmpfs / "s", on_tmpfs / "d")
    assert same(on_tmpfs / "s", on_tmpfs / "d")


def test_the_kernel_shares_no_blocks_when_that_is_not_wanted(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> int:
        raise AssertionError("copy_file_range may share blocks")

    monkeypatch.setattr(os, "copy_file_range", fail)
    make(on_tmpfs / "s", SIZE)
    copy(on_tmpfs / "s", on_tmpfs / "d", reflink="never")
    assert same(on_tmpfs / "s", on_tmpfs / "d")


# --- holes

segments = st.lists(st.tuples(st.integers(0, 39), st.integers(1, 6)), max_size=6)


@settings(max_examples=many(25), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts=segments, by_kernel=st.booleans())
def test_holes_stay_holes_wherever_they_are(on_tmpfs: Path, parts: Written, by_kernel: bool) -> None:
    written = [(at * BLOCK, count * BLOCK) for at, count in parts]
    make(on_tmpfs / "s", 50 * BLOCK, written)
    io_size = 0 if by_kernel else 2 * BLOCK
    copy(on_tmpfs / "s", on_tmpfs / "d", reflink="auto" if by_kernel else "never", io_size=io_size)
    assert same(on_tmpfs / "s", on_tmpfs / "d")
    assert data(on_tmpfs / "s") == data(on_tmpfs / "d")


@pytest.mark.parametrize("sparse", ["auto", "always", "never"])
def test_holes_are_made_and_filled_as_cp_does(place: Path, sparse: str) -> None:
    with open(place / "s", "wb") as file:
        for piece in (os.urandom(64 << 10), bytes(256 << 10), os.urandom(64 << 10)):
            file.write(piece)
        file.seek(256 << 10, os.SEEK_CUR)
        file.write(os.urandom(64 << 10))
        file.truncate(1 << 20)
    subprocess.run(["cp", f"--sparse={sparse}", place / "s", place / "cp"], check=True)
    copy(place / "s", place / "d", sparse=sparse)
    subprocess.run(["sync", place / "cp", place / "d"], check=True)
    assert same(place / "s", place / "d")
    assert data(place / "d") == data(place / "cp")
    assert abs((place / "d").stat().st_blocks - (place / "cp").stat().st_blocks) <= 8


def test_a_file_system_that_knows_no_holes_is_copied_whole(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(on_tmpfs / "s", SIZE, [(3 * BLOCK, BLOCK)])
    with monkeypatch.context() as patched:
        patched.setattr(os, "lseek", refusing(errno.EINVAL))
        copy(on_tmpfs / "s", on_tmpfs / "d")
    assert same(on_tmpfs / "s", on_tmpfs / "d")


# --- faults


@pytest.mark.parametrize("written", [None, [(0, BLOCK)]], ids=["data", "holes"])
def test_a_source_that_shrinks_is_no_source_of_zeros(on_tmpfs: Path, written: Written | None) -> None:
    make(on_tmpfs / "s", SIZE, written)
    with open(on_tmpfs / "s", "rb") as here, open(on_tmpfs / "d", "wb") as there:
        copier = RangeCopier(here.fileno(), there.fileno(), Options(), lambda: False)
        os.truncate(on_tmpfs / "s", SIZE - 2 * BLOCK)
        with pytest.raises(OSError, match="shrank"):
            copier.copy(0, SIZE)


@pytest.mark.parametrize(
    "call, words", [("preadv", "cannot be read: Input/output"), ("pwrite", "cannot be written: Input/output")]
)
def test_errors_say_which_side_failed(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, call: str, words: str) -> None:
    monkeypatch.setattr(os, "copy_file_range", refusing(errno.EIO))
    monkeypatch.setattr(os, call, refusing(errno.EIO))
    make(on_tmpfs / "s", SIZE)
    with pytest.raises(OSError, match=words):
        copy(on_tmpfs / "s", on_tmpfs / "d")


@pytest.mark.parametrize("reflink", ["auto", "never"])
def test_a_run_that_ends_leaves_off_between_blocks(on_tmpfs: Path, reflink: str) -> None:
    make(on_tmpfs / "s", SIZE)
    with pytest.raises(Stopped):
        copy(on_tmpfs / "s", on_tmpfs / "d", stopped=True, reflink=reflink)
    assert data(on_tmpfs / "d") == []


@needs_commands("fincore")
def test_pages_of_a_source_are_forgotten_on_demand(on_disk: Path) -> None:
    def cached(path: Path) -> int:
        done = subprocess.run(["fincore", "--json", "--bytes", path], capture_output=True, check=True)
        return int(json.loads(done.stdout)["fincore"][0]["res"])

    size = 8 << 20
    make(on_disk / "s", size)
    subprocess.run(["sync", on_disk / "s"], check=True)
    copy(on_disk / "s", on_disk / "d", (0, size))
    assert cached(on_disk / "s") == size
    copy(on_disk / "s", on_disk / "d", (0, size // 2), drop_cache=True)
    assert size // 2 <= cached(on_disk / "s") < size * 3 // 4


# --- sources, and whether they changed


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_nothing_but_a_regular_file_is_opened(tmp_path: Path, kind: str) -> None:
    make(tmp_path / "other", 1)
    if kind == "symlink":
        (tmp_path / "s").symlink_to("other")
    elif kind == "fifo":
        os.mkfifo(tmp_path / "s")
    else:
        (tmp_path / "s").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            with opened(fd, b"s"):
                pass
    finally:
        os.close(fd)


def test_a_file_is_another_one_when_it_was_written_to_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    make(path, 10)
    before = path.stat()
    (tmp_path / "other name").hardlink_to(path)
    path.chmod(0o600)
    assert not changed(identity(before), path.stat())
    shutil.copy2(path, tmp_path / "new")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").replace(path)
    assert changed(identity(before), path.stat())
    os.truncate(tmp_path / "other name", 11)
    assert changed(identity(before), (tmp_path / "other name").stat())


def test_inode_numbers_that_a_node_invents_mean_nothing(tmp_path: Path) -> None:
    make(tmp_path / "s", 10)
    size, mtime, inode, ctime = identity((tmp_path / "s").stat())
    assert not changed((size, mtime, inode + 1, ctime), (tmp_path / "s").stat())


def test_blocks_are_shared_only_as_the_user_wants(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(on_tmpfs / "s", 10)
    with open(on_tmpfs / "s", "rb") as here, open(on_tmpfs / "d", "wb") as there:
        ends = here.fileno(), there.fileno()
        assert not share_blocks(*ends, Options(reflink="auto"))
        with pytest.raises(OSError):
            share_blocks(*ends, Options(reflink="always"))
        asked = []
        monkeypatch.setattr(fcntl, "ioctl", lambda *args: asked.append(args))
        assert not share_blocks(*ends, Options(reflink="never"))
        assert not share_blocks(*ends, Options(sparse="never"))
        assert asked == []
        assert share_blocks(*ends, Options())
        assert asked == [(ends[1], ranges._FICLONE, ends[0])]
