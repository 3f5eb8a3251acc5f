"""What btrfs prints of a superblock and its chunks, as a Geometry; the words of mkfs.btrfs that make such a one. Pure.

Its UUID comes last, when all is copied and nothing is mounted: two mounted file systems of one are dangerous on kernels
before 6.7.
"""

import re

from hpcp_mpi.operations.imaging.rules.geometry import Geometry, once, unclear
from hpcp_mpi.operations.imaging.rules.sizes import btrfs_least
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need

# Flags that mkfs makes by the name of a feature.
_INCOMPAT = {
    0x40: "extref",
    0x100: "skinny-metadata",
    0x200: "no-holes",
    0x4: "mixed-bg",
    0x4000: "raid-stripe-tree",
    0x10000: "squota",
}
MADE = sum(_INCOMPAT)
# Flags that say what was used, that come by themselves, or that a clone does not have: mixed backrefs, default
# subvolume, LZO and ZSTD, big metadata, another UUID in the metadata.
_INCOMPAT_OTHERS = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x400
_FREE_SPACE_TREE, _FREE_SPACE_VALID, _VERITY, _BLOCK_GROUP_TREE = 1, 2, 4, 8
_CHUNK = re.compile(r"\btype ((?:DATA|METADATA|SYSTEM)(?:\|METADATA)?)(?:\|(\w+))?")
_CSUM = re.compile(r"\((\w+)\)")


def parse_btrfs(text: str, label: bytes = b"", uuid: str = "") -> Geometry:
    """Return the geometry of a btrfs. Raises FatalError.

    text: of `btrfs inspect-internal dump-super`, then `dump-tree -t chunk`. label, uuid: from the superblock itself
    """
    superblock, _, chunks = text.partition("\nchunk tree")
    lines = [line for line in superblock.split("\n") if line and not line[0].isspace()]
    pairs = [(name, value.strip()) for name, tab, value in (line.partition("\t") for line in lines) if tab]
    fields = once("btrfs", pairs)
    for kind in ("DATA", "METADATA", "SYSTEM"):
        profiles = sorted(
            {profile or "single" for found, profile in _CHUNK.findall(chunks) if kind in found.split("|")}
        )
        fields[f"{kind.lower()} profile"] = " ".join(each.lower() for each in profiles)
    geometry = Geometry("btrfs", 0, 0, fields, label, uuid)
    size, sector = geometry.number("total_bytes"), geometry.number("sectorsize")
    if sector < 512 or not size:
        raise unclear("btrfs", f"{size} bytes in sectors of {sector}")
    return Geometry("btrfs", size, sector, fields, label, uuid, _obstacle(geometry))


def _obstacle(geometry: Geometry) -> str:
    if geometry.number("num_devices") != 1:
        return "it has several devices"
    readable, incompatible = geometry.number("compat_ro_flags", 0), geometry.number("incompat_flags", 0)
    if readable & _VERITY:
        return "it holds files with fs-verity, which cannot be written"
    unknown = incompatible & ~(MADE | _INCOMPAT_OTHERS)
    unknown_ro = readable & ~(_FREE_SPACE_TREE | _FREE_SPACE_VALID | _BLOCK_GROUP_TREE)
    if unknown or unknown_ro:
        return f"it has features that are not known here (incompat {unknown:#x}, compat_ro {unknown_ro:#x})"
    for kind in ("data", "metadata"):
        profile = geometry.fields.get(f"{kind} profile", "")
        if " " in profile:
            return f"its {kind} has several profiles ({profile}): a balance was not finished"
        if profile not in ("single", "dup"):
            return f"its {kind} has the profile {profile or 'unknown'}, which is not for one device"
    return ""


def made_like(geometry: Geometry, size: int, need: Need, uuid_now: bool) -> MakeFileSystem:
    """Return the file system of size bytes that is made as this one was. uuid_now: its UUID, too, not at the end"""
    fields, flags = geometry.fields, geometry.number("incompat_flags")
    readable = geometry.number("compat_ro_flags", 0)
    checksum = _CSUM.search(fields.get("csum_type", ""))
    if checksum is None:
        raise unclear("btrfs", f"csum_type is {fields.get('csum_type', 'nothing')}")
    words = ["--nodesize", str(geometry.number("nodesize")), "--sectorsize", str(geometry.block)]
    words += ["--metadata", fields["metadata profile"], "--data", fields["data profile"]]
    optional: list[tuple[str, ...]] = [("--checksum", "crc32c")]
    if checksum[1] != "crc32c":
        optional = []
        words += ["--checksum", checksum[1].replace("xxhash64", "xxhash")]
    # With several -O the last one would count: each feature that is on is there in all alternatives.
    on = [name for flag, name in _INCOMPAT.items() if flags & flag]
    off = [f"^{name}" for flag, name in _INCOMPAT.items() if not flags & flag and flag in (0x40, 0x100, 0x200)]
    if readable & _BLOCK_GROUP_TREE:
        on.append("block-group-tree")
    tree = "free-space-tree" if readable & _FREE_SPACE_TREE else "^free-space-tree"
    features = ",".join([*on, *off])
    # Since 6.3 the tree is a feature as the others, before that one of its own kind.
    either = ((("-O", f"{features},{tree}"), ("-O", features, "-R", tree)),)
    if "mixed-bg" in on:
        words.append("--mixed")
    if geometry.label:
        words += ["--label", geometry.label_word]
    finish: tuple[tuple[str, ...], ...] = ()
    if geometry.uuid and uuid_now:
        words += ["--uuid", geometry.uuid]
    elif geometry.uuid:
        finish = (("btrfstune", "-f", "-U", geometry.uuid),)
    return MakeFileSystem("btrfs", size, tuple(words), optional=tuple(optional), either=either, finish=finish)


def smallest_like(geometry: Geometry, need: Need) -> int:
    """Return the bytes that such a file system needs for a tree at least."""
    return btrfs_least(need, geometry.fields["metadata profile"], geometry.fields["data profile"])
