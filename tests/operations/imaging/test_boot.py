"""A clone boots, by the boot code that was cloned, into the file system that was made anew."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.support import bootable, disks
from tests.support.image_runs import ImageRuns
from tests.support.marks import needs_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(bool(bootable.missing()), reason=bootable.missing()),
]


@needs_root
@pytest.mark.to_the_end
@pytest.mark.parametrize("kind", bootable.KINDS)
def test_boot_of_the_disks_that_are_cloned(kind: str, on_tmpfs: Path) -> None:
    line = secrets.token_hex()
    disk = bootable.make(kind, on_tmpfs, line)
    assert f"LINE: {line}" in bootable.printed(disk.path, kind)


@needs_root
@pytest.mark.to_the_end
def test_no_boot_without_boot_code(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootable, "SECONDS", 15)
    disk = bootable.make("bios-gpt", on_tmpfs, "a line")
    with open(disk.path, "r+b") as file:
        file.seek(disk["bios"].start)
        file.write(bytes(4096))
    assert "LINE: " not in bootable.printed(disk.path, "bios-gpt")


@needs_root
@pytest.mark.parametrize(
    "kind, resize",
    [
        ("bios-gpt", "3=100MiB"),
        pytest.param("bios-dos", "", marks=pytest.mark.to_the_end),
        pytest.param("uefi", "", marks=pytest.mark.to_the_end),
    ],
)
def test_boot_of_a_clone(kind: str, resize: str, on_tmpfs: Path) -> None:
    line = secrets.token_hex()  # no other disk prints it
    disk = bootable.make(kind, on_tmpfs, line)
    clone = on_tmpfs / "b.img"
    ImageRuns(on_tmpfs)("-dd", disk.path, "-di", clone, "--yes", *(["-ddr", resize] if resize else [])).check()
    if resize:
        assert clone.stat().st_size < disk.path.stat().st_size
        assert disk.found_at(clone)["root"].size == 100 * disks.MIB
    disk.path.unlink()  # GRUB would find the root there, too
    assert f"LINE: {line}" in bootable.printed(clone, kind)
