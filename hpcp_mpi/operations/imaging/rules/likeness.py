"""Clones of file systems: how one is made like another, how small it may be, and in what two differ. Pure."""

import re
from dataclasses import replace

from hpcp_mpi.operations.imaging.rules import btrfs, ext, xfs
from hpcp_mpi.operations.imaging.rules.geometry import Geometry
from hpcp_mpi.operations.imaging.rules.sizes import smallest
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need

EXT = ("ext2", "ext3", "ext4")
BY_FILES = (*EXT, "xfs", "btrfs")  # types of which a clone is made anew, and its files are copied

# Of each type what is a count, a time or a place, or follows from the size: clones may differ in it.
_COUNTS = {
    "ext": re.compile(
        r"(Inode count|Block count|Reserved block count|Overhead (clusters|blocks)|Free (blocks|inodes)"
        r"|Inodes per group|Inode blocks per group|Reserved GDT blocks|Filesystem created|Last (mount|write) time"
        r"|Mount count|Next check after|Last checked|Lifetime writes"
        r"|Journal (sequence|start|inode|users|device)|MMP block number"
        r"|.* inode|Checksum( seed)?|Journal checksum.*|Filesystem state|Total journal .*|Max transaction length"
        r"|Fast commit length|First meta block group|First orphan inode|Journal features|Journal size"
        r"|Backup block groups)"
    ),
    "xfs": re.compile(r"(meta-data\.ag(count|size)|data\.(blocks|sunit|swidth|imaxpct)|log\.(blocks|sunit|sectsz))"),
    "btrfs": re.compile(
        r"(superblock: .*|csum|bytenr|flags|metadata_uuid|generation|root|sys_array_size|chunk_root.*|root_level"
        r"|log_root.*|total_bytes|bytes_used|cache_generation|uuid_tree_generation|dev_item\..*|label|block_group_root.*"
        r"|compat_flags|incompat_flags|fsid|system profile|leafsize.*|backup.*)"
    ),
}
_FEATURES = "Filesystem features"
_LARGE = {"large_file"}  # Linux sets it when a file gets big


def parsed(type: str, text: str, label: bytes, uuid: str) -> Geometry:
    """Return the geometry that the tool of a type prints. Raises FatalError."""
    if type in EXT:
        return ext.parse_ext(type, text, label, uuid)
    return (xfs.parse_xfs if type == "xfs" else btrfs.parse_btrfs)(text, label, uuid)


def made_like(geometry: Geometry, size: int, need: Need, uuid_now: bool = False) -> MakeFileSystem:
    """Return the file system of size bytes that is made as this one was. Raises FatalError.

    uuid_now: of btrfs its UUID, too, and not when all is copied
    """
    if geometry.type in EXT:
        made = ext.made_like(geometry, size, need)
    elif geometry.type == "xfs":
        made = xfs.made_like(geometry, size, need)
    else:
        made = btrfs.made_like(geometry, size, need, uuid_now)
    return replace(made, held=size >= geometry.size and need.data <= geometry.size)


def made_plain(geometry: Geometry, size: int, need: Need, uuid_now: bool = False) -> MakeFileSystem:
    """Return the file system of size bytes with the defaults of mkfs, but the label and UUID of this one."""
    words: tuple[str, ...] = ("-L", geometry.label_word) if geometry.label else ()
    finish: tuple[tuple[str, ...], ...] = ()
    if geometry.uuid and geometry.type == "btrfs" and not uuid_now:
        finish = (("btrfstune", "-f", "-U", geometry.uuid),)
    elif geometry.uuid:
        words += ("-m", f"uuid={geometry.uuid}") if geometry.type == "xfs" else ("-U", geometry.uuid)
    inodes = 0
    if geometry.type in EXT and 16 * (need.inodes + need.inodes // 20) > size // 1024:
        inodes = need.inodes + need.inodes // 20 + 16
        words += ("-N", str(inodes))
    return MakeFileSystem(geometry.type, size, words, inodes=inodes, finish=finish)


def smallest_like(geometry: Geometry, need: Need) -> int:
    """Return the bytes that such a file system needs for a tree at least: not more than the one that holds it has."""
    if geometry.type in EXT:
        least = ext.smallest_like(geometry, need)
    elif geometry.type == "xfs":
        least = xfs.smallest_like(geometry, need)
    else:
        least = btrfs.smallest_like(geometry, need)
    return min(least, geometry.size) if need.data <= geometry.size else least


def smallest_plain(geometry: Geometry, need: Need) -> int:
    """Return the same of one with the defaults of mkfs."""
    return smallest("ext4" if geometry.type in EXT else geometry.type, need).bytes


def differences(one: Geometry, other: Geometry) -> list[str]:
    """Return in what two file systems differ but for counts, times and places, as `name: one's, other's`."""
    counts = _COUNTS["ext" if one.type in EXT else one.type]
    mine, theirs = _comparable(one), _comparable(other)
    return [
        f"{name}: {mine.get(name, 'none')}, {theirs.get(name, 'none')}"
        for name in sorted(mine.keys() | theirs.keys())
        if not counts.fullmatch(name) and mine.get(name) != theirs.get(name)
    ]


def _comparable(geometry: Geometry) -> dict[str, str]:
    values = {**geometry.fields, "type": geometry.type, "label": repr(geometry.label), "uuid": geometry.uuid}
    if geometry.type in EXT:
        values[_FEATURES] = " ".join(each for each in ext.features_of(geometry) if each not in _LARGE)
        values["label "] = values.pop("label")
    elif geometry.type == "btrfs":
        values["incompat"] = hex(geometry.number("incompat_flags", 0) & btrfs.MADE)
        values["compat_ro"] = hex(geometry.number("compat_ro_flags", 0) & ~2)
        values.pop("compat_ro_flags", None)
        values["label "] = values.pop("label")
    return values
