"""A journal that was not replayed: refused, replayed in a temporary copy, or left as it is and said; never written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import disks, images
from tests.support.copies import copy, refused
from tests.support.marks import needs_commands, needs_root
from tests.support.private_mounts import in_private

pytestmark = [pytest.mark.root, needs_commands(*disks.COMMANDS)]
MIB = 1 << 20
SYNCED = Path("late") / "synced"


@needs_root
@pytest.mark.parametrize("kind", ["ext3", "ext4", "xfs", "btrfs"])
def test_a_journal_that_waits_is_replayed_in_a_copy_if_asked_for(kind: str, on_tmpfs: Path) -> None:
    image, out = images.unclean(on_tmpfs / "x.img", kind), on_tmpfs
    before = images.hash_of(image)
    refused, copied, ignored = images.restored(
        (image, out / "refuse"), (image, out / "copy", "copy"), (image, out / "ignore", "ignore")
    )
    assert refused.code == 1
    assert "--unclean copy" in refused.says
    assert not (out / "refuse").exists()
    assert (copied.code, copied.failures) == (0, {})
    assert (out / "copy" / SYNCED).read_text() == "in the journal\n"
    assert (out / "copy" / "before").read_text() == "before\n"
    assert ignored.code == 23
    assert "may be old" in ignored.failures[f"{image}:/"]
    assert not (out / "ignore" / SYNCED).exists()
    assert images.hash_of(image) == before
    assert images.loops_on(on_tmpfs) == []
    assert sorted(path.name for path in on_tmpfs.iterdir()) == ["copy", "ignore", "x.img"]


@needs_root
def test_what_was_not_unmounted_and_has_no_journal_is_refused(on_tmpfs: Path) -> None:
    image = images.unclean(on_tmpfs / "x.img", "ext2")
    first, second, ignored = images.restored(
        (image, on_tmpfs / "one"), (image, on_tmpfs / "two", "copy"), (image, on_tmpfs / "three", "ignore")
    )
    assert (first.code, second.code, ignored.code) == (1, 1, 23)
    assert "has no journal" in first.says
    assert "e2fsck -f" in second.says
    assert "may be damaged" in ignored.failures[f"{image}:/"]
    assert (on_tmpfs / "three" / "before").exists()
    assert not (on_tmpfs / "one").exists()


@needs_root
def test_a_partition_is_replayed_alone(a_disk: Callable[[str], disks.Disk], on_tmpfs: Path) -> None:
    disk, part = a_disk("dos"), images.unclean(on_tmpfs / "part", "ext4")
    with open(part, "rb") as source, open(disk.path, "r+b") as target:
        target.seek(disk["root"].start)
        target.write(source.read())
    before = images.hash_of(disk.path)
    refused("-si", disk.path, "-d", on_tmpfs / "no", says="a.img, partition 3 was not unmounted", code=[1])
    assert not (on_tmpfs / "no").exists()
    copy("-si", disk.path, "-d", on_tmpfs / "out", "--unclean", "copy")
    assert (on_tmpfs / "out" / "part3" / SYNCED).exists()
    assert (on_tmpfs / "out" / "old" / "line").exists()
    assert images.hash_of(disk.path) == before


@needs_root
def test_the_copy_shares_blocks_where_the_file_system_can_and_else_needs_room(on_tmpfs: Path) -> None:
    image = images.unclean(on_tmpfs / "x.img", "ext4")
    ours, run = f'"{sys.executable}" -m hpcp_mpi', "export PYTHONPATH=$3; cd /"
    # xfs shares blocks: 64 MiB are not free, and not needed. tmpfs does not: then TMPDIR, then a sentence.
    script = f"""
        {run}; truncate -s 320M "$room/xfs"; mkfs.xfs -q "$room/xfs"; on "$room/xfs" 0 $((320 << 20)) "$room/fs"
        cp "$1" "$room/fs/x.img"; fallocate -l "$(df --output=avail -B1M "$room/fs" | tail -1)M" "$room/fs/full" || true
        truncate -s -5M "$room/fs/full"
        mkdir "$room/small" "$room/room"; mount -t tmpfs -o size=8M none "$room/small"
        TMPDIR=$room/small {ours} -si "$room/fs/x.img" -d "$2/shared" --unclean copy >&2
        cp "$1" "$room/small/x.img"
        TMPDIR=$room/small {ours} -si "$room/small/x.img" -d "$2/no" --unclean copy 2>&1 && exit 9
        TMPDIR=$room/room {ours} -si "$room/small/x.img" -d "$2/elsewhere" --unclean copy >&2
        ls -A "$room/small" "$room/room" "$room/fs"
    """
    said = in_private(script, image, on_tmpfs, Path(__file__).resolve().parents[3])
    assert "there is no room for the temporary copy of" in said
    assert said.count("bytes free") == 1  # both places are one
    assert "Set TMPDIR" in said
    assert not (on_tmpfs / "no").exists()
    assert (on_tmpfs / "shared" / SYNCED).exists()
    assert (on_tmpfs / "elsewhere" / SYNCED).exists()
    assert ".hpcp" not in said


@needs_root
def test_an_image_that_asks_to_leave_its_journal_alone_is_not_believed(on_tmpfs: Path) -> None:
    image = images.unclean(on_tmpfs / "x.img", "ext4")
    subprocess.run(["debugfs", "-w", "-R", "set_super_value mount_opts noload", image], check=True, capture_output=True)
    first, second, ignored = images.restored(
        (image, on_tmpfs / "one"), (image, on_tmpfs / "two", "copy"), (image, on_tmpfs / "three", "ignore")
    )
    assert (first.code, second.code, ignored.code) == (1, 1, 23)
    assert "its own mount options" in second.says
    assert not (on_tmpfs / "two").exists()


@needs_root
def test_what_somebody_has_mounted_is_said_to_be_in_use(on_tmpfs: Path) -> None:
    image = images.empty(on_tmpfs / "x.img", "ext4")
    script = """
        on "$1" 0 $((64 << 20)) "$room/a"; echo x >"$room/a/x"; sync -f "$room/a"
        export PYTHONPATH=$3; cd /
        "$4" -m hpcp_mpi -si "$1" -d "$2/one" 2>&1 && exit 9
        "$4" -m hpcp_mpi -si "$1" -d "$2/two" --unclean copy 2>&1
    """
    said = in_private(script, image, on_tmpfs, Path(__file__).resolve().parents[3], sys.executable)
    assert "x.img is in use, so its journal is not replayed" in said
    assert "findmnt" in said
    assert f"note: {image}:/: in use" in said
    assert (on_tmpfs / "two" / "x").exists()
    assert not (on_tmpfs / "one").exists()
