"""What lies on a disk, in a partition or in an image file: signatures as blkid tells them, tables as sfdisk does.

The tools are not believed where they are silent: a GPT that is cut short is shown by sfdisk as an MBR, one whose first
copy is damaged is read from its backup. So its bytes are looked at first.
"""

import fcntl
import os
import re
import stat
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from hpcp_mpi.host.block import gpt, table_text
from hpcp_mpi.host.commands import answer_of
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Content, Table, is_extended
from hpcp_mpi.vocab.paths import in_one_line, printable

_BLKSSZGET: Final = 0x1268
_BLKGETSIZE64: Final = 0x80081272
_NOTHING, _SEVERAL = 2, 8  # exit codes of blkid -p
_SIGNATURES: Final = 128 << 10  # bytes: those of nearly all lie there
_ESCAPED = re.compile(r"\\|\^.|M-")  # blkid -o export writes it where a value is no plain ASCII

# What begins so is no raw image. Longest first where one begins as another does.
_PACKED: Final = (
    (0, b"QFI\xfb", "a qcow2 image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"KDMV", "a VMDK image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"COWD", "a VMDK image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"# Disk DescriptorFile", "a VMDK image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"vhdxfile", "a VHDX image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"conectix", "a VHD image", "Convert it first: qemu-img convert -f vpc -O raw IMAGE RAW"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"QED\0", "a QED image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"WithoutFreeSpace", "a Parallels image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"WithouFreSpacExt", "a Parallels image", "Convert it first: qemu-img convert -O raw IMAGE RAW"),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image", "Convert it first: simg2img IMAGE RAW"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it first: zstd -d IMAGE"),
    (0, b"\xfd7zXZ\0", "compressed with xz", "Unpack it first: xz -d -k IMAGE"),
    (0, b"\x1f\x8b\x08", "compressed with gzip", "Unpack it first: gzip -d -k IMAGE"),
    (0, b"BZh", "compressed with bzip2", "Unpack it first: bzip2 -d -k IMAGE"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "Unpack it first: lz4 -d IMAGE RAW"),
    (0, b"LZIP", "compressed with lzip", "Unpack it first: lzip -d -k IMAGE"),
    (0, b"PK\x03\x04", "a zip archive", "Unpack it first: unzip IMAGE"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first: 7z x IMAGE"),
    (257, b"ustar", "a tar archive", "Unpack it: tar -x -f IMAGE"),
)


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table, and what to know of it besides."""

    table: Table
    backup_damaged: bool = False
    hybrid: bool = False  # a GPT whose MBR holds more than one protective entry


def size_of(fd: int) -> int:
    """Return the bytes of a file or block device."""
    status = os.fstat(fd)
    if stat.S_ISBLK(status.st_mode):
        return int(struct.unpack("=Q", fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8)))[0])
    return status.st_size


def sector_of(fd: int) -> int:
    """Return the bytes of a sector of the table in a file or block device: 512 or 4096.

    Without a GPT it is the device's own; a file then has 512.
    """
    return gpt.sector_of(lambda offset, length: os.pread(fd, length, offset)) or own_sector(fd)


def own_sector(fd: int) -> int:
    """Return the bytes of a block device's logical sector; 512 of a file."""
    if not stat.S_ISBLK(os.fstat(fd).st_mode):
        return 512
    return int(struct.unpack("=i", fcntl.ioctl(fd, _BLKSSZGET, bytes(4)))[0])


def refuse_packed(fd: int, path: bytes) -> None:
    """Raise FatalError for an image in a form that no loop device can show: compressed, or that of a hypervisor."""
    begin = os.pread(fd, 512, 0)
    for offset, magic, what, remedy in _PACKED:
        if begin[offset : offset + len(magic)] == magic:
            raise FatalError(f"{printable(path)} is no raw image: it is {what}", remedy)


def content_of(device: bytes, descriptors: tuple[int, ...] = (), shown: bytes = b"") -> Content:
    """Return what the signatures of a device or file say. Raises FatalError.

    descriptors: those that its name means (/proc/self/fd/N). shown: what messages call it
    """
    shown = shown or device
    answer = answer_of(["blkid", "-p", "-o", "export", "--", device], descriptors=descriptors)
    if answer.code == _SEVERAL:
        return Content(several=True)
    if answer.code == _NOTHING:
        _refuse_unreadable(device, shown)
        return Content()
    if answer.code:
        raise _unreadable(shown, in_one_line(answer.words))
    values = dict(
        line.split("=", 1) for line in answer.output.decode("utf-8", "surrogateescape").splitlines() if "=" in line
    )
    for name in ("LABEL", "PART_ENTRY_NAME"):
        if _ESCAPED.search(values.get(name, "")):
            values[name] = _exactly(device, name, descriptors)
    return Content(
        type=values.get("TYPE", ""),
        usage=values.get("USAGE", ""),
        label=values.get("LABEL", ""),
        uuid=values.get("UUID", ""),
        values=values,
    )


def _refuse_unreadable(device: bytes, shown: bytes) -> None:
    """Raise FatalError where signatures would lie and cannot be read: blkid finds nothing then, and says nothing."""
    try:
        with open(device, "rb", buffering=0) as file:
            while file.tell() < _SIGNATURES and file.read(_SIGNATURES):
                pass
    except OSError as error:
        raise _unreadable(shown, os.strerror(error.errno or 0)) from error


def _unreadable(shown: bytes, reason: str) -> FatalError:
    return FatalError(f"{printable(shown)} cannot be looked at: {reason}", "See whether the disk has errors: dmesg.")


def _exactly(device: bytes, name: str, descriptors: tuple[int, ...]) -> str:
    arguments: list[bytes | str] = ["blkid", "-p", "-o", "value", "-s", name, "--", device]
    return answer_of(arguments, descriptors=descriptors).output.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def table_of(device: bytes, descriptors: tuple[int, ...] = (), shown: bytes = b"") -> Table | None:
    """Return the partition table of a device or file, as found_table() does."""
    found = found_table(device, descriptors, shown)
    return found.table if found is not None else None


def found_table(device: bytes, descriptors: tuple[int, ...] = (), shown: bytes = b"") -> FoundTable | None:
    """Return the partition table of a device or file; None where it is not partitioned.

    A device has the sector size of the table (sector_of); a file with sectors of 4096 is attached to a loop device
    first. descriptors: those that its name means (/proc/self/fd/N). shown: what messages call it. Raises FatalError for
    a damaged table, one that reaches past the end, and one of a kind that is not known.
    """
    shown = shown or device
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    with closing(os.fdopen(fd, "rb", buffering=0)):
        sector, sectors = own_sector(fd), size_of(fd) // own_sector(fd)
        if sector_of(fd) != sector:
            raise FatalError(
                f"{printable(shown)} has a table with sectors of {sector_of(fd)} bytes, and is read with {sector}",
                "Attach it with that sector size: losetup --sector-size.",
            )
        state = gpt.gpt_of(lambda offset, length: os.pread(fd, length, offset), sector, sectors)
    content = content_of(device, descriptors, shown)
    _refuse_damaged(state, content, shown, sector, sectors)
    if content.usage == "filesystem" and (content.type in ("iso9660", "udf") or "PTTYPE" not in content.values):
        return None  # a boot sector or a hybrid ISO looks like an MBR
    if content.type and "PTTYPE" not in content.values:
        return None
    table = _listed(device, descriptors, shown, sector)
    if table is None:
        return None
    refuse_wrong(table, sectors, shown)
    return FoundTable(table, state.state is gpt.State.BACKUP_DAMAGED, not state.plain_mbr)


def _refuse_damaged(found: gpt.Gpt, content: Content, shown: bytes, sector: int, sectors: int) -> None:
    name = printable(shown)
    if found.state is gpt.State.CUT:
        what, end = (f"partition {found.past}", found.past_end) if found.past else ("its partition table", found.end)
        raise FatalError(
            f"{name} is cut short: {what} ends at byte {end * sector:,}, and there are {sectors * sector:,} bytes",
            "Copy the image again, whole.",
        )
    if found.state is gpt.State.PRIMARY_DAMAGED:
        raise FatalError(
            f"{name} has a damaged partition table: the first copy of its GPT is not what it was",
            "Look at it with gdisk, which can write it anew from its backup (r, then b); of an image try a copy.",
        )
    if found.state is gpt.State.NO_MBR and not content.type:
        raise FatalError(
            f"{name} has a damaged partition table: a GPT without its protective MBR",
            "gdisk writes it anew (w); of an image try a copy.",
        )


def _listed(device: bytes, descriptors: tuple[int, ...], shown: bytes, sector: int) -> Table | None:
    """Return the table that sfdisk reads; None where it finds none."""
    answer = answer_of(["sfdisk", "--json", device], descriptors=descriptors)
    if answer.code:
        if b"does not contain a recognized partition table" in answer.errors:
            return None
        raise FatalError(
            f"the partition table of {printable(shown)} cannot be read: {in_one_line(answer.words)}",
            "See whether the disk has errors: dmesg.",
        )
    try:
        table = table_text.parse(answer.output, sector)
    except ValueError as error:
        raise FatalError(
            f"the partition table of {printable(shown)} is not understood: {in_one_line(str(error))}",
            "See what sfdisk --json says of it.",
        ) from error
    if table.label not in table_text.LABELS:
        raise FatalError(
            f"{printable(shown)} has a partition table of kind {in_one_line(table.label)}",
            "Only GPT and MBR are known.",
        )
    return table


def refuse_wrong(table: Table, sectors: int, shown: bytes) -> None:
    """Raise FatalError for partitions that reach past the end, or lie on each other."""
    name, before = printable(shown), None
    for each in sorted(table.partitions, key=lambda each: (each.start, each.end)):
        if is_extended(table, each):
            continue
        if each.start < 1 or each.size < 1:
            raise FatalError(f"{name}: partition {each.number} is no range of sectors", "The table is damaged.")
        if each.end > sectors:
            raise FatalError(
                f"{name} is cut short: partition {each.number} ends at byte {each.end * table.sector:,}, "
                f"and there are {sectors * table.sector:,} bytes",
                "Copy the image again, whole.",
            )
        if before is not None and each.start < before.end:
            raise FatalError(
                f"{name}: the partitions {before.number} and {each.number} lie on each other",
                "The table is damaged, or made by hand; see sfdisk -d.",
            )
        before = each
