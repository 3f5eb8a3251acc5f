"""The bytes of a GPT: whether it is whole, for the tools go on silently with what is left of a damaged one. Pure."""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

Reader = Callable[[int, int], bytes]  # offset and length in bytes; less is returned at the end

SIGNATURE = b"EFI PART"
MBR_END = b"\x55\xaa"
PROTECTIVE = 0xEE
_MBR_ENTRIES = 446
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_CRC_AT, _ENTRIES_CRC_AT = 16, 88  # in the header
_NAME_AT, _NAME = 56, 72  # in an entry
_MOST_ENTRIES = 1 << 22  # bytes: the usual table has 16 KiB. A size from a damaged header is not read


class State(Enum):
    """The state of the GPT of a disk."""

    NONE = "there is none"
    GOOD = "both copies are whole"
    NO_MBR = "its protective MBR is missing"
    PRIMARY_DAMAGED = "its first copy is damaged"
    BACKUP_DAMAGED = "its backup is damaged"
    CUT = "it reaches past the end"


@dataclass(frozen=True, slots=True)
class Gpt:
    """What the bytes say. end: the sector behind the last one that the table needs; past: the partition that is cut."""

    state: State
    end: int = 0
    past: int = 0
    past_end: int = 0  # the sector behind that partition
    at_end: bool = True  # the backup is in the last sector of the disk
    plain_mbr: bool = True  # nothing but one protective entry in the MBR, so it is no hybrid one


@dataclass(frozen=True, slots=True)
class _Header:
    block: bytes  # its sector
    size: int  # bytes of it that count
    alternate: int
    last: int
    entries_at: int  # sector
    entries: bytes
    entry_size: int


def mbr_types(first: bytes) -> list[int]:
    """Return the types of the MBR's four entries, 0 for an empty one; none where there is no MBR."""
    if first[510:512] != MBR_END:
        return []
    return [first[_MBR_ENTRIES + 16 * each + 4] for each in range(4)]


def sector_of(read: Reader) -> int:
    """Return the sector size that a GPT was written with; 0: there is no GPT where one would begin."""
    found = [size for size in (512, 4096) if read(size, 8) == SIGNATURE]
    # A disk that had another sector size before may hold both: the whole one counts.
    return next((size for size in found if _header(read, size, 1)), found[0] if found else 0)


def gpt_of(read: Reader, sector: int, sectors: int) -> Gpt:
    """Return the state of a GPT. sectors: how many the disk has."""
    types = mbr_types(read(0, 512))
    here = read(sector, 8) == SIGNATURE
    if PROTECTIVE not in types:
        return Gpt(State.NO_MBR if here and not any(types) else State.NONE)
    first = _header(read, sector, 1)
    plain = sorted(types) == [0, 0, 0, PROTECTIVE]
    if first is None:
        return Gpt(State.PRIMARY_DAMAGED, plain_mbr=plain)
    end = max(first.alternate, first.last) + 1
    if end > sectors:
        number, reach = _beyond(first, sectors)
        return Gpt(State.CUT, end, number, reach, plain_mbr=plain)
    state = State.GOOD if _header(read, sector, first.alternate) else State.BACKUP_DAMAGED
    return Gpt(state, end, at_end=first.alternate == sectors - 1, plain_mbr=plain)


def _header(read: Reader, sector: int, at: int) -> _Header | None:
    """Return the header in a sector with its entries; None where one of them is damaged."""
    block = read(at * sector, sector)
    if len(block) < _HEADER.size:
        return None
    found = _HEADER.unpack_from(block)
    signature, _, size, crc, _, mine, alternate, _, last, _, entries_at, count, entry, entries_crc = found
    if signature != SIGNATURE or mine != at or not _HEADER.size <= size <= sector:
        return None
    if zlib.crc32(block[:16] + bytes(4) + block[20:size]) != crc:
        return None
    if entry < 128 or not 0 < count * entry <= _MOST_ENTRIES:
        return None
    entries = read(entries_at * sector, count * entry)
    if len(entries) < count * entry or zlib.crc32(entries) != entries_crc:
        return None
    return _Header(block, size, alternate, last, entries_at, entries, entry)


def _beyond(header: _Header, sectors: int) -> tuple[int, int]:
    """Return number and end of the first partition that reaches past the end; 0 where none does."""
    for at in range(0, len(header.entries), header.entry_size):
        if any(header.entries[at : at + 16]):
            end = int.from_bytes(header.entries[at + 40 : at + 48], "little") + 1
            if end > sectors:
                return at // header.entry_size + 1, end
    return 0, 0


def with_names(read: Reader, sector: int, names: Mapping[int, str]) -> list[tuple[int, bytes]]:
    """Return what to write, as (offset, bytes), so that partitions of a GPT are called so; the backup comes first.

    sfdisk writes no name with characters beyond the first 65,536. Raises ValueError for a GPT that is not whole.
    """
    first = _header(read, sector, 1)
    second = _header(read, sector, first.alternate) if first is not None else None
    if first is None or second is None:
        raise ValueError("the GPT is not whole")
    return _renamed(second, first.alternate, sector, names) + _renamed(first, 1, sector, names)


def _renamed(header: _Header, at: int, sector: int, names: Mapping[int, str]) -> list[tuple[int, bytes]]:
    entries = bytearray(header.entries)
    for number, name in names.items():
        begin = (number - 1) * header.entry_size + _NAME_AT
        entries[begin : begin + _NAME] = name.encode("utf-16-le", "surrogatepass")[:_NAME].ljust(_NAME, b"\0")
    block = bytearray(header.block)
    struct.pack_into("<I", block, _ENTRIES_CRC_AT, zlib.crc32(entries))
    struct.pack_into("<I", block, _CRC_AT, 0)
    struct.pack_into("<I", block, _CRC_AT, zlib.crc32(block[: header.size]))
    return [(header.entries_at * sector, bytes(entries)), (at * sector, bytes(block))]
