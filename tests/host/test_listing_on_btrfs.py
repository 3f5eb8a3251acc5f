"""btrfs lists in an open directory what was there when it was opened (Linux 6.5 and newer)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.everyone import REPOSITORY
from tests.support.marks import needs_commands, needs_root
from tests.support.private_mounts import in_private

pytestmark = [pytest.mark.root, needs_commands("mkfs.btrfs")]
_MADE = 'truncate -s 128M "$1"; mkfs.btrfs -q "$1" >/dev/null; on "$1" 0 134217728 "$room/b"; cd "$room/b"; '


@needs_root
def test_what_was_made_in_an_open_directory_is_listed_and_removed_with_a_stage(on_tmpfs: Path) -> None:
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from hpcp_mpi.host.entries import names_in, types_in
from hpcp_mpi.host.stage import staged
here = os.open(".", os.O_RDONLY)
with staged(here, "0" * 8 + ".1", lambda *remark: sys.exit(str(remark))) as stage:
    open("file", "w").close()
    fd = os.open("file", os.O_RDONLY)
    os.link("file", "left", dst_dir_fd=stage)
    print(names_in(stage), [name for name, _ in types_in(stage)])
print(sorted(os.listdir(".")))
"""
    said = in_private(_MADE + '"$2" -c "$3" "$4"', on_tmpfs / "i.img", sys.executable, script, REPOSITORY)
    assert said.splitlines() == ["{b'left'} [b'left']", "['file']"]
