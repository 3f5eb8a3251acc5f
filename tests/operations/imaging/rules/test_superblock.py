"""What superblocks say, of file systems made by their own tools."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.rules.file_systems import READINGS, reading_of, what_it_is
from hpcp_mpi.operations.imaging.rules.superblock import Superblock, superblock_of
from hpcp_mpi.vocab.image_options import Content
from tests.support import images
from tests.support.marks import needs_commands

MIB = 1 << 20


def superblock(path: Path, kind: str) -> Superblock:
    fd = os.open(path, os.O_RDONLY)
    try:
        return superblock_of(kind, lambda at, length: os.pread(fd, length, at))
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ext2", ("-b", "1024")),
        ("ext3", ("-b", "4096")),
        ("ext4", ("-O", "64bit")),
        ("ext4", ("-O", "^64bit", "-b", "2048")),
        ("xfs", ()),
        ("btrfs", ()),
    ],
)
def test_a_new_file_system_is_as_big_as_its_image_and_clean(
    kind: str, options: tuple[str, ...], on_tmpfs: Path
) -> None:
    image = images.empty(on_tmpfs / "x", kind, *options)
    assert superblock(image, kind) == Superblock(images.MAKING[kind][0])


@needs_commands("mksquashfs", "mkfs.erofs")
@pytest.mark.parametrize("kind", images.READ_ONLY)
def test_a_read_only_file_system_ends_with_its_image(kind: str, on_tmpfs: Path) -> None:
    image = images.made(on_tmpfs / "x", kind, 'head -c 50001 /dev/urandom >"$1/x"')
    size = superblock(image, kind).bytes
    assert image.stat().st_size - 4096 < size <= image.stat().st_size


@needs_commands("debugfs")
def test_what_ext_says_of_its_state_is_known(on_tmpfs: Path) -> None:
    image = images.empty(on_tmpfs / "x", "ext4")
    for field, value, found in (
        ("feature_incompat", "0x2c6", "replay"),
        ("state", "3", "doubt"),
    ):
        subprocess.run(
            ["debugfs", "-w", "-R", f"set_super_value {field} {value}", image], check=True, capture_output=True
        )
        assert getattr(superblock(image, "ext4"), found)
    plain = images.empty(on_tmpfs / "y", "ext2")
    subprocess.run(["debugfs", "-w", "-R", "set_super_value state 0", plain], check=True, capture_output=True)
    assert superblock(plain, "ext2").torn


@given(st.sampled_from([*READINGS, "nosuch"]), st.binary(max_size=2000), st.integers(0, 70_000))
def test_any_bytes_are_read_without_an_exception(kind: str, content: bytes, at: int) -> None:
    whole = bytes(at) + content
    superblock_of(kind, lambda offset, length: whole[offset : offset + length])


def test_only_file_systems_of_the_list_are_mounted_and_never_without_their_journal() -> None:
    assert reading_of(Content("fuseblk")) is None
    assert reading_of(Content("ext4", several=True)) is None
    assert reading_of(Content("swap")) is None
    stale = {"noload", "norecovery", "nologreplay", "rescue=nologreplay"}
    assert not any(stale & {*each.options, *each.wishes} for each in READINGS.values())
    assert "errors=continue" in READINGS["ext4"].options  # an image may ask for a panic
    assert what_it_is(Content()) == "no file system that is known"
    assert what_it_is(Content("LVM2_member")) == "a part of LVM"
