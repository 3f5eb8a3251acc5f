"""The disks that the tests of clones use are what their tables say, as independent tools see them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import disks
from tests.support.marks import needs_commands, needs_root

LATER = ((), pytest.mark.to_the_end)
pytestmark = [pytest.mark.root, needs_commands(*disks.COMMANDS)]


def _told(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@needs_root
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=LATER[kind != "gpt"]) for kind in disks.KINDS])
def test_each_partition_has_the_signature_that_is_claimed(
    kind: str, original_disk: Callable[[str], disks.Disk], on_tmpfs: Path
) -> None:
    disk = original_disk(kind)
    for part in disk.parts:
        taken = disk.taken_out(part.key, on_tmpfs / "part")
        found = subprocess.run(["blkid", "-p", "-o", "value", "-s", "TYPE", taken], capture_output=True, text=True)
        assert (found.stdout.strip(), found.returncode) == (part.type, 0 if part.type else 2), part.key


@needs_root
def test_the_tables_are_sound(original_disk: Callable[[str], disks.Disk]) -> None:
    assert "No problems found" in _told("sgdisk", "-v", original_disk("gpt").path)
    for kind in ("gpt", "dos"):
        disk = original_disk(kind)
        found = disks.places(disk.path, disk.sector)
        claimed = {part.number: (part.start, part.size) for part in disk.parts}
        assert found == claimed | ({2: found[2]} if kind == "dos" else {})  # the extended one
    all_bits = "RequiredPartition NoBlockIOProtocol LegacyBIOSBootable GUID:" + ",".join(map(str, range(48, 64)))
    assert all_bits in _told("sfdisk", "--part-attrs", original_disk("gpt").path, "20")


@needs_root
def test_a_difference_of_two_disks_is_found(
    original_disk: Callable[[str], disks.Disk], a_disk: Callable[[str], disks.Disk]
) -> None:
    disk = a_disk("gpt")
    for key in disk.mountable:
        assert disks.differences(original_disk("gpt"), disk, key) == ""
    disk.changed("old", 'touch --date=@1 "$1/names/é\\\\" "$1/names"')
    assert "names" in disks.differences(original_disk("gpt"), disk, "old")
