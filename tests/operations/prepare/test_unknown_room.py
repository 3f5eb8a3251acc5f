"""A file system that tells of 0 free blocks of 0 is not full: nobody knows. No warning, and no end with -enes."""

from __future__ import annotations

from pathlib import Path

from tests.support.copies import copy
from tests.support.faultfs import mounted
from tests.support.marks import needs_fuse
from tests.support.trees import File, build

pytestmark = needs_fuse


def test_zero_of_zero_blocks_are_not_a_full_file_system(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"f{n}": File(b"x" * 5000) for n in range(9)})
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing", no_blocks=1) as at:
        done = copy("-enes", on_tmpfs / "src", "-d", at / "one")
        assert not [note for note in done.notes.values() if "free" in note]
        spread = copy(on_tmpfs / "src", "-d", at / "d1", "-d", on_tmpfs / "d2")
        assert spread.failures == {} and spread.report["copied"]["files"] == 9
        copies = [len(list(path.iterdir())) for path in (at / "d1", on_tmpfs / "d2")]
        assert sum(copies) == 9 and copies[0]
