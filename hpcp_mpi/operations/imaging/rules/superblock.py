"""The superblocks of file systems: what a mount would not tell, or tell too late. Pure.

How far a file system reaches, whether its journal waits to be replayed, how many disks it lies on.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Reader = Callable[[int, int], bytes]  # offset and length in bytes; less is returned at the end

_EXT_AT = 1024
_EXT_MAGIC = 0xEF53
_EXT_VALID, _EXT_ERRORS = 1, 2  # s_state
_HAS_JOURNAL, _RECOVER, _64BIT = 4, 4, 0x80
_BTRFS_AT = 65536
_EROFS_AT = 1024
_EROFS_MAGIC = 0xE0F5E1E2
_ISO_AT = 32768


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a superblock says. bytes: that the file system takes; 0: not known."""

    bytes: int = 0
    replay: bool = False  # its journal was not replayed
    torn: bool = False  # it was not unmounted, and has no journal
    devices: int = 1  # that it lies on
    doubt: str = ""  # what is wrong with it, though it can be mounted


def superblock_of(kind: str, read: Reader) -> Superblock:
    """Return what a superblock says. kind: blkid's type; of an unknown one nothing is known"""
    parse = _PARSERS.get(kind)
    try:
        return parse(read) if parse is not None else Superblock()
    except (struct.error, OverflowError):  # cut short, or damaged: mounting says so
        return Superblock()


def _ext(read: Reader) -> Superblock:
    block = read(_EXT_AT, 1024)
    low, shift, magic, state, compatible, incompatible = (
        *struct.unpack_from("<I", block, 4),
        *struct.unpack_from("<I", block, 24),
        *struct.unpack_from("<HH", block, 56),
        *struct.unpack_from("<II", block, 92),
    )
    if magic != _EXT_MAGIC or shift > 6:
        return Superblock()
    high = struct.unpack_from("<I", block, 0x150)[0] if incompatible & _64BIT else 0
    replay = bool(incompatible & _RECOVER)
    torn = not state & _EXT_VALID and not compatible & _HAS_JOURNAL
    doubt = "the kernel has found errors in this file system before: see e2fsck -fn" if state & _EXT_ERRORS else ""
    return Superblock((high << 32 | low) * (1024 << shift), replay, torn, doubt=doubt)


def _xfs(read: Reader) -> Superblock:
    magic, size, blocks = struct.unpack(">4sIQ", read(0, 16))
    return Superblock(size * blocks) if magic == b"XFSB" else Superblock()


def _btrfs(read: Reader) -> Superblock:
    block = read(_BTRFS_AT, 4096)
    if block[0x40:0x48] != b"_BHRfS_M":
        return Superblock()
    log, size, devices = (struct.unpack_from("<Q", block, at)[0] for at in (0x60, 0x70, 0x88))
    # Of several devices it is the sum.
    return Superblock(size if devices == 1 else 0, log != 0, devices=devices)


def _squashfs(read: Reader) -> Superblock:
    block = read(0, 96)
    return Superblock(struct.unpack_from("<Q", block, 40)[0]) if block[:4] == b"hsqs" else Superblock()


def _erofs(read: Reader) -> Superblock:
    block = read(_EROFS_AT, 128)
    magic, shift, blocks = struct.unpack_from("<I8xB23xI", block)
    return Superblock(blocks << shift) if magic == _EROFS_MAGIC and shift <= 16 else Superblock()


def _iso9660(read: Reader) -> Superblock:
    block = read(_ISO_AT, 2048)
    blocks, size = (*struct.unpack_from("<I", block, 80), *struct.unpack_from("<H", block, 128))
    return Superblock(blocks * size) if block[:6] == b"\x01CD001" else Superblock()


_PARSERS: Mapping[str, Callable[[Reader], Superblock]] = {
    "ext2": _ext,
    "ext3": _ext,
    "ext4": _ext,
    "xfs": _xfs,
    "btrfs": _btrfs,
    "squashfs": _squashfs,
    "erofs": _erofs,
    "iso9660": _iso9660,
}
