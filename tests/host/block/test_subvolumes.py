"""Subvolumes of a real btrfs, also with names that look like what the tool prints."""

import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.host.block import subvolumes
from hpcp_mpi.vocab.errors import FatalError
from tests.support.marks import needs_commands, needs_root
from tests.support.privately import device_of, mounted, privately

pytestmark = needs_commands("mkfs.btrfs", "btrfs")
MIB = 1 << 20


@needs_root
@privately
def test_subvolumes_are_listed_and_made_again(tmp_path: Path) -> None:
    wanted = subvolumes.Subvolumes(
        (b"@", b"line\nbreak", b"plain directory/\xff -n", b"@/var/inner"), b"@", frozenset({b"line\nbreak"})
    )
    with device_of(tmp_path / "a.img", 120 * MIB) as loop:
        subprocess.run(["mkfs.btrfs", "-q", loop.path], check=True)
        with mounted(loop, "btrfs", tmp_path / "place") as place:
            subvolumes.make_subvolumes(bytes(place), wanted)
            subvolumes.close_subvolumes(bytes(place), wanted)
            found = subvolumes.subvolumes_of(bytes(place))
            said = subprocess.check_output(["btrfs", "subvolume", "get-default", place], text=True)
    assert (set(found.paths), found.default, found.read_only) == (set(wanted.paths), b"@", wanted.read_only)
    assert found.paths.index(b"@") < found.paths.index(b"@/var/inner")
    assert said.endswith("path @\n")


@needs_root
@privately
@pytest.mark.parametrize("path", ["..", "dir", "link"])
def test_a_name_that_forges_another_path_is_refused(tmp_path: Path, path: str) -> None:
    with device_of(tmp_path / "a.img", 120 * MIB) as loop:
        subprocess.run(["mkfs.btrfs", "-q", loop.path], check=True)
        with mounted(loop, "btrfs", tmp_path / "place") as place:
            (place / "dir").mkdir()
            (place / "link").symlink_to("dir")
            name = b"x\nID 999 gen 1 top level 5 path " + path.encode()
            subvolumes.make_subvolumes(bytes(place), subvolumes.Subvolumes((name,)))
            with pytest.raises(FatalError, match="not understood"):
                subvolumes.subvolumes_of(bytes(place))
