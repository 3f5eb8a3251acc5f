"""Disks that boot: GRUB, a kernel of Debian and an initial RAM disk that prints a line of the root file system.

disk = bootable.make("bios-gpt", place, "a line")         # also "bios-dos" and "uefi"
bootable.printed(disk.path, "bios-gpt")                   # boots it in qemu: what came on the serial line

GRUB finds its configuration, the kernel and the root by the file system's UUID, as those of distributions do. It is put
on the disk as grub-install would do it, which wants devices for the partitions.
"""

from __future__ import annotations

import functools
import gzip
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.support.disks import MIB, Disk, Part, assemble
from tests.support.tables import BIOS_BOOT, ESP, LINUX, SWAP

KINDS = ("bios-gpt", "bios-dos", "uefi")
COMMANDS = ("qemu-system-x86_64", "grub-mkimage", "busybox", "sfdisk", "mkfs.vfat", "mcopy", "mkfs.xfs")
LINE_FILE = "etc/line"  # of the root
SECONDS = 60  # a boot at most
_ROOT_UUID = "7e57d15c-0000-4000-8000-00000000b007"
_GRUB = Path("/usr/lib/grub")
_FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE.fd")
_MODULES = ("part_gpt", "part_msdos", "ext2", "xfs", "search_fs_uuid", "normal", "linux", "configfile")
_PARAMETERS = "console=ttyS0 panic=-1 nokaslr mitigations=off tsc=reliable"
_EXT4 = ("mkfs.ext4", "-q", "-F", "-U", _ROOT_UUID, "-L", "root")
_XFS = ("mkfs.xfs", "-q", "-m", f"uuid={_ROOT_UUID}")
_SWAP = Part("swap", 2, 100 * MIB, 8 * MIB, "swap", SWAP, mkfs=("mkswap", "-q"))
_PARTS: Mapping[str, tuple[Part, ...]] = {
    "bios-gpt": (
        Part("bios", 1, MIB, MIB, "", BIOS_BOOT),
        replace(_SWAP, start=2 * MIB),
        Part("root", 3, 10 * MIB, 150 * MIB, "ext4", LINUX, "root", mkfs=_EXT4),
    ),
    "bios-dos": (
        Part("root", 1, MIB, 150 * MIB, "ext4", "83", attributes=1, mkfs=_EXT4),
        replace(_SWAP, number=5, start=152 * MIB, gpt_type="82"),
    ),
    "uefi": (
        Part("esp", 1, MIB, 40 * MIB, "vfat", ESP, mkfs=("mkfs.vfat", "-F", "32")),
        Part("root", 2, 41 * MIB, 320 * MIB, "xfs", LINUX, "root", mkfs=_XFS),
    ),
}
_INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
for module in MODULES; do /bin/busybox insmod /$module; done
for device in /dev/vda?; do /bin/busybox mount -t TYPE -o ro $device /root && break; done 2>/dev/null
echo "LINE: $(/bin/busybox cat /root/{LINE_FILE})" >/dev/ttyS0
exec /bin/busybox reboot -f
"""


def missing() -> str:
    """What is not there of what boots; "" if all is."""
    files = (_GRUB / "i386-pc/boot.img", _GRUB / "x86_64-efi/linux.mod", _FIRMWARE)
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    absent += [str(file) for file in files if not file.exists()]
    absent += [] if _kernels() else ["a kernel of Debian in /boot"]
    return f"not installed: {' '.join(absent)}" if absent else ""


@functools.cache
def accelerated() -> bool:
    """Whether the processor runs the guest, not a program: that takes several times as long.

    A virtual machine may have /dev/kvm and be too slow with it. So it is tried: the kernel must miss its root.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [*_qemu("kvm"), "-kernel", str(_kernels()[-1][1]), "-append", _PARAMETERS]
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=2.5)
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root" in ended.stdout


def make(kind: str, place: Path, line: str) -> Disk:
    """Make a disk of one of KINDS in the directory, whose root file system has a file with this line."""
    disk = Disk(place / f"{kind}.img", _PARTS[kind])
    root = place / "root"
    (root / "boot/grub").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / LINE_FILE).write_text(line + "\n")
    old = "" if kind == "uefi" else "16"  # twice as fast where a program plays the processor
    (root / "boot/grub/grub.cfg").write_text(
        f"linux{old} ($root)/boot/vmlinuz {_PARAMETERS} quiet\ninitrd{old} ($root)/boot/initrd\nboot\n"
    )
    version, kernel = _kernels()[-1]
    shutil.copyfile(kernel, root / "boot/vmlinuz")
    (root / "boot/initrd").write_bytes(_initial_ram_disk(place / "initial", version, disk["root"].type))
    core = _grub(place, "x86_64-efi" if kind == "uefi" else "i386-pc")
    bios = kind != "uefi"
    code = _boot_code(core, disk["bios"].start // 512 if kind == "bios-gpt" else 1) if bios else {}
    efi = b"" if bios else core
    # The content of the BIOS boot partition is of `code`, which assemble() would overwrite.
    assemble(disk, {}, 'cp -a "$1/." "$room/root/"', root, efi=efi)
    with open(disk.path, "r+b") as file:
        for offset, data in code.items():
            os.pwrite(file.fileno(), data, offset)
    shutil.rmtree(root)
    return disk


def printed(path: Path, kind: str) -> str:
    """Boot an image, which stays as it is, and return what it prints on its serial line until it is done."""
    command: list[str | Path] = [*_qemu("kvm" if accelerated() else "tcg")]
    command += ["-drive", f"file={path},format=raw,if=virtio,snapshot=on"]
    command += ["-bios", _FIRMWARE] if kind == "uefi" else []
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
        said = ended.stdout + ended.stderr
    except subprocess.TimeoutExpired as expired:
        said = (expired.stdout or b"") + b"(It was ended after %d s.)" % SECONDS
    return said.decode(errors="replace")


def _qemu(accelerator: str) -> list[str]:
    command = ["qemu-system-x86_64", "-machine", "pc", "-accel", accelerator, "-m", "256", "-nodefaults"]
    return [*command, "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]


def _kernels() -> list[tuple[str, Path]]:
    """Version and file of each kernel that has its modules, the newest last."""
    found = [(file.name.removeprefix("vmlinuz-"), file) for file in sorted(Path("/boot").glob("vmlinuz-*-amd64"))]
    return [(version, file) for version, file in found if Path("/lib/modules", version).is_dir()]


def _initial_ram_disk(room: Path, version: str, type: str) -> bytes:
    room.mkdir()
    wanted = ["virtio_pci", "virtio_blk", *([type] if type != "ext4" else [])]
    names = []
    for module in _in_order(version, wanted):
        shutil.copyfile(module, room / module.name)
        names.append(module.name)
    init = room / "init"
    init.write_text(_INIT.replace("MODULES", " ".join(names)).replace("TYPE", type))
    init.chmod(0o755)
    for directory in ("bin", "dev", "proc", "root"):
        (room / directory).mkdir(exist_ok=True)
    shutil.copy(str(shutil.which("busybox")), room / "bin/busybox")
    listing = "\n".join(str(path.relative_to(room)) for path in sorted(room.rglob("*")))
    archive = subprocess.run(
        ["busybox", "cpio", "-o", "-H", "newc"], cwd=room, input=listing.encode(), capture_output=True, check=True
    )
    shutil.rmtree(room)
    return gzip.compress(archive.stdout, 1)


def _in_order(version: str, names: list[str]) -> list[Path]:
    """The modules and those that they need, which come first."""
    home = Path("/lib/modules", version)
    needs: dict[str, list[str]] = {}
    for line in (home / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    paths = {Path(module).name.split(".ko")[0]: module for module in needs}
    found: dict[str, None] = {}
    for name in names:
        if name in paths:  # others are in the kernel
            found.update(dict.fromkeys([*reversed(needs[paths[name]]), paths[name]]))
    return [home / module for module in found]


def _grub(place: Path, target: str) -> bytes:
    made, settings = place / "core", place / "settings"
    settings.write_text(f"search.fs_uuid {_ROOT_UUID} root\nset prefix=($root)/boot/grub\n")
    more = ("biosdisk", "linux16") if target == "i386-pc" else ()
    command = ["grub-mkimage", "-O", target, "-o", str(made), "-p", "/boot/grub", "-c", str(settings), *_MODULES, *more]
    subprocess.run(command, check=True, capture_output=True)
    settings.unlink()
    core = made.read_bytes()
    made.unlink()
    return core


def _boot_code(core: bytes, sector: int) -> dict[int, bytes]:
    """What boot.img in sector 0 and core.img from that sector on must say: each knows where the next one is."""
    boot = bytearray((_GRUB / "i386-pc/boot.img").read_bytes()[:440])
    boot[0x5C:0x64] = sector.to_bytes(8, "little")
    boot[0x66:0x68] = b"\x90\x90"  # trusts the drive that the BIOS names, as it is a disk
    first = bytearray(core[:512])
    first[0x1F4:0x1FC] = (sector + 1).to_bytes(8, "little")
    return {0: bytes(boot), 512 * sector: bytes(first) + core[512:]}
