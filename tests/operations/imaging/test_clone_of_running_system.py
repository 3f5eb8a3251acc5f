"""Clones of a disk that is in use, of swap files, and of a run that was ended: what an ordinary copy would not do."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import disks, launch, tables
from tests.support.disks import MIB, Disk, Part
from tests.support.effort import TO_THE_END
from tests.support.marks import needs_commands
from tests.support.private_mounts import in_private

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_commands("addpart", *disks.COMMANDS),
]
_EXT4 = ("mke2fs", "-q", "-F", "-t", "ext4", "-U", "7e57d15c-0000-4000-8000-000000000001")
_BTRFS = ("mkfs.btrfs", "-q", "-U", "7e57d15c-0000-4000-8000-000000000002")
PARTS = (
    Part("root", 1, MIB, 48 * MIB, "ext4", tables.LINUX, "root", mkfs=_EXT4),
    Part("home", 2, 50 * MIB, 120 * MIB, "btrfs", tables.LINUX, "home", mkfs=_BTRFS),
    Part("raw", 3, 170 * MIB, MIB, "", tables.LINUX, "raw"),
    Part("last", 4, 171 * MIB, 32 * MIB, "ext4", tables.LINUX, "last", mkfs=("mke2fs", "-q", "-F", "-t", "ext4")),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    disk = Disk(tmp_path_factory.mktemp("system") / "system.img", PARTS)
    script = """
    mkdir "$room"/root/home "$room"/root/run
    echo under >"$room"/root/run/hidden
    head -c 8388608 /dev/zero >"$room"/root/swapfile
    mkswap -q "$room"/root/swapfile 2>/dev/null
    fallocate -l 4M "$room"/root/swap2
    mkswap -q "$room"/root/swap2 2>/dev/null
    truncate -s 5M "$room"/root/sparse
    for i in $(seq 300); do head -c 3000 /dev/urandom >"$room/root/file$i"; done
    btrfs -q subvolume create "$room"/home/user >/dev/null
    echo home >"$room"/home/user/file
    head -c 4194304 /dev/urandom >"$room"/home/user/data
    head -c 16777216 /dev/urandom >"$room"/last/data
    btrfs subvolume set-default "$room"/home/user >/dev/null
    btrfs -q subvolume snapshot "$room"/home/user "$room"/home/before >/dev/null
    btrfs property set -ts "$room"/home/before ro true
    """
    disks.assemble(disk, {}, script)
    return disk


def cloning(*args: str | Path) -> launch.Finished:
    return launch.run(["-dd", *args], flavour="plain")


def test_swap_files_keep_all_their_blocks_and_subvolumes_their_flags(original: Disk, on_tmpfs: Path) -> None:
    done = cloning(original.path, "-di", on_tmpfs / "b.img", "-e", "/file*", "-e", "/run/*")
    assert done.returncode == 0, done.stderr
    assert "1 of its subvolumes are snapshots" in done.stderr
    clone = original.found_at(on_tmpfs / "b.img")
    script = """
    for each in swapfile swap2 sparse; do stat -c '%n %s %b' "$1/$each" | sed 's#.*/##'; done
    """
    sizes = dict(line.split(" ", 1) for line in clone.changed("root", script).splitlines())
    assert sizes["swapfile"] == f"{8 * MIB} {8 * MIB // 512}"
    assert sizes["swap2"] == f"{4 * MIB} {4 * MIB // 512}"
    assert sizes["sparse"] == f"{5 * MIB} 0"
    assert clone.changed("root", 'ls -A "$1" "$1/run" | grep -c "file[0-9]\\|hidden" || true') == "0\n"
    assert clone.changed("home", 'btrfs property get -ts "$1/before" ro; btrfs property get -ts "$1/user" ro') == (
        "ro=true\nro=false\n"
    )
    assert clone.changed("home", 'ls -A "$1/user" "$1/before" | grep -c data') == "2\n"


# The disk is a loop device whose partitions have devices, as those of a real one; the first two are mounted.
_RUNNING = """
disk=$(losetup --find --show "$1"); name=${disk#/dev/}
undo() {
    umount -R "$room/system" 2>/dev/null
    for at in 1 2 3; do delpart "$disk" $at; done
    losetup -d "$disk"
    rm -f "$disk"p?
}
trap 'undo; cd /; umount -R "$room" 2>/dev/null; rmdir "$room"' EXIT
for each in 1,2048,98304 2,102400,245760 3,348160,2048; do  # the fourth has none
    IFS=, read -r number start size <<<"$each"
    addpart "$disk" "$number" "$start" "$size"
    [ -e "${disk}p$number" ] || mknod "${disk}p$number" b $(tr : ' ' <"/sys/block/$name/${name}p$number/dev")
done
mkdir "$room/system"
mount -t ext4 "${disk}p1" "$room/system"
mount -t btrfs -o subvol=user "${disk}p2" "$room/system/home"
mount -t tmpfs none "$room/system/run"
echo new >"$room/system/new"
code=0
cd /
"${@:3}" "$disk" -di "$2" >&2 || code=$?
echo "$code"
echo "${disk}"
"""


def running(disk: Disk, target: Path, *more: str) -> tuple[str, str]:
    """Clone a disk that is in use; return the exit code and what was said."""
    command, environment = launch.command_line([*more, "-dd"], flavour="plain")
    said = target.parent / "said"
    words = [os.fsdecode(each) for each in command]
    sets = [f"{name}={value}" for name, value in environment.items() if "=" not in name]
    script = f'exec 2>"{said}"\n{_RUNNING}'
    code, device = in_private(script, disk.path, target, "env", *sets, *words).split()
    return code, said.read_text().replace(device, "DISK")


def test_a_running_system_is_cloned_with_what_other_mounts_hide(original: Disk, on_tmpfs: Path) -> None:
    disk = original.copied(on_tmpfs / "a.img")
    code, said = running(disk, on_tmpfs / "b.img")
    assert code == "0", said
    assert "DISK:root:/: it is in use" in said
    assert "this is no snapshot" in said
    clone = original.found_at(on_tmpfs / "b.img")
    assert clone.changed("root", 'cat "$1/new" "$1/run/hidden"; ls "$1/home"') == "new\nunder\n"
    assert clone.changed("home", 'cat "$1/user/file" "$1/before/file"') == "home\nhome\n"
    assert not disks.differences(disk, clone, "root")
    assert subprocess.run(["e2fsck", "-fn", clone.taken_out("root", on_tmpfs / "x")]).returncode == 0


def test_a_clone_into_the_running_system_does_not_hold_itself(on_tmpfs: Path) -> None:
    """Neither what is made of it by then nor the image whose place it takes."""
    disk = Disk(on_tmpfs / "a.img", (Part("root", 1, MIB, 400 * MIB, "ext4", tables.LINUX, "root", mkfs=_EXT4),))
    disks.assemble(disk, {}, 'head -c 8M /dev/urandom >"$room"/root/file; mkdir "$room"/root/images')
    inside = '"$room/system/images/b.img"'
    script = f"""
    disk=$(losetup --find --show "$1"); name=${{disk#/dev/}}
    undo() {{
        umount "$room/system" 2>/dev/null
        delpart "$disk" 1
        losetup -d "$disk"
        rm -f "$disk"p?
    }}
    trap 'undo; cd /; umount -R "$room" 2>/dev/null; rmdir "$room"' EXIT
    addpart "$disk" 1 2048 819200
    [ -e "${{disk}}p1" ] || mknod "${{disk}}p1" b $(tr : ' ' <"/sys/block/$name/${{name}}p1/dev")
    mkdir "$room/system"
    mount -t ext4 "${{disk}}p1" "$room/system"
    head -c 50M /dev/urandom >{inside}
    "${{@:3}}" "$disk" -di {inside} --yes >&2
    cp --sparse=always {inside} "$2"
    """
    command, environment = launch.command_line(["-dd"], flavour="plain")
    sets = [f"{name}={value}" for name, value in environment.items() if "=" not in name]
    in_private(script, disk.path, on_tmpfs / "b.img", "env", *sets, *map(os.fsdecode, command))
    clone = disk.found_at(on_tmpfs / "b.img")
    assert clone.changed("root", 'cd "$1"; find . -type f') == "./file\n"


def test_no_blocks_of_a_mounted_partition_are_copied(original: Disk, on_tmpfs: Path) -> None:
    code, said = running(original.copied(on_tmpfs / "a.img"), on_tmpfs / "b.img", "--raw", "root")
    assert code == "1"
    assert "partition 1 (root): ext4 is mounted, and is copied block by block" in said
    assert not (on_tmpfs / "b.img").exists()


def test_a_disk_whose_table_the_kernel_has_not_read_is_refused(original: Disk, on_tmpfs: Path) -> None:
    """What is mounted of it is not what its table says: the files of one would go into the place of another."""
    disk = original.copied(on_tmpfs / "a.img")
    subprocess.run(["sfdisk", "-q", "-N", "3", disk.path], input=b"size=1024\n", check=True)
    code, said = running(disk, on_tmpfs / "b.img")
    assert code == "1"
    assert "the kernel has partition 3 (raw) of DISK elsewhere than its table" in said
    assert not (on_tmpfs / "b.img").exists()


@pytest.mark.parametrize("writable", [True, False] if TO_THE_END else [True])
def test_a_run_that_was_ended_is_gone_on_with(original: Disk, on_tmpfs: Path, writable: bool) -> None:
    """The second one compares what is complete; a btrfs with subvolumes that are read-only is made again."""
    disk = original.copied(on_tmpfs / "a.img")
    if writable:
        disk.changed("home", 'btrfs property set -ts "$1/before" ro false')
    args = ["-dd", disk.path, "-di", on_tmpfs / "b.img", "-L", "8M"]
    with launch.start(args, flavour="plain") as ended:
        ended.wait_for("partition 4 .last.: ext4", 60)
        ended.signal(signal.SIGTERM)
        done = ended.finish(30)
    assert done.returncode == 75, done.stderr
    (kept,) = set(os.listdir(on_tmpfs)) - {"a.img"}
    assert f"{kept}: what is made of the clone by now" in done.stderr
    done = cloning(disk.path, "-di", on_tmpfs / "b.img")
    assert done.returncode == 0, done.stderr
    assert "partition 1 root: an earlier run had made it: compared" in done.stdout
    assert ("partition 2 home: an earlier run had made it: compared" in done.stdout) == writable
    assert sorted(os.listdir(on_tmpfs)) == ["a.img", "b.img"]
    clone = disk.found_at(on_tmpfs / "b.img")
    for key in disk.mountable:
        assert not disks.differences(disk, clone, key)
    assert clone.changed("home", 'btrfs subvolume get-default "$1"').endswith("path user\n")
