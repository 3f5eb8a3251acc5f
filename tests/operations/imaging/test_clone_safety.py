"""What a clone refuses, and asks before anything is overwritten: nothing is changed until all checks have passed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpcp_mpi.host.block import loops
from hpcp_mpi.host.block.mounts import MountRoom
from hpcp_mpi.operations.imaging.clone.work import Work, mounted
from hpcp_mpi.operations.imaging.shown import Shown
from tests.support import disks, faultfs, launch, tables
from tests.support.disks import MIB, Disk, Part
from tests.support.marks import needs_commands, needs_fuse
from tests.support.privately import device_of, privately
from tests.support.terminal import at_terminal

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_commands(*disks.COMMANDS),
]
_EXT4 = ("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal")
PARTS = (
    Part("root", 1, MIB, 8 * MIB, "ext4", tables.LINUX, "root", mkfs=_EXT4),
    Part("data", 2, 10 * MIB, 3 * MIB, "", tables.LINUX, "data"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    disk = Disk(tmp_path_factory.mktemp("small") / "small.img", PARTS)
    disks.assemble(disk, {0: b"boot" * 110}, 'echo content >"$room/root/file"')
    return disk


@pytest.fixture
def small(original: Disk, on_tmpfs: Path) -> Disk:
    """A disk of two partitions at on_tmpfs/a.img."""
    return original.copied(on_tmpfs / "a.img")


@contextmanager
def device(path: Path, size: int = 30 * MIB, sector: int = 512) -> Iterator[str]:
    """A loop device over a file full of ones."""
    with open(path, "w+b") as file:
        file.write(b"\xff" * size)
        file.flush()
        with loops.attach(file.fileno(), writable=True, sector=sector) as loop:
            yield os.fsdecode(loop.path)


def digest(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def cloning(*args: str | Path, **setting: Any) -> launch.Finished:
    return launch.run(["-dd", *args], flavour="plain", **setting)


def refusal(*args: str | Path, code: int = 1) -> str:
    """What a clone that is refused says: one sentence, and a remedy."""
    done = cloning(*args)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("hpcp-mpi: "))
    assert lines[at + 1].startswith("  ")
    assert len(lines) == at + 2
    return "\n".join(lines[at:])


# --- devices


def test_a_device_needs_yes_where_nobody_can_be_asked(small: Disk, on_tmpfs: Path) -> None:
    with device(on_tmpfs / "target") as target:
        before = digest(target)
        for more in ([], ["-rf"]):
            done = cloning(small.path, "-d", target, *more)
            assert done.returncode == 2
            assert "--yes" in done.stderr
        assert digest(target) == before
        assert cloning(small.path, "-d", target, "--yes").returncode == 0
        dumps = [subprocess.check_output(["sfdisk", "-d", each], text=True) for each in (small.path, target)]
        lines = [[line.split(": ", 1)[-1] for line in text.splitlines() if "lba" not in line] for text in dumps]
        assert lines[0][3:] == lines[1][3:]
    clone = small.found_at(on_tmpfs / "target")
    assert not disks.differences(small, clone, "root")


def test_the_backup_of_a_table_that_was_there_before_is_gone(on_tmpfs: Path) -> None:
    """The rest of that table is gone, so that the disk looks as if nothing was on it; the clone is an MBR disk."""
    with open(on_tmpfs / "a.img", "wb") as file:
        file.truncate(8 * MIB)
    subprocess.run(["sfdisk", "-q", on_tmpfs / "a.img"], input=b"label: dos\nsize=4M, type=83\n", check=True)
    with device(on_tmpfs / "target") as target:
        subprocess.run(["sfdisk", "-q", target], input=b"label: gpt\nsize=5M, name=old\n", check=True)
        with open(target, "r+b", buffering=0) as file:
            file.write(bytes(MIB))
            assert os.pread(file.fileno(), 8, 30 * MIB - 512) == b"EFI PART"
        done = cloning(on_tmpfs / "a.img", "-d", target, "--yes")
        assert done.returncode == 0, done.stderr
    assert (on_tmpfs / "target").read_bytes()[-MIB:] == bytes(MIB)


def test_the_question_shows_the_disk_and_wants_its_name(small: Disk, on_tmpfs: Path) -> None:
    with device(on_tmpfs / "target") as target:
        subprocess.run(["sfdisk", "-q", target], input=b"label: gpt\nsize=5M, name=old\n", check=True)
        subprocess.run(["mkfs.vfat", "--offset", "2048", "-n", "LABEL", target], capture_output=True)
        before = digest(target)

        def answered(text: str) -> tuple[int, str]:
            command, environment = launch.command_line(["-dd", small.path, "-d", target], flavour="plain")
            with at_terminal(command, environment) as terminal:
                terminal.expect(r"Type .* to go on: ")
                terminal.type(text)
                done = terminal.finish()
            return done.returncode, done.screen

        code, screen = answered("yes\n")
        assert code == 1, screen
        assert digest(target) == before
        for word in (f"{on_tmpfs}/target", f"{30 * MIB:,} bytes", "gpt", "partition 1 (old)", "LABEL"):
            assert word in screen
        assert answered("\x03")[0] == 130
        assert digest(target) == before
        assert answered(target + "\n")[0] == 0
        assert digest(target) != before


def test_a_mounted_partition_keeps_others_away(small: Disk, on_tmpfs: Path) -> None:
    """The mount is in a namespace that we do not see."""
    (on_tmpfs / "target").write_bytes(small.path.read_bytes() + bytes(4 * MIB))
    with open(on_tmpfs / "target", "r+b") as file, loops.attach(file.fileno(), writable=True) as loop:
        target, place = os.fsdecode(loop.path), on_tmpfs / "place"
        place.mkdir()
        script = f"mount -t ext4 -o loop,offset={MIB},sizelimit={8 * MIB} {target} {place} && echo mounted && read line"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            before = digest(target)
            try:
                assert "is in use" in refusal(small.path, "-d", target, "--yes")
                assert digest(target) == before
            finally:
                holder.stdin.close()


def test_a_device_of_other_sectors_is_refused(small: Disk, on_tmpfs: Path) -> None:
    with device(on_tmpfs / "target", sector=4096) as target:
        before = digest(target)
        assert "sectors of 4096 bytes" in refusal(small.path, "-d", target, "--yes")
        assert digest(target) == before


def test_a_device_that_is_too_small_is_told_the_least_size(small: Disk, on_tmpfs: Path) -> None:
    with device(on_tmpfs / "target", size=12 * MIB) as target:
        before = digest(target)
        said = refusal(small.path, "-d", target, "--yes")
        assert "the destination is too small: the partitions need" in said
        assert digest(target) == before


def test_the_source_is_no_destination(small: Disk, on_tmpfs: Path) -> None:
    before = small.hash()
    assert "is the disk that is to be cloned" in refusal(small.path, "-di", small.path, "--yes")
    with open(small.path, "r+b") as file, loops.attach(file.fileno(), writable=True) as loop:
        path = os.fsdecode(loop.path)
        assert "is the disk that is to be cloned" in refusal(path, "-d", path, "--yes")
        assert cloning(small.path, "-d", path, "--yes").returncode == 1
    assert small.hash() == before


# --- image files


def test_an_image_that_is_there_is_replaced_only_when_asked(small: Disk, on_tmpfs: Path) -> None:
    target = on_tmpfs / "b.img"
    target.write_bytes(b"precious")
    done = cloning(small.path, "-di", target, "-rf")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert target.read_bytes() == b"precious"

    def answered(text: str) -> int:
        command, environment = launch.command_line(["-dd", small.path, "-di", target], flavour="plain")
        with at_terminal(command, environment) as terminal:
            terminal.expect(r"\[y/N\] ")
            terminal.type(text)
            return terminal.finish().returncode

    assert answered("n\n") == 1
    assert target.read_bytes() == b"precious"
    assert answered("y\n") == 0
    assert target.stat().st_size == small.path.stat().st_size


def test_an_image_that_is_attached_is_not_replaced(small: Disk, on_tmpfs: Path) -> None:
    target = on_tmpfs / "b.img"
    target.write_bytes(bytes(MIB))
    with open(target, "r+b") as file, loops.attach(file.fileno(), writable=True):
        assert "attached" in refusal(small.path, "-di", target, "--yes")
    assert target.read_bytes() == bytes(MIB)


def test_there_must_be_room_for_the_image(original: Disk, tmp_path: Path) -> None:
    command, environment = launch.command_line(["-dd", original.path, "-di", "b.img"], flavour="plain")
    shell = f'room={tmp_path}; mount -t tmpfs -o size=66m none "$room"; cd "$room"; "$@"; echo "code $?"; ls -A "$room"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert "have to stay free" in done.stderr, done.stderr
    assert done.stdout == "code 1\n"


# --- sources


def test_what_has_no_table_is_refused(on_tmpfs: Path) -> None:
    path = on_tmpfs / "a.img"
    with open(path, "wb") as file:
        file.truncate(8 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    assert "has no partition table" in refusal(path, "-di", on_tmpfs / "b.img")
    assert sorted(os.listdir(on_tmpfs)) == ["a.img"]


def test_two_signatures_are_refused_and_raw_copies_them(small: Disk, on_tmpfs: Path) -> None:
    with open(small.path, "r+b") as file:
        os.pwrite(file.fileno(), b"_BHRfS_M", MIB + 65536 + 64)
        os.pwrite(file.fileno(), b"SWAPSPACE2", MIB + 4086)
    subprocess.run(["mkswap", "-q", "--offset", str(MIB), small.path], capture_output=True)
    said = refusal(small.path, "-di", on_tmpfs / "b.img")
    assert "partition 1 (root)" in said
    assert "--raw 1" in said
    assert sorted(os.listdir(on_tmpfs)) == ["a.img"]
    assert cloning(small.path, "-di", on_tmpfs / "b.img", "--raw", "root").returncode == 0
    clone = small.found_at(on_tmpfs / "b.img")
    assert small.taken_out("root", on_tmpfs / "1").read_bytes() == clone.taken_out("root", on_tmpfs / "2").read_bytes()


def test_a_raw_partition_does_not_get_smaller(small: Disk, on_tmpfs: Path) -> None:
    assert "cannot get another size" in refusal(small.path, "-di", on_tmpfs / "b.img", "-ddr", "data=1MiB")
    assert sorted(os.listdir(on_tmpfs)) == ["a.img"]


def test_a_hybrid_mbr_is_kept_if_nothing_moves(small: Disk, on_tmpfs: Path) -> None:
    subprocess.run(["sgdisk", "--hybrid", "1:2", small.path], check=True, stdout=subprocess.DEVNULL)
    assert cloning(small.path, "-di", on_tmpfs / "b.img").returncode == 0
    assert subprocess.run(["cmp", "-n", "512", small.path, on_tmpfs / "b.img"]).returncode == 0
    assert "hybrid MBR" in refusal(small.path, "-di", on_tmpfs / "c.img", "-ddr", "1=20MiB")


@needs_fuse
def test_bad_blocks_become_zeros_and_are_named(small: Disk, on_tmpfs: Path) -> None:
    bad = 11 * MIB + 16384
    with open(small.path, "r+b") as file:
        os.pwrite(file.fileno(), os.urandom(MIB), 11 * MIB)
    (on_tmpfs / "disk").mkdir()
    small.path.rename(on_tmpfs / "disk/a.img")
    faults = {"eio_read": "a.img", "eio_from": bad, "eio_until": bad + 8192}
    with faultfs.mounted(on_tmpfs / "disk", **faults) as broken:  # type: ignore[arg-type]
        done = cloning(broken / "a.img", "-di", on_tmpfs / "b.img")
    assert done.returncode == 23, done.stderr
    assert f"a.img:data: 8,192 bytes at byte {bad:,} of the disk could not be read, and are zeros" in done.stderr
    disk = small.at(on_tmpfs / "disk/a.img")
    clone = disk.found_at(on_tmpfs / "b.img")
    assert not disks.differences(disk, clone, "root")
    good, copy = (each.taken_out("data", on_tmpfs / "x").read_bytes() for each in (disk, clone))
    at = bad - disk["data"].start
    assert copy == good[:at] + bytes(8192) + good[at + 8192 :]


@needs_fuse
def test_where_signatures_cannot_be_read_only_raw_goes_on(small: Disk, on_tmpfs: Path) -> None:
    (on_tmpfs / "disk").mkdir()
    small.path.rename(on_tmpfs / "disk/a.img")
    faults = {"eio_read": "a.img", "eio_from": MIB + 65536, "eio_until": MIB + 69632}
    with faultfs.mounted(on_tmpfs / "disk", **faults) as broken:  # type: ignore[arg-type]
        said = refusal(broken / "a.img", "-di", on_tmpfs / "b.img")
        assert "a.img, partition 1 cannot be looked at: Input/output error" in said
        assert "--raw 1" in said
        assert cloning(broken / "a.img", "-di", on_tmpfs / "b.img", "--raw", "1").returncode == 23


@needs_fuse
def test_a_file_that_cannot_be_read_fails_alone(original: Disk, on_tmpfs: Path) -> None:
    disk = original.copied(on_tmpfs / "a.img")
    disk.changed("root", 'head -c 200000 /dev/urandom >"$1/broken"; sync; filefrag -v "$1/broken" >"$room/where"; true')
    content = disk.path.read_bytes()
    disk.changed("root", 'cp "$1/broken" "$2"', on_tmpfs / "broken")
    at = content.index((on_tmpfs / "broken").read_bytes()[:4096]) // 4096 * 4096 + 8192
    (on_tmpfs / "disk").mkdir()
    disk.path.rename(on_tmpfs / "disk/a.img")
    faults = {"eio_read": "a.img", "eio_from": at, "eio_until": at + 4096}
    with faultfs.mounted(on_tmpfs / "disk", **faults) as broken:  # type: ignore[arg-type]
        done = cloning(broken / "a.img", "-di", on_tmpfs / "b.img")
    assert done.returncode == 23, done.stderr
    assert re.search("a.img:root:/broken: .*Input/output error", done.stderr)
    clone = original.found_at(on_tmpfs / "b.img")
    assert clone.changed("root", 'ls "$1"; cat "$1/file"') == "file\nlost+found\ncontent\n"


def test_only_the_backup_of_the_table_is_damaged(small: Disk, on_tmpfs: Path) -> None:
    with open(small.path, "r+b") as file:
        file.seek(-512, os.SEEK_END)
        file.write(bytes(512))
    done = cloning(small.path, "-di", on_tmpfs / "b.img")
    assert done.returncode == 0
    assert "backup of its partition table is damaged" in done.stderr
    judged = subprocess.run(["sgdisk", "--verify", on_tmpfs / "b.img"], capture_output=True, text=True, check=True)
    assert "No problems found" in judged.stdout


def test_what_is_left_of_other_disks_is_overwritten(small: Disk, on_tmpfs: Path) -> None:
    """No signature is known of what is on the device, as of a clone that was not finished."""
    with device(on_tmpfs / "target") as target:
        done = cloning(small.path, "-d", target, "--yes")
        assert done.returncode == 0, done.stderr
    content = (on_tmpfs / "target").read_bytes()
    assert content[34 * 512 : MIB] == bytes(MIB - 34 * 512)
    assert content[-MIB : -33 * 512] == bytes(MIB - 33 * 512)


@privately
@pytest.mark.parametrize("kind", ["ext2", "ext4"])
def test_a_file_system_that_asks_for_a_panic_gets_none_from_a_clone(on_tmpfs: Path, kind: str) -> None:
    """Its superblock is made as the source's is; an I/O error of the clone's disk is to end the run only."""
    part = SimpleNamespace(make=SimpleNamespace(type=kind), target=SimpleNamespace(name="root", number=1))
    with device_of(on_tmpfs / "image", 16 * MIB) as loop, MountRoom() as room:
        subprocess.run(["mke2fs", "-q", "-t", kind, "-e", "panic", loop.path], check=True)
        run: Any = SimpleNamespace(room=room, shown=Shown())
        work: Any = Work(run, SimpleNamespace(), SimpleNamespace(path=b"b.img"), SimpleNamespace())  # type: ignore[arg-type]
        for writable, found in ((True, "errors=remount-ro"), (False, "errors=continue")):
            with mounted(work, part, loop, writable) as place:  # type: ignore[arg-type]
                assert found in _mount_options(place)


def _mount_options(place: bytes) -> str:
    lines = Path("/proc/thread-self/mountinfo").read_text().splitlines()
    (line,) = [each for each in lines if each.split()[4] == os.fsdecode(place)]
    return line.split(" - ")[1]
