"""What `dumpe2fs -h` prints, as a Geometry; the words of mke2fs and tune2fs that make such an ext again. Pure."""

import re
from dataclasses import replace

from hpcp_mpi.operations.imaging.rules.geometry import MIB, Geometry, once, unclear
from hpcp_mpi.operations.imaging.rules.sizes import ExtShape, ext_journal_of_mkfs, ext_least
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need
from hpcp_mpi.vocab.paths import in_one_line

# Features that a mounted or unclean file system has, and no mkfs makes.
_PASSING = {"needs_recovery", "orphan_present"}
_OBSTACLES = {
    "journal_dev": "it is the journal of another file system",
    "encrypt": "it may hold encrypted files, which have no names without their keys",
    "verity": "it may hold files with fs-verity, which cannot be written",
}
_MOUNT_OPTIONS = (
    *("debug", "bsdgroups", "user_xattr", "acl", "uid16", "nobarrier", "block_validity", "discard", "nodelalloc"),
    *("journal_data", "journal_data_ordered", "journal_data_writeback"),
)
_ERRORS = {"Continue": "continue", "Remount read-only": "remount-ro", "Panic": "panic"}
_QUOTAS = (("User", "usr"), ("Group", "grp"), ("Project", "prj"))
_NOTHING = ("", "<none>", "<not available>", "(none)", "n/a")
_DAY = 86400
# What becomes a word of a command, and which values it can have.
_WORDS = {
    "Default mount options": re.compile(rf"|\(none\)|(({'|'.join(_MOUNT_OPTIONS)})( |$))*"),
    "Default directory hash": re.compile(r"|legacy|half_md4|tea"),
    "Mount options": re.compile(r"[\w.,=:/+-]*|\(none\)"),
    "Filesystem features": re.compile(r"[\w ]*|\(none\)"),
    "Directory Hash Seed": re.compile(r"[0-9a-f-]*|<none>"),
    "Character encoding": re.compile(r"[\w.-]*"),
    "Character encoding flags": re.compile(r"[\w ]*|\(none\)"),
}


def parse_ext(type: str, text: str, label: bytes = b"", uuid: str = "") -> Geometry:
    """Return the geometry of an ext2, ext3 or ext4. Raises FatalError.

    label, uuid: from the superblock itself, as a label may hold anything
    """
    lines = text.split("\n")
    pairs = []
    for line in lines:
        if line == "MMP_block:":
            break
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            pairs.append((name, value.strip()))
    geometry = Geometry(type, 0, 0, once(type, pairs), label, uuid)
    block = geometry.number("Block size")
    blocks = geometry.number("Block count")
    if block < 1024 or block & (block - 1) or not blocks:
        raise unclear(type, f"{blocks} blocks of {block} bytes")
    for name, allowed in _WORDS.items():
        if not allowed.fullmatch(geometry.fields.get(name, "")):
            raise unclear(type, f"{name} is {in_one_line(geometry.fields[name])}")
    return replace(geometry, size=block * blocks, block=block, obstacle=_obstacle(geometry))


def features_of(geometry: Geometry) -> tuple[str, ...]:
    """Return the features that a clone is to have."""
    words = geometry.fields.get("Filesystem features", "").split()
    return tuple(each for each in words if each not in _PASSING and each not in _NOTHING)


def _obstacle(geometry: Geometry) -> str:
    features = features_of(geometry)
    for feature, why in _OBSTACLES.items():
        if feature in features:
            return why
    if "has_journal" in features and "Journal inode" not in geometry.fields:
        return "its journal is on another device"
    return ""


def made_like(geometry: Geometry, size: int, need: Need) -> MakeFileSystem:
    """Return the file system of size bytes that is made as this one was; its inodes are enough for a tree."""
    features = features_of(geometry)
    inodes = inodes_for(geometry, size, need)
    words = ["-b", str(geometry.block), "-I", str(geometry.number("Inode size", 128)), "-m", "0", "-N", str(inodes)]
    words += ["-O", ",".join(("none", *features))]
    if geometry.fields.get("Filesystem revision #", "").startswith("0"):
        words += ["-r", "0"]
    if "has_journal" in features:
        journal = f"size={_journal(geometry, size) // MIB}"
        fast = geometry.number("Fast commit length", 0) * geometry.block
        if "fast_commit" in features and fast >= 1024:
            journal += f",fast_commit_size={fast // 1024}"
        words += ["-J", journal]
    cluster = geometry.number("Cluster size", geometry.block)
    if "bigalloc" in features:
        words += ["-C", str(cluster)]
    elif geometry.number("Blocks per group") != 8 * geometry.block:
        words += ["-g", str(geometry.number("Blocks per group"))]
    if "flex_bg" in features and geometry.number("Flex block group size", 0):
        words += ["-G", str(geometry.number("Flex block group size"))]
    if geometry.fields.get("Errors behavior") in _ERRORS:
        words += ["-e", _ERRORS[geometry.fields["Errors behavior"]]]
    words += [word for value in _extended(geometry, features) for word in ("-E", value)]
    if geometry.label:
        words += ["-L", geometry.label_word]
    if geometry.uuid:
        words += ["-U", geometry.uuid]
    mounted = geometry.fields.get("Last mounted on", "")
    last = "" if mounted in _NOTHING else mounted
    return MakeFileSystem(
        geometry.type, size, tuple(words), _tuned(geometry, size), inodes, finish=(("tune2fs", "-M", last),)
    )


def _extended(geometry: Geometry, features: tuple[str, ...]) -> list[str]:
    fields, found = geometry.fields, []
    if fields.get("Directory Hash Seed", "") not in _NOTHING:
        found.append(f"hash_seed={fields['Directory Hash Seed']}")
    for name, word in (("RAID stride", "stride"), ("RAID stripe width", "stripe_width")):
        if geometry.number(name, 0):
            found.append(f"{word}={geometry.number(name)}")
    if "mmp" in features and "MMP update interval" in fields:
        found.append(f"mmp_update_interval={geometry.number('MMP update interval')}")
    if "casefold" in features and fields.get("Character encoding"):
        found.append(f"encoding={fields['Character encoding']}")
        if fields.get("Character encoding flags", "") not in _NOTHING:
            found.append(f"encoding_flags={fields['Character encoding flags']}")
    kinds = [word for name, word in _QUOTAS if f"{name} quota inode" in fields]
    if "quota" in features and kinds:
        found.append(f"quotatype={':'.join(kinds)}")
    if "sparse_super2" in features:
        found.append(f"num_backup_sb={len(fields.get('Backup block groups', '').split())}")
    return found


def _tuned(geometry: Geometry, size: int) -> tuple[tuple[str, ...], ...]:
    """Return the commands of tune2fs for what mke2fs does not take."""
    fields = geometry.fields
    reserved = _scaled(geometry.number("Reserved block count", 0), geometry, size)
    user, group = geometry.number("Reserved blocks uid", 0), geometry.number("Reserved blocks gid", 0)
    set_options = [each for each in fields.get("Default mount options", "").split() if each not in _NOTHING]
    options = [f"^{each}" for each in _MOUNT_OPTIONS if each not in set_options] + set_options
    seconds = geometry.number("Check interval", 0)
    interval = f"{seconds}s" if seconds % _DAY else f"{seconds // _DAY}d"
    words = ["-r", str(reserved), "-u", str(user), "-g", str(group), "-o", ",".join(options)]
    words += ["-c", str(geometry.number("Maximum mount count", -1)), "-i", interval]
    found = [("tune2fs", *words)]
    kind, mounting = fields.get("Default directory hash", ""), fields.get("Mount options", "")
    if kind not in _NOTHING:
        found.append(("tune2fs", "-E", f"hash_alg={kind}"))
    if mounting not in _NOTHING:
        # tune2fs takes only one, as it is the comma that divides its own options.
        by_debugfs = "debugfs", "-w", "-R", f"set_super_value mount_opts {mounting}"
        found.append(by_debugfs if "," in mounting else ("tune2fs", "-E", f"mount_opts={mounting}"))
    return tuple(found)


def _scaled(count: int, geometry: Geometry, size: int) -> int:
    return count if size == geometry.size else count * size // geometry.size


def inodes_for(geometry: Geometry, size: int, need: Need) -> int:
    """Return the inodes of a clone: as many per byte as the source has, and at least those that are used + 5 %."""
    least = need.inodes + need.inodes // 20 + 16
    return max(_scaled(geometry.number("Inode count"), geometry, size), least)


def _journal(geometry: Geometry, size: int) -> int:
    """Return the bytes of the journal: as in the source, in a smaller file system no more than mke2fs would give."""
    text = geometry.fields.get("Total journal size") or geometry.fields.get("Journal size") or ""
    try:
        journal = int(text.rstrip("kKMG")) * {"M": MIB, "G": 1024 * MIB}.get(text[-1:], 1024)
    except ValueError:
        journal = geometry.number("Total journal blocks", 0) * geometry.block
    journal -= geometry.number("Fast commit length", 0) * geometry.block
    journal = max(1024 * geometry.block, -(-journal // MIB) * MIB)
    return journal if size >= geometry.size else min(journal, ext_journal_of_mkfs(size, geometry.block))


def smallest_like(geometry: Geometry, need: Need) -> int:
    """Return the bytes that such a file system needs for a tree at least."""
    features = features_of(geometry)
    shape = ExtShape(
        block=geometry.block,
        cluster=geometry.number("Cluster size", geometry.block),
        inode=geometry.number("Inode size", 128),
        descriptor=geometry.number("Group descriptor size", 64) if "64bit" in features else 32,
        every_group="sparse_super" not in features and "sparse_super2" not in features,
        grows="resize_inode" in features,
        extents="extent" in features,
    )
    return ext_least(
        need,
        shape,
        lambda size: inodes_for(geometry, size, need),
        lambda size: _journal(geometry, size) if "has_journal" in features else 0,
    )
