"""Clones of disks (-dd), judged by sfdisk, sgdisk, blkid, dumpe2fs, xfs_info, btrfs, rsync and find."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.block import filesystems, loops
from hpcp_mpi.operations.imaging.rules import likeness
from hpcp_mpi.operations.imaging.rules.geometry import Geometry
from tests.support import disks, launch
from tests.support.disks import MIB, Disk
from tests.support.effort import TO_THE_END
from tests.support.marks import needs_commands

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_commands(*disks.COMMANDS),
]
Disks = Callable[[str], Disk]


def cloning(*args: str | Path, flavour: str = "plain", **setting: Any) -> launch.Finished:
    return launch.run(["-dd", *args], flavour=flavour, **setting)


@dataclass(frozen=True)
class Cloned:
    """A clone of a test disk, and what the run said."""

    disk: Disk
    clone: Disk
    report: dict[str, Any]
    stderr: str
    hashes: tuple[str, str]  # of the source, before and after


@pytest.fixture(scope="module")
def cloned(original_disk: Disks) -> Iterator[Callable[[str], Cloned]]:
    """cloned(kind) is a clone that tests only look at."""
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir="/dev/shm"))
    made: dict[str, Cloned] = {}

    def of(kind: str) -> Cloned:
        if kind not in made:
            disk, target = original_disk(kind), place / f"{kind}.img"
            before = disk.hash()
            done = cloning(disk.path, "-di", target, "--json", place / "json")
            assert done.returncode == 0, done.stderr
            report = json.loads((place / "json").read_text())
            made[kind] = Cloned(disk, disk.found_at(target), report, done.stderr, (before, disk.hash()))
        return made[kind]

    yield of
    shutil.rmtree(place)


def dumped(disk: Disk) -> str:
    """What `sfdisk -d` says, without the name of the disk."""
    with open(disk.path, "rb") as file, loops.attach(file.fileno(), sector=disk.sector) as loop:
        text = subprocess.check_output(["sfdisk", "-d", loop.path], text=True)
        return re.sub(rf"{os.fsdecode(loop.path)}p?", "disk", text)


def probed(disk: Disk, key: str) -> list[str]:
    """What blkid says of a partition. A btrfs gets a new UUID for its only device, which nothing refers to."""
    place = ["-O", str(disk[key].start), "-S", str(disk[key].size)]
    text = subprocess.run(["blkid", "-p", "-o", "export", *place, disk.path], capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if not line.startswith(("UUID_SUB", "DEVNAME"))]


def geometry(disk: Disk, key: str) -> Geometry:
    part = disk[key]
    with open(disk.path, "rb") as file, loops.attach(file.fileno(), offset=part.start, size=part.size) as loop:
        return likeness.parsed(part.type, *filesystems.file_system_of(loop.path, part.type))


@pytest.mark.parametrize("kind", disks.KINDS)
def test_a_clone_has_the_same_table_boot_code_and_size(cloned: Callable[[str], Cloned], kind: str) -> None:
    found = cloned(kind)
    assert dumped(found.clone) == dumped(found.disk)
    assert subprocess.run(["cmp", "-n", "440", found.disk.path, found.clone.path]).returncode == 0
    assert found.clone.path.stat().st_size == found.disk.path.stat().st_size
    assert found.clone.path.stat().st_mode & 0o777 == 0o600
    if kind == "dos":  # GRUB lies in front of the first partition
        assert (
            subprocess.run(["cmp", "-n", str(MIB - 512), "-i", "512", found.disk.path, found.clone.path]).returncode
            == 0
        )
    if kind == "gpt":
        judged = subprocess.run(["sgdisk", "--verify", found.clone.path], capture_output=True, text=True, check=True)
        assert "No problems found" in judged.stdout


@pytest.mark.parametrize("kind", disks.KINDS)
def test_a_clone_has_the_same_files_and_the_source_is_untouched(cloned: Callable[[str], Cloned], kind: str) -> None:
    found = cloned(kind)
    assert found.hashes[0] == found.hashes[1]
    for key in found.disk.mountable:
        assert not disks.differences(found.disk, found.clone, key), key


@pytest.mark.parametrize("kind", disks.KINDS)
def test_a_clone_has_the_same_signatures_and_geometry(cloned: Callable[[str], Cloned], kind: str) -> None:
    found = cloned(kind)
    for part in found.disk.parts:
        assert probed(found.disk, part.key) == probed(found.clone, part.key), part.key
        if part.type in disks.MOUNTED:
            both = [geometry(each, part.key) for each in (found.disk, found.clone)]
            assert likeness.differences(*both) == []
            assert both[0].size == both[1].size
        elif part.type != "swap":
            raw = ["-i", str(part.start), "-n", str(part.size)]
            assert subprocess.run(["cmp", *raw, found.disk.path, found.clone.path]).returncode == 0, part.key


def test_subvolumes_are_subvolumes_and_the_default_is_the_default(
    cloned: Callable[[str], Cloned], on_tmpfs: Path
) -> None:
    found = cloned("gpt")
    script = """
    btrfs subvolume list "$mount" | sed 's/.* path //' | LC_ALL=C sort
    btrfs subvolume get-default "$mount" | sed 's/.* path //'
    """
    copies = [each.copied(on_tmpfs / name) for each, name in ((found.disk, "a"), (found.clone, "b"))]
    said = [each.changed("trees", script) for each in copies]
    assert said[0] == said[1] == "@\n@/var/inner\n@home\n@\n"


def test_the_report_names_what_became_of_each_partition(cloned: Callable[[str], Cloned]) -> None:
    report = cloned("gpt").report
    assert (report["verb"], report["failure_count"], report["exit_code"]) == ("clone", 0, 0)
    image, partitions = report["images"][0], {each["number"]: each for each in report["partitions"]}
    assert (image["what"], image["file_system"]) == ("cloned", "gpt")
    assert {number: each["treatment"] for number, each in partitions.items()} == {
        **dict.fromkeys((1, 2, 12, 20), "raw"),
        5: "swap",
        **dict.fromkeys((4, 9, 7, 3), "files"),
    }
    assert list(partitions) == [1, 2, 5, 4, 9, 7, 3, 12, 20]  # as they lie on the disk
    root = partitions[4]
    assert (root["start_before"], root["start"], root["size_before"], root["size"]) == (
        61 * MIB,
        61 * MIB,
        200 * MIB,
        200 * MIB,
    )
    assert root["entries"] > 220
    assert root["copied"] > 24 * MIB


def test_one_partition_gets_another_size_and_the_rest_follows(original_disk: Disks, on_tmpfs: Path) -> None:
    disk, target = original_disk("gpt"), on_tmpfs / "b.img"
    done = cloning(disk.path, "-di", target, "-ddr", "4=300MiB", flavour="mpich", n=2)
    assert done.returncode == 0, done.stderr
    clone = disk.found_at(target)
    assert clone["root"].size == 300 * MIB
    assert [part.key for part in sorted(clone.parts, key=lambda each: each.start)] == [part.key for part in disk.parts]
    judged = subprocess.run(["sgdisk", "--verify", target], capture_output=True, text=True, check=True)
    assert "No problems found" in judged.stdout
    assert not disks.differences(disk, clone, "root")
    before = disk.found_at(target).hash()
    done = cloning(disk.path, "-di", on_tmpfs / "c.img", "-n", "-ddr", "2=50MiB")
    assert "partition 2 EFI System Partition: the partition is bigger, the vfat in it is not" in done.stderr
    done = cloning(disk.path, "-di", target, "-ddr", "4=10MiB", "--yes")
    assert done.returncode == 1
    assert re.search(r"partition 4 \(root\) needs at least \d+ MiB, not 10 MiB", done.stderr)
    assert clone.hash() == before


@pytest.mark.parametrize("kind", disks.KINDS if TO_THE_END else ("gpt",))
def test_all_partitions_can_be_as_small_as_their_content(original_disk: Disks, on_tmpfs: Path, kind: str) -> None:
    disk, target = original_disk(kind), on_tmpfs / "b.img"
    smallest = [word for key in disk.mountable for word in ("-ddr", f"{disk[key].number}=min")]
    done = cloning(disk.path, "-di", target, *smallest)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size < disk.path.stat().st_size - 50 * MIB
    clone = disk.found_at(target)
    for key in disk.mountable:
        assert clone[key].size < disk[key].size
        assert not disks.differences(disk, clone, key), key


def test_verify_reads_all_of_it_again(original_disk: Disks, on_tmpfs: Path) -> None:
    done = cloning(original_disk("dos").path, "-di", on_tmpfs / "b.img", "--verify", "--json", on_tmpfs / "json")
    assert done.returncode == 0, done.stderr
    assert json.loads((on_tmpfs / "json").read_text())["verified"]["files"] > 500


def test_a_dry_run_makes_nothing_and_says_what_would_be(original_disk: Disks, on_tmpfs: Path) -> None:
    done = cloning(original_disk("gpt").path, "-di", on_tmpfs / "b.img", "-n", "-ddr", "root=300MiB")
    assert done.returncode == 0, done.stderr
    assert os.listdir(on_tmpfs) == []
    assert "partition 4 (root): ext4, files, at byte 63,963,136, 200 MiB -> 300 MiB" in done.stderr
    assert re.search(r"partition 12 \(\.\.\): crypto_LUKS, raw .*byte 817,889,280 -> byte \d", done.stderr)
