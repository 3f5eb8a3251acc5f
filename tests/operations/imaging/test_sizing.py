"""New file systems of the least size: trees of all kinds fit into them as they are made first, and little is wasted.

HPCP_MPI_CHAOS makes all of them, each as big as in the figures of docs/performance.md; else they are one small tree.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.host.block import making
from hpcp_mpi.operations.imaging.measuring import needed
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.rules.sizes import MIB
from hpcp_mpi.vocab.image_options import Need
from tests.support.effort import TO_THE_END
from tests.support.marks import needs_commands, needs_root
from tests.support.privately import device_of, mounted, privately

pytestmark = needs_commands("mke2fs", "mkfs.xfs", "mkfs.btrfs")


def some(count: int) -> int:
    return count if TO_THE_END else count // 200


def nothing(tree: Path) -> None:
    """Leave it empty."""


def empty_files(tree: Path) -> None:
    for number in range(some(100_000)):
        if number % 1000 == 0:
            (tree / f"d{number // 1000}").mkdir()
        os.mknod(tree / f"d{number // 1000}" / f"f{number}")


def small_files(tree: Path) -> None:
    for number in range(some(100_000)):
        if number % 1000 == 0:
            (tree / f"d{number // 1000}").mkdir()
        (tree / f"d{number // 1000}" / f"f{number}").write_bytes(os.urandom(1000))


def one_big_file(tree: Path) -> None:
    with (tree / "big").open("wb") as file:
        for _ in range(some(1024)):
            file.write(os.urandom(MIB))


def files_of_all_sizes(tree: Path) -> None:
    some_size = random.Random(1)
    for number in range(some(20_000)):
        if number % 100 == 0:
            (tree / f"d{number // 100}").mkdir()
        (tree / f"d{number // 100}" / f"f{number}").write_bytes(os.urandom(some_size.randrange(20_000)))


def long_names(tree: Path) -> None:
    for number in range(some(50_000)):
        os.mknod(tree / f"{number:0255d}")


def attributes(tree: Path) -> None:
    for number in range(some(20_000)):
        (tree / f"f{number}").touch()
        os.setxattr(tree / f"f{number}", "user.a", os.urandom(400))


def directories(tree: Path) -> None:
    for number in range(some(50_000)):
        if number % 500 == 0:
            (tree / f"d{number // 500}").mkdir()
        (tree / f"d{number // 500}" / f"e{number}").mkdir()


def long_symlinks(tree: Path) -> None:
    for number in range(some(20_000)):
        (tree / f"l{number}").symlink_to("x" * 200)


def hard_links(tree: Path) -> None:
    for number in range(some(5000)):
        (tree / f"f{number}").write_bytes(os.urandom(5000))
        for other in range(5):
            (tree / f"h{number}-{other}").hardlink_to(tree / f"f{number}")


def sparse(tree: Path) -> None:
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 40)
        for number in range(100):
            file.seek(number * (10 << 30))
            file.write(os.urandom(4096))


def usr(tree: Path) -> None:
    """It is there already."""


TREES = [nothing, empty_files, small_files, one_big_file, files_of_all_sizes, long_names, attributes, directories]
TREES += [long_symlinks, hard_links, sparse, usr]


def all_kinds(tree: Path) -> None:
    for grow in TREES:
        if grow is not usr:
            (tree / grow.__name__).mkdir()
            grow(tree / grow.__name__)


@needs_root
@pytest.mark.parametrize("grow", TREES if TO_THE_END else [all_kinds])
@pytest.mark.parametrize("kind", sizes.TYPES)
@privately
def test_a_tree_fits_into_the_smallest_file_system_and_little_is_left(
    on_tmpfs: Path, on_disk: Path, kind: str, grow: Callable[[Path], None]
) -> None:
    tree = on_tmpfs / "tree"
    tree.mkdir()
    grow(tree)
    image = on_tmpfs / "image"
    if grow is usr:
        tree, image = Path("/usr"), on_disk / "image"
    need = needed([bytes(tree)])
    run = [sys.executable, "-m", "hpcp_mpi", tree, "-di", image, "--image-root", "--image-fs", kind, "-j", "4"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    size = image.stat().st_size
    assert size == sizes.smallest(kind, need).bytes, "it was made once, and never grown"
    assert size <= sizes.most_bytes(kind, need)
    if kind != "btrfs":  # attributes and targets that fit into no inode are content, too
        content = sizes.content(need) + (need.attribute_inodes + need.long_symlinks) * 4096
        assert image.stat().st_blocks * 512 <= content * 103 // 100 + 80 * MIB
    with device_of(image) as loop, mounted(loop, kind, on_tmpfs / "mounted") as place:
        compare = ["rsync", "-aHAXn", "--delete", "--exclude=/lost+found", "-i", f"{tree}/", f"{place}/"]
        assert subprocess.run(compare, capture_output=True, text=True, check=True).stdout == ""


@needs_root
@pytest.mark.parametrize("kind", sizes.TYPES)
@privately
def test_one_that_is_too_small_says_so_and_the_next_one_is_big_enough(on_tmpfs: Path, kind: str) -> None:
    few, many = Need(files=100, entries=100), Need(files=200_000, entries=200_000, blocks=400 * MIB, data=400 * MIB)
    what = sizes.smallest(kind, few)
    for attempt in range(4):  # noqa: B007 - how many it took
        with device_of(on_tmpfs / "image", what.bytes) as loop:
            making.make(loop.path, what, zeros=True)
            with mounted(loop, kind, on_tmpfs / "mounted") as place:
                lacks = sizes.missing(what, many, *making.room_of(bytes(place), kind))
        if lacks == (0, 0):
            break
        what = sizes.bigger(what, lacks)
    assert attempt in (1, 2), "it is made anew, and not for ever"
