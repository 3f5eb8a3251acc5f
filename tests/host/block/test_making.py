"""File systems that are made, checked, grown, trimmed and asked for their room; blkid, dumpe2fs and fsck judge."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcp_mpi.host.block import filesystems, loops, making
from hpcp_mpi.host.block.alone import answer_alone
from hpcp_mpi.host.block.loops import Loop
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.rules import likeness
from hpcp_mpi.operations.imaging.rules.geometry import Geometry
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need
from tests.support.marks import needs_commands, needs_root
from tests.support.privately import device_of, mounted, privately

pytestmark = needs_commands("mke2fs", "mkfs.xfs", "mkfs.btrfs", "mkswap")

MIB = 1 << 20
SIZES = {"ext2": 32 * MIB, "ext4": 32 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
WRONG = {"xfs": ("-m", "wormholes=1"), "btrfs": ("-O", "wormholes")}
KINDS = pytest.mark.parametrize("kind", SIZES)


def of_kind(kind: str, *words: str) -> MakeFileSystem:
    return MakeFileSystem(kind, SIZES[kind], words)


def said_by_blkid(loop: Loop) -> dict[str, str]:
    said = subprocess.run(["blkid", "-p", "-o", "export", loop.path], check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in said.stdout.splitlines())


@KINDS
@needs_root
@privately
def test_a_file_system_is_made_and_takes_files_and_is_good(on_tmpfs: Path, kind: str) -> None:
    with device_of(on_tmpfs / "image", SIZES[kind]) as loop:
        what = of_kind(kind, "-L", "a b")
        assert making.refusal(what) == ""
        making.make(loop.path, what)
        assert (said_by_blkid(loop)["TYPE"], said_by_blkid(loop)["LABEL"]) == (kind, "a\\ b")
        with mounted(loop, kind, on_tmpfs / "mounted") as place:
            before = making.room_of(bytes(place), kind)
            (place / "file").write_bytes(b"x" * (4 * MIB))
            subprocess.run(["sync", "-f", place], check=True)
            room = making.room_of(bytes(place), kind)
            assert 4 * MIB <= before.bytes - room.bytes < 5 * MIB
            assert (before.inodes - room.inodes > 0) or kind == "btrfs"
        assert making.check(loop.path, kind) == ""


@KINDS
@needs_root
@privately
def test_a_file_system_grows_with_its_device(on_tmpfs: Path, kind: str) -> None:
    with device_of(on_tmpfs / "image", SIZES[kind]) as loop:
        making.make(loop.path, of_kind(kind), zeros=True)
        with mounted(loop, kind, on_tmpfs / "mounted") as place:
            (place / "file").write_bytes(b"x" * 5000)
            before = making.room_of(bytes(place), kind).bytes
            os.truncate(on_tmpfs / "image", SIZES[kind] + 256 * MIB)
            loops.resized(loop)
            if making.grows_mounted(kind):
                making.grow(loop.path, bytes(place), kind)
        if not making.grows_mounted(kind):
            assert making.check(loop.path, kind) == ""
            making.grow(loop.path, b"", kind)
        with mounted(loop, kind, on_tmpfs / "mounted") as place:
            assert making.room_of(bytes(place), kind).bytes - before > 200 * MIB
            assert (place / "file").read_bytes() == b"x" * 5000
        assert making.check(loop.path, kind) == ""


def test_only_ext_may_have_to_be_unmounted_to_grow() -> None:
    assert making.grows_mounted("xfs")
    assert making.grows_mounted("btrfs")
    capabilities = Path("/proc/self/status").read_text().split("CapEff:\t")[1].split()[0]
    assert making.grows_mounted("ext4") == bool(int(capabilities, 16) >> 24 & 1)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@needs_root
@privately
def test_what_is_removed_goes_back_to_the_image_file(on_tmpfs: Path, kind: str) -> None:
    with device_of(on_tmpfs / "image", SIZES[kind]) as loop:
        making.make(loop.path, of_kind(kind), zeros=True)
        with mounted(loop, kind, on_tmpfs / "mounted") as place:
            (place / "file").write_bytes(os.urandom(16 * MIB))
            subprocess.run(["sync", "-f", place], check=True)
            full = (on_tmpfs / "image").stat().st_blocks
            (place / "file").unlink()
            for _ in range(100):  # xfs and btrfs give blocks free some time after their file has gone
                subprocess.run(["sync", "-f", place], check=True)
                assert making.trim(bytes(place))
                freed = (full - (on_tmpfs / "image").stat().st_blocks) * 512
                if freed > 14 * MIB:
                    break
                time.sleep(0.05)
            assert freed > 14 * MIB
    assert not making.trim(bytes(on_tmpfs)), "tmpfs gives nothing back"


@needs_root
@privately
def test_a_new_ext4_of_a_sparse_file_writes_no_zeros(on_tmpfs: Path) -> None:
    with device_of(on_tmpfs / "image", 1024 * MIB) as loop:
        making.make(loop.path, MakeFileSystem("ext4", 1024 * MIB, ("-b", "4096", "-J", "size=64")), zeros=True)
        assert (on_tmpfs / "image").stat().st_blocks * 512 < 2 * MIB
        assert making.check(loop.path, "ext4") == ""


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@needs_root
@privately
def test_damage_is_named_by_the_check_which_changes_nothing(on_tmpfs: Path, kind: str) -> None:
    with device_of(on_tmpfs / "image", SIZES[kind]) as loop:
        making.make(loop.path, of_kind(kind))
        with mounted(loop, kind, on_tmpfs / "mounted") as place:
            for number in range(100):
                (place / f"file{number}").write_bytes(b"x" * 5000)
    holes = {
        "ext4": [(4096, 1 << 20)],
        "xfs": [(64 * 1024, 1 << 18)],
        "btrfs": [(22 << 20, 8 << 20), (30 << 20, 60 << 20)],
    }
    with (on_tmpfs / "image").open("r+b") as file:
        for at, length in holes[kind]:
            file.seek(at)
            file.write(b"\xa5" * length)
    before = (on_tmpfs / "image").stat().st_mtime_ns
    with device_of(on_tmpfs / "image") as loop:
        found = making.check(loop.path, kind)
    assert found
    assert "\n" not in found
    assert (on_tmpfs / "image").stat().st_mtime_ns == before


@needs_root
@privately
def test_words_that_only_newer_programs_know_are_left_out(on_tmpfs: Path) -> None:
    with device_of(on_tmpfs / "image", SIZES["xfs"]) as loop:
        optional = (("-i", "wormholes=0"), ("-m", "rmapbt=1"))
        making.make(loop.path, MakeFileSystem("xfs", SIZES["xfs"], (), optional=optional))
        assert "rmapbt=1" in filesystems.file_system_of(loop.path, "xfs").text
    with device_of(on_tmpfs / "image", SIZES["ext4"]) as loop:
        optional = (("-O", "wormholes"), ("-O", "^metadata_csum"))
        making.make(loop.path, MakeFileSystem("ext4", SIZES["ext4"], ("-O", "^flex_bg"), optional=optional))
        text = filesystems.file_system_of(loop.path, "ext4").text
        assert "metadata_csum" not in text
        assert "flex_bg" not in text, "all -O count, not only the last one"


@needs_root
@privately
@pytest.mark.parametrize("label", ["-O", "-E", "--uuid", "-U", "--"])
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@needs_root
@privately
def test_a_label_that_is_called_as_an_option_is_a_label(on_tmpfs: Path, kind: str, label: str) -> None:
    geometry = Geometry(kind, SIZES[kind], 4096, {}, label.encode(), "7e57d15c-0000-4000-8000-0000000000aa")
    plain = likeness.made_plain(geometry, SIZES[kind], Need())
    what = of_kind(kind, *plain.arguments, "-O", "^64bit") if kind == "ext4" else of_kind(kind, *plain.arguments)
    with device_of(on_tmpfs / "image", SIZES[kind]) as loop:
        assert making.refusal(what) == ""
        making.make(loop.path, what)
        said = filesystems.file_system_of(loop.path, kind)
        assert said.label == label.encode()
        assert kind == "btrfs" or said.uuid == geometry.uuid


@needs_root
@privately
def test_debugfs_fails_when_it_complains(on_tmpfs: Path) -> None:
    """It ends with 0 whatever happens."""
    with device_of(on_tmpfs / "image", SIZES["ext4"]) as loop:
        good, bad = "set_super_value mount_opts acl,user_xattr", "set_super_value nonsense 1"
        making.make(loop.path, replace(of_kind("ext4"), tune=(("debugfs", "-w", "-R", good),)))
        said = subprocess.check_output(["dumpe2fs", "-h", loop.path], text=True, stderr=subprocess.DEVNULL)
        assert "acl,user_xattr" in said
        with pytest.raises(FatalError, match="invalid field specifier: nonsense"):
            making.make(loop.path, replace(of_kind("ext4"), tune=(("debugfs", "-w", "-R", bad),)))


def test_of_alternatives_the_first_that_is_known_is_used(on_tmpfs: Path) -> None:
    either = ((("-O", "wormholes"), ("-O", "^no-holes")),)
    what = MakeFileSystem("btrfs", SIZES["btrfs"], (), either=either)
    with device_of(on_tmpfs / "image", SIZES["btrfs"]) as loop:
        making.make(loop.path, what)
        assert "NO_HOLES" not in filesystems.file_system_of(loop.path, "btrfs").text
    nothing = MakeFileSystem("btrfs", SIZES["btrfs"], (), either=((("-O", "wormholes"), ("-R", "wormholes")),))
    assert "wormholes" in making.refusal(nothing)


@KINDS
@needs_root
@privately
def test_what_mkfs_refuses_is_said_without_its_manual(on_tmpfs: Path, kind: str) -> None:
    what = of_kind(kind, *WRONG.get(kind, ("-E", "wormholes=1")))
    said = making.refusal(what)
    assert "wormholes" in said
    assert "Usage" not in said
    with device_of(on_tmpfs / "image", SIZES[kind]) as loop, pytest.raises(FatalError) as refused:
        making.make(loop.path, what)
    assert f"cannot make {kind} on {loop.path.decode()}: " in refused.value.message
    assert "wormholes" in refused.value.remedy
    assert (on_tmpfs / "image").stat().st_blocks == 0


@needs_root
@privately
def test_a_file_system_may_be_smaller_than_its_device(on_tmpfs: Path) -> None:
    for kind, size in SIZES.items():
        with device_of(on_tmpfs / "image", size + 64 * MIB) as loop:
            making.make(loop.path, of_kind(kind))
            assert said_by_blkid(loop)["TYPE"] == kind
            with mounted(loop, kind, on_tmpfs / "mounted") as place:
                status = os.statvfs(place)
                assert status.f_blocks * status.f_frsize <= size


@pytest.mark.parametrize("page", [4096, 16384])
@needs_root
@privately
def test_a_swap_area_has_its_label_uuid_and_page(on_tmpfs: Path, page: int) -> None:
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    with device_of(on_tmpfs / "image", 8 * MIB) as loop:
        making.make_swap(loop.path, b"-x \xff", uuid, page)
        found = said_by_blkid(loop)
        assert (found["TYPE"], found["UUID"]) == ("swap", uuid)
        from hpcp_mpi.operations.imaging.rules.swap import parse_swap

        parsed = parse_swap(filesystems.head_of(loop.path))
    assert parsed is not None
    assert (parsed.label, parsed.uuid, parsed.block, parsed.size) == (b"-x \xff", uuid, page, 8 * MIB)


@needs_root
@privately
def test_a_program_that_sees_one_device_sees_no_other(on_tmpfs: Path) -> None:
    with device_of(on_tmpfs / "a", MIB) as one, device_of(on_tmpfs / "b", MIB) as other:
        seen = answer_alone(["stat", "-c", "%F: %n", one.path, other.path, "/proc/partitions"], one.path)
        assert seen.output.splitlines() == [b"block special file: " + one.path, b"regular empty file: /proc/partitions"]
        assert os.path.exists(other.path), "it is hidden from the program alone"


@needs_root
@privately
def test_mkfs_is_ended_when_the_run_is(on_tmpfs: Path) -> None:
    with device_of(on_tmpfs / "image", SIZES["ext4"]) as loop:
        began = time.monotonic()
        with pytest.raises(Stopped):
            making._follow(loop.path, of_kind("ext4"), [("tail", "-f", "/dev/null")], lambda: True)
        assert time.monotonic() - began < 10


@needs_root
def test_what_was_replaced_meanwhile_is_no_file_system_any_more(on_tmpfs: Path) -> None:
    with device_of(on_tmpfs / "image", SIZES["ext4"]) as loop:
        with pytest.raises(FatalError, match="dumpe2fs cannot read the ext4"):
            filesystems.file_system_of(loop.path, "ext4")
        making.make(loop.path, of_kind("ext4", "-U", "01234567-89ab-cdef-0123-456789abcdef", "-L", "x"))
        found = filesystems.file_system_of(loop.path, "ext4")
        assert (found.label, found.uuid) == (b"x", "01234567-89ab-cdef-0123-456789abcdef")
