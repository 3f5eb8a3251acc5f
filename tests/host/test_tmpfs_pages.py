"""Pages put into a file without its lock have the right bytes and no others; all that cannot be put is written, with
the kernel's error if that fails."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcp_mpi.host import range_copy as ranges
from hpcp_mpi.host import tmpfs_pages as pages
from hpcp_mpi.host.range_copy import RangeCopier
from hpcp_mpi.host.tmpfs_pages import pages_of
from hpcp_mpi.vocab.options import Options
from tests.support.marks import needs_pages, needs_root

PAGE = mmap.PAGESIZE


pytestmark = needs_pages


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "cpus", lambda: 2)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each pwrite."""
    counts: list[int] = []
    real = os.pwrite

    def note(fd: int, view: memoryview, at: int) -> int:
        counts.append(len(view))
        return real(fd, view, at)

    monkeypatch.setattr(os, "pwrite", note)
    return counts


def memory_of(content: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, max(PAGE, len(content)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[: len(content)] = content
    return memory


def make(path: Path, pages_in_it: int, more: int = 0) -> bytes:
    content = os.urandom(pages_in_it * PAGE + more)
    path.write_bytes(content)
    return content


def copier_of(here: int, there: int, io_size: int = 0) -> RangeCopier:
    return RangeCopier(here, there, Options(io_size=io_size), lambda: False)


def copy(source: Path, dest: Path, io_size: int = 0, before: Callable[[], object] = lambda: None) -> None:
    with open(source, "rb") as here, open(dest, "wb") as there:
        size = os.fstat(here.fileno()).st_size
        there.truncate(size)
        copier = copier_of(here.fileno(), there.fileno(), io_size)
        before()
        copier.copy(0, size)


# --- pages that are put


def test_whole_pages_are_put_and_the_rest_is_left(on_tmpfs: Path) -> None:
    content = os.urandom(3 * PAGE + 100)
    with open(on_tmpfs / "f", "wb") as file:
        file.truncate(len(content))
        with pages_of(file.fileno()) as putting:
            assert putting.put(memory_of(content), 0, len(content), 0) == 3 * PAGE
    assert (on_tmpfs / "f").read_bytes() == content[: 3 * PAGE] + bytes(100)


@pytest.mark.parametrize("at, put", [(0, 2), (PAGE, 2), (7 * PAGE, 1), (8 * PAGE, 0), (9 * PAGE, 0), (10, 0)])
def test_nothing_is_put_beyond_the_end_or_between_pages(on_tmpfs: Path, at: int, put: int) -> None:
    content = os.urandom(2 * PAGE)
    with open(on_tmpfs / "f", "wb") as file:
        file.truncate(8 * PAGE)
        with pages_of(file.fileno()) as putting:
            assert putting.put(memory_of(content), 0, len(content), at) == put * PAGE
    wanted = bytearray(8 * PAGE)
    wanted[at : at + put * PAGE] = content[: put * PAGE]
    assert (on_tmpfs / "f").read_bytes() == wanted


def test_more_than_is_mapped_at_a_time_is_put_in_any_order(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_WINDOW", 2 * PAGE)
    content = os.urandom(9 * PAGE)
    memory = memory_of(content)
    with open(on_tmpfs / "f", "wb") as file:
        file.truncate(len(content))
        with pages_of(file.fileno()) as putting:
            for first, last in ((5, 9), (0, 3), (3, 5)):
                assert putting.put(memory, first * PAGE, last * PAGE, first * PAGE) == (last - first) * PAGE
    assert (on_tmpfs / "f").read_bytes() == content
    assert (on_tmpfs / "f").stat().st_blocks * 512 == len(content)


def test_a_page_that_is_there_already_is_written_over(on_tmpfs: Path, written: list[int]) -> None:
    content = make(on_tmpfs / "s", 8)

    def fill() -> None:
        with open(on_tmpfs / "d", "r+b") as there:
            there.seek(3 * PAGE)
            there.write(b"what another rank left behind")

    copy(on_tmpfs / "s", on_tmpfs / "d", before=fill)
    assert (on_tmpfs / "d").read_bytes() == content
    assert written == [5 * PAGE]


def test_only_the_end_of_a_file_is_written(on_tmpfs: Path, written: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", None)
    content = make(on_tmpfs / "s", 20, more=77)
    copy(on_tmpfs / "s", on_tmpfs / "d", io_size=3 * PAGE)
    assert (on_tmpfs / "d").read_bytes() == content
    assert written == [77]


def test_threads_put_into_one_file(on_tmpfs: Path, written: list[int]) -> None:
    part = 16 * PAGE
    content = make(on_tmpfs / "s", 32 * 16)
    with open(on_tmpfs / "s", "rb") as here, open(on_tmpfs / "d", "wb") as there:
        there.truncate(len(content))

        def fill(number: int) -> None:
            copier_of(here.fileno(), there.fileno(), 2 * PAGE).copy(number * part, part)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fill, range(32)))
    assert (on_tmpfs / "d").read_bytes() == content
    assert written == []


# --- where pages cannot be put


def test_only_tmpfs_is_asked(on_disk: Path) -> None:
    make(on_disk / "f", 1)
    with open(on_disk / "f", "r+b") as file, pytest.raises(OSError) as caught, pages_of(file.fileno()):
        raise AssertionError
    assert caught.value.errno == errno.ENOTSUP


@needs_root
def test_a_tmpfs_with_huge_pages_keeps_them(on_tmpfs: Path) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=always", "none", on_tmpfs], capture_output=True)
    if done.returncode:
        return  # a kernel without huge pages
    try:
        make(on_tmpfs / "f", 1)
        with open(on_tmpfs / "f", "r+b") as file, pytest.raises(OSError), pages_of(file.fileno()):
            raise AssertionError
    finally:
        subprocess.run(["umount", on_tmpfs], check=True)


def test_where_the_kernel_refuses_the_kernel_copies(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, written: list[int]
) -> None:
    monkeypatch.setattr(pages, "_USERFAULTFD", {})  # as on a machine whose number for it is not known
    content = make(on_tmpfs / "s", 5)
    copy(on_tmpfs / "s", on_tmpfs / "d")
    assert (on_tmpfs / "d").read_bytes() == content
    assert written == []


@pytest.mark.parametrize("options", [{"single": True}, {}], ids=["one job", "one CPU"])
def test_who_is_alone_leaves_it_to_the_kernel(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    if not options:
        monkeypatch.setattr(ranges, "cpus", lambda: 1)
    monkeypatch.setattr(pages, "pages_of", None)
    content = make(on_tmpfs / "s", 3)
    with open(on_tmpfs / "s", "rb") as here, open(on_tmpfs / "d", "wb") as there:
        there.truncate(len(content))
        RangeCopier(here.fileno(), there.fileno(), Options(**options), lambda: False).copy(0, len(content))
    assert (on_tmpfs / "d").read_bytes() == content


# --- faults


@needs_root
@pytest.mark.parametrize("by_threads", [False, True])
def test_a_full_file_system_is_an_error_and_no_signal(on_tmpfs: Path, by_threads: bool) -> None:
    content = make(on_tmpfs / "s", 100)
    small = on_tmpfs / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={40 * PAGE}", "none", small], check=True)
    try:
        with open(on_tmpfs / "s", "rb") as here, open(small / "d", "wb") as there:
            there.truncate(len(content))

            def fill(number: int) -> None:
                copier_of(here.fileno(), there.fileno(), 3 * PAGE).copy(number * 50 * PAGE, 50 * PAGE)

            with (
                ThreadPoolExecutor(2 if by_threads else 1) as pool,
                pytest.raises(OSError, match="its copy cannot be written: No space left on device") as caught,
            ):
                list(pool.map(fill, range(2)))
            assert caught.value.errno == errno.ENOSPC
        os.unlink(small / "d")
        content = make(on_tmpfs / "s", 30)  # the pages are free again
        copy(on_tmpfs / "s", small / "d")
        assert (small / "d").read_bytes() == content
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_a_source_that_shrinks_meanwhile_is_named(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    make(on_tmpfs / "s", 20)
    left = [blocks]
    real = os.preadv

    def read(fd: int, views: list[memoryview], at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            os.truncate(on_tmpfs / "s", blocks * 2 * PAGE)
        return real(fd, views, at)

    monkeypatch.setattr(os, "preadv", read)
    with pytest.raises(OSError, match="shrank"):
        copy(on_tmpfs / "s", on_tmpfs / "d", io_size=2 * PAGE)


def test_a_copy_that_is_cut_off_meanwhile_is_no_signal(on_tmpfs: Path) -> None:
    """No other user can do that to a stage. If a program does, the copy is too short, which is found at its end."""
    make(on_tmpfs / "s", 20)
    copy(on_tmpfs / "s", on_tmpfs / "d", before=lambda: os.truncate(on_tmpfs / "d", PAGE))
    content = os.urandom(2 * PAGE)
    with open(on_tmpfs / "d", "r+b") as file:
        with pages_of(file.fileno()) as putting:
            os.truncate(on_tmpfs / "d", 4 * PAGE)
            assert putting.put(memory_of(content), 0, PAGE, 3 * PAGE) in (0, PAGE)
            os.truncate(on_tmpfs / "d", PAGE)
            assert putting.put(memory_of(content), 0, 2 * PAGE, 2 * PAGE) == 0
    assert (on_tmpfs / "d").stat().st_size == PAGE


def test_descriptors_and_mappings_are_given_back(on_tmpfs: Path) -> None:
    make(on_tmpfs / "s", 20)
    copy(on_tmpfs / "s", on_tmpfs / "d")
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        os.unlink(on_tmpfs / "d")
        copy(on_tmpfs / "s", on_tmpfs / "d")
    assert set(os.listdir("/proc/self/fd")) == before
    assert str(on_tmpfs / "d") not in Path("/proc/self/maps").read_text()
