"""Partition tables written by hand, sound ones and damaged ones that no tool would write.

write_gpt(path, [Entry(4, start=2048, size=4096, type=LINUX, name='a "b"')])       # sectors; the file has its size
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
_HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
_PROTECTIVE = struct.Struct("<446x B3s B3s I I 48x H")


@dataclass(frozen=True)
class Entry:
    """One partition of a GPT. start and size are sectors."""

    number: int
    start: int
    size: int
    type: str = LINUX
    name: str = ""
    uuid: str = ""  # made of the number if it is not given
    attributes: int = 0  # 64 bits

    def packed(self) -> bytes:
        guid = uuid.UUID(self.uuid) if self.uuid else uuid.UUID(int=0x7E57 << 112 | self.number)
        last = self.start + self.size - 1
        name = self.name.encode("utf-16-le")
        return struct.pack(
            "<16s16sQQQ72s", uuid.UUID(self.type).bytes_le, guid.bytes_le, self.start, last, self.attributes, name
        )


def write_gpt(
    path: Path,
    entries: Sequence[Entry],
    *,
    sector: int = 512,
    disk: str = "7E57D15C-0000-4000-8000-00000000D15C",
    length: int = 128,
    sectors: int | None = None,
) -> None:
    """Write both copies of a GPT and the protective MBR. sectors: of the disk, if the file should look cut short

    Nothing is checked: partitions may overlap and lie anywhere.
    """
    sectors = path.stat().st_size // sector if sectors is None else sectors
    table = bytearray(128 * length)
    for entry in entries:
        table[128 * (entry.number - 1) : 128 * entry.number] = entry.packed()
    table_sectors = -(-len(table) // sector)
    first, last = 2 + table_sectors, sectors - 2 - table_sectors

    def header(mine: int, other: int, of_table: int) -> bytes:
        guid = uuid.UUID(disk).bytes_le
        fields = (mine, other, first, last, guid, of_table, length, 128, zlib.crc32(table))
        plain = _HEADER.pack(b"EFI PART", b"\0\0\1\0", 92, 0, 0, *fields)
        return plain[:16] + struct.pack("<I", zlib.crc32(plain)) + plain[20:]

    protective = _PROTECTIVE.pack(0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF), 0xAA55)
    size = path.stat().st_size
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        pieces = (
            (446, protective[446:]),
            (sector, header(1, sectors - 1, 2)),
            (2 * sector, bytes(table)),
            ((sectors - 1 - table_sectors) * sector, bytes(table)),
            ((sectors - 1) * sector, header(sectors - 1, 1, sectors - 1 - table_sectors)),
        )
        for offset, data in pieces:
            if offset + len(data) <= size:
                os.pwrite(file, data, offset)
    finally:
        os.close(file)


def read_gpt(path: Path, sector: int) -> dict[int, tuple[int, int]]:
    """Start and size, in sectors, of each partition by number."""
    with open(path, "rb") as file:
        file.seek(sector)
        assert file.read(8) == b"EFI PART"
        file.seek(2 * sector)
        entries = [file.read(128) for _ in range(128)]
    found = {}
    for number, entry in enumerate(entries, 1):
        if entry[:16].strip(b"\0"):
            first, last = struct.unpack_from("<QQ", entry, 32)
            found[number] = (first, last - first + 1)
    return found
