"""What sources take, found by listing them; du and find judge."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from pathlib import Path

import pytest

from hpcp_mpi.host.block import mounts
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging import measuring
from hpcp_mpi.operations.imaging.measuring import needed
from hpcp_mpi.rules.excludes import Excludes
from hpcp_mpi.vocab.image_options import Need
from tests.support.marks import needs_root
from tests.support.privately import privately

BLOCK = 4096


def need_of(
    *sources: Path, excludes: tuple[bytes, ...] = (), leave_out: frozenset[tuple[int, int]] = frozenset()
) -> Need:
    return needed([bytes(each) for each in sources], Excludes(excludes) if excludes else None, leave_out=leave_out)


def counted(tree: Path, *tests: str) -> int:
    said = subprocess.run(["find", tree, *tests, "-printf", "x"], check=True, capture_output=True, text=True)
    return len(said.stdout)


def test_a_real_tree_is_what_find_and_du_say() -> None:
    tree = Path("/usr/include/linux")
    need = need_of(tree)
    assert need.files == counted(tree, "-type", "f")
    assert need.directories == counted(tree, "-type", "d")
    assert need.symlinks == counted(tree, "-type", "l")
    assert need.entries == counted(tree)
    said = subprocess.run(["find", tree, "-type", "f", "-printf", "%s\n"], check=True, capture_output=True, text=True)
    sizes = list(map(int, said.stdout.split()))
    assert (need.data, need.blocks) == (sum(sizes), sum(-(-size // BLOCK) * BLOCK for size in sizes))


def test_each_kind_of_entry_is_counted(on_tmpfs: Path) -> None:
    (on_tmpfs / "file").write_bytes(b"x" * 5000)
    (on_tmpfs / "empty").touch()
    os.mkfifo(on_tmpfs / "fifo")
    (on_tmpfs / "short").symlink_to("x")
    (on_tmpfs / "long").symlink_to("x" * 100)
    (on_tmpfs / "below").mkdir()
    names = len(on_tmpfs.name) + sum(map(len, ("file", "empty", "fifo", "short", "long", "below")))
    assert need_of(on_tmpfs) == Need(
        files=2,
        directories=2,
        symlinks=2,
        others=1,
        long_symlinks=1,
        target_bytes=100,
        entries=7,
        blocks=2 * BLOCK,
        data=5000,
        name_bytes=names,
        directory_blocks=2 * BLOCK,
    )


def test_names_of_one_file_are_one_inode_wherever_they_are(on_tmpfs: Path) -> None:
    for name in ("a", "b"):
        (on_tmpfs / name).mkdir()
    (on_tmpfs / "a/file").write_bytes(b"x" * 10_000)
    for number in range(5):
        (on_tmpfs / f"b/{number}").hardlink_to(on_tmpfs / "a/file")
    need = need_of(on_tmpfs / "a", on_tmpfs / "b")
    assert (need.files, need.entries, need.blocks, need.data) == (1, 8, 3 * BLOCK, 10_000)
    assert need_of(on_tmpfs / "b").files == 1


def test_holes_take_nothing(on_tmpfs: Path, on_disk: Path) -> None:
    for place in (on_tmpfs, on_disk):
        with (place / "holes").open("wb") as file:
            file.truncate(1 << 40)
            for number in range(10):
                file.seek(number << 30)
                file.write(b"x" * BLOCK)
        need = need_of(place / "holes")
        assert (need.files, need.blocks, need.data) == (1, 10 * BLOCK, 10 * BLOCK)


def test_what_is_stored_in_less_than_its_size_is_no_hole(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a compressed file, of which st_blocks tells how much is left: a copy has all of it."""
    (on_tmpfs / "file").write_bytes(b"x" * 1_000_000)
    directory = os.open(on_tmpfs, os.O_RDONLY)
    try:
        assert measuring._without_holes(directory, b"file", 1_000_000, 4096) == 245 * BLOCK
        assert measuring._without_holes(directory, b"gone", 1_000_000, 4096) == 4096
    finally:
        os.close(directory)


def test_what_is_excluded_is_not_counted_nor_entered(on_tmpfs: Path) -> None:
    for name in ("keep", "skip"):
        (on_tmpfs / name).mkdir()
        (on_tmpfs / name / "file").write_bytes(b"x" * 5000)
        (on_tmpfs / name / "file.o").touch()
    need = need_of(on_tmpfs, excludes=(b"skip/", b"*.o"))
    assert (need.files, need.directories, need.blocks) == (1, 2, 2 * BLOCK)
    need = need_of(on_tmpfs, excludes=(bytes(on_tmpfs / "keep/file"),))
    assert need.files == 3


def test_the_image_itself_is_left_out(on_tmpfs: Path) -> None:
    (on_tmpfs / "file").write_bytes(b"x")
    (on_tmpfs / "image").write_bytes(b"x" * 1_000_000)
    status = (on_tmpfs / "image").stat()
    need = need_of(on_tmpfs, leave_out=frozenset([(status.st_dev, status.st_ino)]))
    assert (need.files, need.blocks, need.entries) == (1, BLOCK, 2)


def test_attributes_are_counted_and_those_that_fit_into_no_inode(on_disk: Path) -> None:
    for name, size in (("small", 50), ("big", 100), ("bigger", 1000)):
        (on_disk / name).touch()
        os.setxattr(on_disk / name, "user.a", b"x" * size)
    (on_disk / "folder").mkdir()
    os.setxattr(on_disk / "folder", "user.a", b"x" * 200)
    os.setxattr(on_disk, "user.a", b"x" * 200)
    need = need_of(on_disk)
    assert need.attribute_bytes == 50 + 100 + 1000 + 200 + 200 + 5 * len("user.a")
    assert need.attribute_inodes == 4


def test_a_directory_with_many_names_takes_twice_their_bytes(on_tmpfs: Path) -> None:
    for number in range(1000):
        (on_tmpfs / f"{number:0100d}").touch()
    assert need_of(on_tmpfs).directory_blocks == 2 * 1000 * 108 // BLOCK * BLOCK + BLOCK


def test_a_source_that_is_a_file_or_a_link_or_gone_counts_as_what_it_is(on_tmpfs: Path) -> None:
    (on_tmpfs / "file").write_bytes(b"x" * 5000)
    (on_tmpfs / "link").symlink_to("file")
    assert need_of(on_tmpfs / "file") == Need(files=1, entries=1, blocks=2 * BLOCK, data=5000, name_bytes=4)
    assert need_of(on_tmpfs / "link") == Need(symlinks=1, entries=1, name_bytes=4)
    assert need_of(on_tmpfs / "gone") == Need()


@needs_root
@privately
def test_another_file_system_below_a_source_is_entered(on_tmpfs: Path) -> None:
    (on_tmpfs / "below").mkdir()
    mounts.mount(b"none", bytes(on_tmpfs / "below"), "tmpfs", 0)
    (on_tmpfs / "below/file").write_bytes(b"x" * 5000)
    need = need_of(on_tmpfs)
    assert (need.files, need.directories, need.blocks) == (1, 2, 2 * BLOCK)
    mounts.unmount(bytes(on_tmpfs / "below"))  # nothing of it is open any more


@needs_root
@privately
def test_a_directory_that_cannot_be_read_counts_as_one(on_tmpfs: Path) -> None:
    (on_tmpfs / "closed").mkdir(mode=0o700)
    (on_tmpfs / "closed/file").touch()
    (on_tmpfs / "open").touch()
    ctypes.CDLL(None).setfsuid(65534)  # this thread's, and of those that it starts
    need = need_of(on_tmpfs)
    assert (need.files, need.directories, need.entries) == (1, 2, 3)


def test_it_stops_when_the_run_does_and_leaves_nothing_open(on_tmpfs: Path) -> None:
    for number in range(300):
        (on_tmpfs / f"{number}").mkdir()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    with pytest.raises(Stopped):
        needed([bytes(on_tmpfs)], stop=lambda: True)
    need_of(on_tmpfs)
    assert len(os.listdir("/proc/self/fd")) == before
    for thread in threading.enumerate():
        if thread.name.startswith("scan-"):
            thread.join(10)
    assert threading.active_count() <= threads


def test_no_symlink_below_a_source_is_followed(on_tmpfs: Path) -> None:
    (on_tmpfs / "tree").mkdir()
    (on_tmpfs / "outside").mkdir()
    (on_tmpfs / "outside/file").touch()
    (on_tmpfs / "tree/link").symlink_to("../outside")
    assert need_of(on_tmpfs / "tree").files == 0


def test_a_deep_tree_is_no_problem(on_tmpfs: Path) -> None:
    """Longer than a path may be."""
    directory = os.open(on_tmpfs, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("x" * 200, dir_fd=directory)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    assert need_of(on_tmpfs).directories == 61
    subprocess.run(["rm", "-rf", on_tmpfs / ("x" * 200)], check=True)
