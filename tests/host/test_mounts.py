"""The file system that a directory is on, judged by findmnt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcp_mpi.host.mounts import is_called, type_of
from tests.support.copies import run
from tests.support.marks import needs_commands, needs_root


@needs_commands("findmnt")
def test_the_type_is_the_mounts(place: Path) -> None:
    (place / "d").mkdir()
    assert type_of(os.fsencode(place / "d")) == run(["findmnt", "-n", "-o", "FSTYPE", "-T", place]).split()[-1]
    assert type_of(b"/proc") == "proc"


@needs_root
def test_of_two_mounts_on_one_place_the_upper_one_counts(on_disk: Path) -> None:
    mount = on_disk / "a place\twith\\odd names"
    mount.mkdir()
    below = type_of(os.fsencode(mount))
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount])
    try:
        run(["mount", "-t", "ramfs", "none", mount])
        try:
            assert type_of(os.fsencode(mount)) == "ramfs"
        finally:
            run(["umount", mount])
        assert type_of(os.fsencode(mount)) == "tmpfs" != below
    finally:
        run(["umount", mount])


def test_what_is_missing_raises(on_tmpfs: Path) -> None:
    with pytest.raises(FileNotFoundError):
        type_of(os.fsencode(on_tmpfs / "missing"))


@pytest.mark.parametrize(
    "found, wanted, same",
    [
        ("ext4", "ext4", True), ("ext4", "EXT4", True), ("ext3", "ext4", False), ("vfat", "fat32", True),
        ("msdos", "fat", True), ("vfat", "exfat", False), ("fuseblk", "ntfs", True), ("nfs4", "nfs", True),
        ("nfs", "nfs4", False), ("fuse.sshfs", "sshfs", True), ("fuse.sshfs", "fuse.sshfs", True), ("tmpfs", "", False),
    ],
)  # fmt: skip
def test_people_call_them_other_names(found: str, wanted: str, same: bool) -> None:
    assert is_called(found, wanted) == same
