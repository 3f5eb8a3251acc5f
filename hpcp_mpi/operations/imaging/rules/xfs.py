"""What xfs_info prints, as a Geometry; the words of mkfs.xfs that make such a file system again. Pure."""

import re

from hpcp_mpi.operations.imaging.rules.geometry import MIB, Geometry, once, unclear
from hpcp_mpi.operations.imaging.rules.sizes import xfs_least
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need

_SECTION = re.compile(r"^(\w[\w-]*)? *=(.*)$")
_PAIR = re.compile(r"([\w-]+)=(\S+?)(?=,|\s|$)")
# A feature: its section in xfs_info, its name there; the option of mkfs.xfs and its name there.
_FEATURES = (
    ("meta-data", "finobt", "-m", "finobt"),
    ("meta-data", "rmapbt", "-m", "rmapbt"),
    ("meta-data", "reflink", "-m", "reflink"),
    ("meta-data", "inobtcount", "-m", "inobtcount"),
    ("meta-data", "bigtime", "-m", "bigtime"),
    ("meta-data", "sparse", "-i", "sparse"),
    ("meta-data", "nrext64", "-i", "nrext64"),
    ("meta-data", "exchange", "-i", "exchange"),
    ("meta-data", "metadir", "-m", "metadir"),
    ("naming", "parent", "-n", "parent"),
)
# Of file systems before checksums; those with them have all of these.
_OLD = (("meta-data", "attr", "-i", "attr"), ("meta-data", "projid32bit", "-i", "projid32bit"))
# What is printed of each and is no feature, or one that is treated by itself.
_KNOWN = {
    "meta-data": {"isize", "agcount", "agsize", "sectsz", "attr", "projid32bit", "crc"},
    "data": {"bsize", "blocks", "imaxpct", "sunit", "swidth"},
    "naming": {"version", "bsize", "ascii-ci", "ftype"},
    "log": {"bsize", "blocks", "version", "sectsz", "sunit", "lazy-count"},
    "realtime": {"extsz", "blocks", "rtextents", "rgcount", "rgsize", "zoned", "start", "reserved"},
}
_LEAST = 300 * MIB


def parse_xfs(text: str, label: bytes = b"", uuid: str = "") -> Geometry:
    """Return the geometry of an xfs; fields are called section.name. Raises FatalError.

    label, uuid: from the superblock, as xfs_info prints neither
    """
    pairs: list[tuple[str, str]] = []
    section = ""
    for line in text.split("\n"):
        match = _SECTION.match(line)
        if match is None:
            continue
        if match[1]:
            section = match[1]
        rest = match[2].strip()
        if match[1] and section in ("naming", "log", "realtime"):
            word, _, version = rest.partition(" ")
            pairs.append((f"{section}.kind", word))
            rest = version if section != "naming" else "version=" + version.strip()
        elif match[1] == "meta-data":
            rest = rest[rest.rfind("isize=") :]  # what comes before is the device's name
        pairs += ((f"{section}.{name}", value) for name, value in _PAIR.findall(rest))
    fields = once("xfs", pairs)
    geometry = Geometry("xfs", 0, 0, fields, label, uuid)
    block, blocks = geometry.number("data.bsize"), geometry.number("data.blocks")
    if block < 512 or not blocks:
        raise unclear("xfs", f"{blocks} blocks of {block} bytes")
    return Geometry("xfs", block * blocks, block, fields, label, uuid, _obstacle(geometry, block * blocks))


def _obstacle(geometry: Geometry, size: int) -> str:
    fields = geometry.fields
    if fields.get("log.kind") != "internal":
        return "its log is on another device"
    if fields.get("realtime.kind") != "none":
        return "it has a realtime section"
    for name, value in fields.items():
        section, _, word = name.partition(".")
        known = (
            word == "kind" or word in _KNOWN.get(section, ()) or any(each[:2] == (section, word) for each in _FEATURES)
        )
        if not known and value != "0":
            return f"it has the feature {word}={value}, which is not known here"
    if size < _LEAST:
        return "it is smaller than mkfs.xfs makes any"
    return ""


def made_like(geometry: Geometry, size: int, need: Need) -> MakeFileSystem:
    """Return the file system of size bytes that is made as this one was. How it is divided, and its log, are mkfs's."""
    number = geometry.number
    checksums = number("meta-data.crc", 0)
    words = ["-b", f"size={geometry.block}", "-s", f"size={number('meta-data.sectsz')}", "-m", f"crc={checksums}"]
    words += ["-i", f"size={number('meta-data.isize')}", "-i", f"maxpct={_percent(geometry, size, need)}"]
    words += ["-n", "version=ci" if number("naming.ascii-ci", 0) else f"version={number('naming.version', 2)}"]
    words += ["-n", f"size={number('naming.bsize')}"]
    optional: list[tuple[str, ...]] = []
    if not checksums:
        words += ["-n", f"ftype={number('naming.ftype', 0)}"]
        words += [word for section, name, option, key in _OLD for word in _given(geometry, section, name, option, key)]
        words += ["-l", f"version={number('log.version', 2)},lazy-count={number('log.lazy-count', 0)}"]
    else:
        for section, name, option, key in _FEATURES:
            given = _given(geometry, section, name, option, key)
            if number(f"{section}.{name}", 0):
                words += given
            else:  # a mkfs that does not know it makes none
                optional.append((option, f"{key}=0"))
    unit, width = (number(f"data.{name}", 0) * geometry.block // 512 for name in ("sunit", "swidth"))
    if unit and width:  # not on every device
        optional.append(("-d", f"sunit={unit},swidth={width}"))
    if geometry.label:
        words += ["-L", geometry.label_word]
    if geometry.uuid:
        words += ["-m", f"uuid={geometry.uuid}"]
    return MakeFileSystem("xfs", size, tuple(words), optional=tuple(optional))


def _given(geometry: Geometry, section: str, name: str, option: str, key: str) -> list[str]:
    return [option, f"{key}={geometry.number(f'{section}.{name}', 0)}"]


def _percent(geometry: Geometry, size: int, need: Need) -> int:
    """Return how much of a clone may be inodes: as in the source, more if a smaller one needs it."""
    percent = geometry.number("data.imaxpct", 0)
    least = -(-need.inodes * geometry.number("meta-data.isize") * 105 // size)
    return percent if not percent or least <= percent else min(100, least)


def smallest_like(geometry: Geometry, need: Need) -> int:
    """Return the bytes that such a file system needs for a tree at least."""
    return xfs_least(need, geometry.number("meta-data.isize"), geometry.block)
