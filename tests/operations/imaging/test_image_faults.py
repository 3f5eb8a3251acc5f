"""What goes wrong around images: full places, bad blocks, missing programs, no rights, others that use the same."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcp_mpi.host.block import loops
from tests.support import disks
from tests.support.broken_machines import bad_blocks, failing, failing_writes, on_device, small, without, wrapped
from tests.support.disks import MIB, Disk
from tests.support.image_jobs import JOBS, difference_of_image, refuse_damaged, same
from tests.support.image_runs import ImageRuns, traces, until
from tests.support.launch import Finished, run
from tests.support.marks import needs_commands, needs_root

pytestmark = [pytest.mark.root, needs_commands("rsync", "nbdkit", "nbdfuse", *disks.COMMANDS)]
Original = Callable[[str], Disk]
LATER = pytest.mark.to_the_end


def refused(done: Finished, *words: str, code: int = 1) -> None:
    """Fail unless a run has ended with an error that says all of the words, and not with a traceback."""
    said = str(done)
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    for word in words:
        assert word in said, f"{word!r} is not in {said}"


def source_tree(place: Path, mib: int = 1) -> Path:
    tree = place / "T"
    tree.mkdir()
    for n in range(mib):
        (tree / f"{n}").write_bytes(random.Random(n).randbytes(MIB))
    return tree


@needs_root
def test_an_image_that_does_not_fit_is_refused_before_anything_is_made(on_tmpfs: Path) -> None:
    tree, place = source_tree(on_tmpfs, 70), on_tmpfs / "small"
    tool = ImageRuns(on_tmpfs, wrapper=small(place, 60))
    done = tool(tree, "-di", place / "i.img", "--image-fs", "ext4")
    refused(done, "MiB")
    assert list(place.iterdir()) == []


@needs_root
@pytest.mark.parametrize("type", ["ext4", pytest.param("xfs", marks=LATER)])
def test_a_place_that_others_fill_meanwhile_leaves_no_image(type: str, on_tmpfs: Path) -> None:
    tree, place, listing = source_tree(on_tmpfs, 40), on_tmpfs / "small", on_tmpfs / "listing"
    fill = 'until ls -A "$1" | grep -q part; do sleep 0.01; done; sleep 0.3; exec cat /dev/zero >"$1/hog"'
    see = wrapped("", place, listing, after='ls -A "$place" >"$listing"')
    wrapper = [*small(place, 250, fill), "env", f"place={place}", f"listing={listing}", *see]
    tool = ImageRuns(on_tmpfs, wrapper=wrapper)
    done = tool(tree, "-di", place / "i.img", "--image-fs", type, "-L", "20Mi")
    refused(done, "i.img")
    assert listing.read_text() == "hog\n"


@needs_root
@LATER
def test_bad_blocks_of_a_file_are_failures_and_the_rest_is_copied(on_tmpfs: Path) -> None:
    tree, image = source_tree(on_tmpfs, 3), on_tmpfs / "i.img"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, image, "60M"], check=True, capture_output=True)
    content = (tree / "1").read_bytes()
    at = image.read_bytes().index(content[:4096])
    tool = ImageRuns(on_tmpfs, wrapper=bad_blocks(image, on_tmpfs / "seen", [(at + 8192, 4096)]))
    done = tool("-si", on_tmpfs / "seen" / "i.img", "-d", on_tmpfs / "out")
    refused(done, "/1", os.strerror(5), code=23)
    for name in ("0", "2"):
        assert (on_tmpfs / "out" / name).read_bytes() == (tree / name).read_bytes()
    assert not (on_tmpfs / "out" / "1").exists()


@needs_root
def test_bad_blocks_of_a_partition_become_zeros_and_are_named(original_disk: Original, on_tmpfs: Path) -> None:
    disk, clone = original_disk("gpt").copied(on_tmpfs / "a.img"), on_tmpfs / "b.img"
    at = disk["unknown"].start + 2 * MIB  # behind what is looked at for signatures
    tool = ImageRuns(on_tmpfs, wrapper=bad_blocks(disk.path, on_tmpfs / "seen", [(at, 4096)]))
    done = tool("-dd", on_tmpfs / "seen" / "a.img", "-di", clone, "--yes")
    refused(done, "unknown", f"{at:,}", code=23)
    made = disk.found_at(clone)
    first, second = (
        each.taken_out("unknown", on_tmpfs / f"part.{n}").read_bytes() for n, each in enumerate((disk, made))
    )
    assert second == first[: 2 * MIB] + bytes(4096) + first[2 * MIB + 4096 :]
    assert disks.differences(disk, made, "root") == ""


@needs_root
@LATER
def test_a_partition_whose_begin_cannot_be_read_is_copied_when_it_is_named(
    original_disk: Original, on_tmpfs: Path
) -> None:
    disk, clone = original_disk("gpt").copied(on_tmpfs / "a.img"), on_tmpfs / "b.img"
    tool = ImageRuns(on_tmpfs, wrapper=bad_blocks(disk.path, on_tmpfs / "seen", [(disk["unknown"].start, 8192)]))
    done = tool("-dd", on_tmpfs / "seen" / "a.img", "-di", clone, "--yes", "--raw", "unknown")
    refused(done, "unknown", code=23)
    first, second = (each.taken_out("unknown", on_tmpfs / "part").read_bytes() for each in (disk, disk.at(clone)))
    assert second == bytes(8192) + first[8192:]


@needs_root
@LATER
def test_a_file_system_that_cannot_be_read_at_its_begin_is_refused(original_disk: Original, on_tmpfs: Path) -> None:
    disk = original_disk("gpt").copied(on_tmpfs / "a.img")
    tool = ImageRuns(on_tmpfs, wrapper=bad_blocks(disk.path, on_tmpfs / "seen", [(disk["root"].start, 65536)]))
    done = tool("-dd", on_tmpfs / "seen" / "a.img", "-di", on_tmpfs / "b.img", "--yes")
    refused(done, os.strerror(5), "partition 4")
    assert not (on_tmpfs / "b.img").exists()


@needs_root
def test_writes_that_fail_below_the_place_of_an_image_leave_no_image(original_disk: Original, on_tmpfs: Path) -> None:
    job = JOBS["pack-ext4"](on_tmpfs, original_disk)
    before = job.sources()
    store, seen, mount = _store(on_tmpfs), on_tmpfs / "seen", on_tmpfs / "mount"
    mount.mkdir()
    fail = f'(until ls -A "$2" | grep -q part; do sleep 0.01; done; sleep 0.2; touch {on_tmpfs}/fail) >/dev/null 2>&1 &'
    inner = wrapped(f'mount -o loop -t ext4 "$1" "$2"\n{fail}', seen / store.name, mount)
    tool = ImageRuns(on_tmpfs, wrapper=[*failing_writes(store, seen, on_tmpfs / "fail"), *inner])
    done = tool(on_tmpfs / "T", "-di", mount / "i.img", "--image-fs", "ext4")
    refused(done, "i.img")
    assert job.sources() == before


@needs_root
@LATER
def test_writes_that_fail_on_the_disk_of_a_clone_leave_it_without_a_table(
    original_disk: Original, on_tmpfs: Path
) -> None:
    disk, store, seen = original_disk("gpt").copied(on_tmpfs / "a.img"), _store(on_tmpfs), on_tmpfs / "seen"
    before = disk.hash()
    fail = f"(sleep 1.5; touch {on_tmpfs}/fail) >/dev/null 2>&1 &"
    link = on_tmpfs / "device"
    wrapper = [*failing_writes(store, seen, on_tmpfs / "fail"), *on_device(seen / "store", link), *wrapped(fail)]
    done = ImageRuns(on_tmpfs, wrapper=wrapper)("-dd", disk.path, "-d", link, "--yes")
    refused(done)
    assert disk.hash() == before
    told = subprocess.run(["sfdisk", "--json", store], capture_output=True, text=True)
    assert told.returncode, told.stdout


def _store(place: Path) -> Path:
    """What could hold an image, or a clone: a big ext4."""
    subprocess.run(["mkfs.ext4", "-q", "-F", place / "store", "1200M"], check=True, capture_output=True)
    return place / "store"


TOOLS = {
    "pack-ext4": ("mke2fs", "e2fsck"),
    "pack-xfs": ("mkfs.xfs", "xfs_repair"),
    "pack-btrfs": ("mkfs.btrfs", "btrfs"),
    "restore": ("blkid",),
    "clone": ("sfdisk", "blkid", "dumpe2fs", "tune2fs", "xfs_db", "btrfstune", "mkswap", "mkfs.xfs", "e2fsck"),
}


@needs_root
@pytest.mark.parametrize(
    "verb, tool",
    [
        pytest.param(
            verb, tool, marks=() if (verb, tool) in (("pack-ext4", "e2fsck"), ("clone", "btrfstune")) else LATER
        )
        for verb, tools in TOOLS.items()
        for tool in tools
    ],
)
def test_a_program_that_is_missing_is_named_before_anything_is_made(
    verb: str, tool: str, original_disk: Original, on_tmpfs: Path
) -> None:
    job = JOBS[verb](on_tmpfs, original_disk)
    names = set(os.listdir(on_tmpfs)) | {"temporary"}
    done = ImageRuns(on_tmpfs, wrapper=without(tool))(*job.args)
    refused(done, tool, "nstall")
    assert set(os.listdir(on_tmpfs)) == names


@needs_root
@LATER
@pytest.mark.parametrize("verb, tool", [(verb, tool) for verb, tools in TOOLS.items() for tool in tools])
def test_a_program_that_fails_ends_the_run_and_leaves_no_image(
    verb: str, tool: str, original_disk: Original, on_tmpfs: Path
) -> None:
    job = JOBS[verb](on_tmpfs, original_disk)
    before = job.sources()
    done = ImageRuns(on_tmpfs, wrapper=failing(tool))(*job.args)
    refused(done)
    assert job.sources() == before
    assert not job.made.exists() or verb == "restore" or tool in ("e2fsck", "xfs_repair", "btrfs")


@needs_root
def test_who_is_not_root_is_told_of_squashfs(everyone: Callable[[Path], Path], on_tmpfs: Path) -> None:
    place = everyone(on_tmpfs / "mine")
    tree = source_tree(place)
    done = ImageRuns(place, user="nobody")(tree, "-di", place / "i.img")
    refused(done, "root", "squashfs")
    assert not (place / "i.img").exists()


@needs_root
def test_without_the_node_of_loop_devices_a_remedy_is_named(on_tmpfs: Path) -> None:
    hide = wrapped(
        "mkdir -p /dev/shm/.kept; mount --bind /dev/shm /mnt; mount -t tmpfs none /dev; mkdir /dev/shm; "
        "mount --move /mnt /dev/shm; mknod /dev/null c 1 3; mknod /dev/urandom c 1 9; mknod /dev/zero c 1 5"
    )
    tree = source_tree(on_tmpfs)
    done = ImageRuns(on_tmpfs, wrapper=hide)(tree, "-di", on_tmpfs / "i.img", "--image-fs", "ext4")
    if done.returncode != 0:  # it may make the node, where it may
        refused(done, "loop")
        assert not (on_tmpfs / "i.img").exists()


@needs_root
def test_of_two_runs_on_one_image_the_second_is_refused_and_the_first_goes_on(on_tmpfs: Path) -> None:
    tree, image = source_tree(on_tmpfs, 30), on_tmpfs / "i.img"
    tool = ImageRuns(on_tmpfs)
    with tool.started(tree, "-di", image, "--image-fs", "ext4", "-L", "10Mi") as first:
        assert until(lambda: any(".part" in name for name in os.listdir(on_tmpfs)), 20)
        with tool.started(tree, "-di", image, "--image-fs", "ext4") as second:
            done = second.finish()
        assert not first.ended
        refused(done, "another run")
        assert first.finish().returncode == 0, first.output()
    tool.nothing_is_left()
    refuse_damaged(image, "ext4")
    same(difference_of_image(tree, image, "ext4", str(tree)))


@needs_root
@pytest.mark.parametrize("key", ["big", pytest.param("trees", marks=LATER), pytest.param("root", marks=LATER)])
def test_images_with_one_uuid_are_mounted_at_the_same_time(key: str, original_disk: Original, on_tmpfs: Path) -> None:
    original = original_disk("gpt")
    disk = replace(original, parts=(replace(original[key], start=0),), path=original.taken_out(key, on_tmpfs / "a.img"))
    other = disk.copied(on_tmpfs / "b.img")
    # Of btrfs the default subvolume is shown.
    other.changed(key, 'cd "$1"; [ ! -d @ ] || cd @; find . -mindepth 1 -delete || true; echo x >other')
    done = ImageRuns(on_tmpfs)("-si", disk.path, other.path, "-d", on_tmpfs / "out")
    assert done.returncode == 0, done
    assert (on_tmpfs / "out" / "other").read_text() == "x\n"
    assert (on_tmpfs / "out" / "line").read_text().startswith(f"This is the file system {key}")


@needs_root
def test_a_device_that_is_mounted_in_a_namespace_of_others_is_refused(original_disk: Original, on_tmpfs: Path) -> None:
    disk = original_disk("gpt").copied(on_tmpfs / "a.img")
    victim = on_tmpfs / "victim"
    subprocess.run(["truncate", "-s", "1100M", victim], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", victim], check=True)
    fd = os.open(victim, os.O_RDWR)
    with loops.attach(fd, writable=True) as loop:
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "bash",
            "-c",
            'mount "$1" /mnt; echo on; read',
            "bash",
        ]
        holder = subprocess.Popen([*command, loop.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout is not None and holder.stdout.readline() == b"on\n"
        try:
            done = run(["-dd", disk.path, "-d", loop.path, "--yes"], flavour="plain")
            refused(done, os.fsdecode(loop.path))
        finally:
            holder.communicate(b"\n", timeout=10)
    os.close(fd)
    assert traces(on_tmpfs) == []
    subprocess.run(["e2fsck", "-fn", victim], check=True, capture_output=True)
