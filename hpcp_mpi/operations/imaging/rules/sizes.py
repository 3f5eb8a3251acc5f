"""How many bytes and inodes a file system needs for a tree, and the words that its mkfs gets. Pure.

What a tree takes of the free space that statvfs shows, and what the file system takes for itself beforehand, are apart:
the one is compared with what statvfs says of the new file system, whatever version of mkfs made it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 4096
TYPES = ("ext4", "xfs", "btrfs")  # that new images may have
LABEL_BYTES = {"ext2": 16, "ext3": 16, "ext4": 16, "xfs": 12, "btrfs": 255, "swap": 16}

_ENDLESS = 1 << 60  # bytes of a file system that is nothing but inodes
_STEP = MIB  # images are of so many whole bytes
_EXT_INODE = 256
_EXT_JOURNALS = ((128 * MIB, 4), (GIB, 16), (16 * GIB, 64), (128 * GIB, 128))  # (below this size, MiB)
_EXT_BIGGEST_JOURNAL = 1024
# In blocks, as mke2fs has them.
_MKFS_JOURNALS = (
    *((1 << 15, 1024), (1 << 18, 4096), (1 << 19, 8192), (1 << 22, 16384)),
    *((1 << 23, 32768), (1 << 24, 65536), (1 << 25, 131072)),
)
_MKFS_BIGGEST_JOURNAL = 262144
_EXT_LEAST = 16 * MIB
_EXT_BYTES_PER_INODE = 65536  # a table of 0.4 % of an image, which takes room when it is used
_XFS_INODE = 512
_XFS_CORE = 176  # bytes of it that are always used
_XFS_INLINE = 300  # bytes of a directory's names that its inode holds
_XFS_LEAST = 300 * MIB  # mkfs.xfs makes nothing smaller
_XFS_LOG = 64 * MIB
_XFS_INODES_PERCENT = 25  # of the space that may be inodes, as mkfs.xfs has it
_BTRFS_LEAST = {"dup": 110 * MIB, "single": 72 * MIB}  # mkfs makes smaller ones, of which half is lost
_BTRFS_DUP_DATA = 120 * MIB
_BTRFS_LEAST_GROWN = 256 * MIB  # Linux resizes none to less


def file_system_for(need: Need, asked: str, xfs_possible: bool) -> str:
    """Return the type of a new image. xfs_possible: mkfs.xfs is there, and the kernel mounts it"""
    if asked != "auto":
        return asked
    return "xfs" if xfs_possible and content(need) >= GIB else "ext4"


def content(need: Need) -> int:
    """Return the bytes that a tree takes at least: data in blocks, directories, and 512 for each inode."""
    return need.blocks + need.directory_blocks + 512 * need.inodes


def most_bytes(type: str, need: Need) -> int:
    """Return the size that a new image of a tree may have at most: what is more is waste."""
    most = content(need) * 11 // 10 + 80 * MIB
    return max(most, _XFS_LEAST) if type == "xfs" else most


def check_label(type: str, label: str | bytes) -> None:
    """Raise UsageError if a file system cannot have a label: their tools cut it, or fail when it is too late."""
    name = label.encode("utf-8", "surrogateescape") if isinstance(label, str) else label
    most = LABEL_BYTES[type]
    if len(name) > most:
        raise UsageError(
            f"The label has {len(name)} bytes, and {type} stores {most} at most",
            "Give a shorter one with --image-label",
        )
    if b"\n" in name or b"\0" in name:
        raise UsageError("The label holds a line break or a NUL", "Give one of plain text with --image-label")


def smallest(type: str, need: Need, label: str = "", options: Sequence[str] = ()) -> MakeFileSystem:
    """Return the new file system that a tree fits into. options: words that its mkfs gets at the end

    Raises UsageError for a label that it cannot have.
    """
    check_label(type, label)
    made = {"ext4": _ext4, "xfs": _xfs, "btrfs": _btrfs}[type](need)
    words = ("-L", label) if label else ()
    return replace(made, arguments=(*made.arguments, *words, *options))


def of_size(type: str, size: int, need: Need, label: str = "", options: Sequence[str] = ()) -> MakeFileSystem:
    """Return a file system of size bytes, in which the inodes of a tree have room, as those of volumes."""
    made = smallest(type, need, label, options)
    if type == "ext4":
        made = replace(made, arguments=(*_ext4_arguments(size, made.inodes), *made.arguments[len(_EXT_WORDS) :]))
    return replace(made, bytes=size)


def taken(made: MakeFileSystem | str, need: Need) -> tuple[int, int]:
    """Return (bytes, inodes) that a tree takes of what statvfs shows to be free. 0 inodes: nobody counts these.

    made: the file system, or the type of one that somebody else made
    """
    if isinstance(made, str):
        made = MakeFileSystem(made, 0)
    if made.type in ("ext2", "ext3", "ext4"):
        return _ext_bytes(need, _shape_of(made)), need.inodes
    if made.type == "xfs":
        inode, block = _last(made, "-i", "size=", _XFS_INODE), _last(made, "-b", "size=", BLOCK)
        return _xfs_bytes(need, inode, block), need.inodes
    metadata, data = _profile(made, "-m", "dup"), _profile(made, "-d", "single")
    return _btrfs_bytes(need, metadata, data) // (2 if data == "dup" else 1), 0  # what is free is shown for data


def missing(made: MakeFileSystem | str, need: Need, free: int, inodes: int) -> tuple[int, int]:
    """Return (bytes, inodes) that a file system lacks for a tree. free, inodes: as room_of says; both 0: it fits."""
    wanted, wanted_inodes = taken(made, need)
    if isinstance(made, MakeFileSystem) and made.held:
        wanted = min(wanted, need.data)  # what a full source holds is more than it should, by these formulas
    return max(0, wanted - free), max(0, wanted_inodes - inodes)


def _values(made: MakeFileSystem, options: Sequence[str]) -> list[str]:
    """Return what follows an option in the words of mkfs, the last one first, as that one counts."""
    words = made.arguments
    return [words[at] for at in range(len(words) - 1, 0, -1) if words[at - 1] in options]


def _last(made: MakeFileSystem, option: str, begin: str, otherwise: int) -> int:
    """Return the number that an option of mkfs has."""
    for value in _values(made, (option,)):
        number = value.removeprefix(begin)
        if value.startswith(begin) and number.isdecimal():
            return int(number)
    return otherwise


def _profile(made: MakeFileSystem, option: str, otherwise: str) -> str:
    """Return a profile of btrfs: -m or -d, and mkfs's own if there is none."""
    return next(iter(_values(made, (option, {"-m": "--metadata", "-d": "--data"}[option]))), otherwise)


def _shape_of(made: MakeFileSystem) -> "ExtShape":
    """Return the shape of an ext that is made with these words; one without words has blocks of 4096 bytes."""
    block = _last(made, "-b", "", BLOCK)
    features = ",".join(reversed(_values(made, ("-O",)))).split(",")
    return ExtShape(
        block=block,
        cluster=max(block, _last(made, "-C", "", block)),
        inode=_last(made, "-I", "", _EXT_INODE),
        extents="none" not in features or "extent" in features,
    )


def bigger(made: MakeFileSystem, lacks: tuple[int, int]) -> MakeFileSystem:
    """Return a file system to be made in the place of one that lacked (bytes, inodes) for its tree."""
    more, inodes = lacks
    size = _whole(made.bytes + more + more // 16 + (inodes * _XFS_INODE if made.type != "btrfs" else 0) + _STEP)
    if made.type != "ext4":
        return replace(made, bytes=size)
    count = made.inodes + inodes + inodes // 50
    rest = made.arguments[len(_EXT_WORDS) :]
    return replace(made, bytes=size, inodes=count, arguments=(*_ext4_arguments(size, count), *rest))


def grown(type: str, size: int, lacks: int) -> int:
    """Return the size to which an image of size bytes grows for which so many are missing: by an eighth at least."""
    more = max(lacks + lacks // 8 + _STEP, size // 8)
    return _whole(max(size + more, _BTRFS_LEAST_GROWN if type == "btrfs" else 0))


def _whole(size: int) -> int:
    return -(-size // _STEP) * _STEP


def _fixed_point(wanted: int, overhead: Callable[[int], int], least: int) -> int:
    """Return the least size that has wanted bytes beside its overhead, which grows with the size."""
    size = _whole(max(wanted, least))
    while size < _ENDLESS and (needed := _whole(max(wanted + overhead(size), least))) > size:
        size = needed
    return size


@dataclass(frozen=True, slots=True)
class ExtShape:
    """How an ext is made, as far as it matters for what fits into it."""

    block: int = BLOCK
    cluster: int = BLOCK  # bytes that are allocated together
    inode: int = _EXT_INODE
    descriptor: int = 64  # bytes of a group's
    every_group: bool = False  # has a copy of the superblock, not just some
    grows: bool = True  # blocks are kept for descriptors of a bigger one
    extents: bool = True


_NEW_EXT = ExtShape()


def _ext_bytes(need: Need, shape: ExtShape = _NEW_EXT) -> int:
    """Return the bytes of blocks; inodes are set aside by mkfs."""
    cluster = shape.cluster
    more = need.files * cluster
    # Of another size of blocks nobody has counted them: no file wastes more than one.
    data = (
        need.blocks if cluster == BLOCK else min(need.blocks, need.data + more) if cluster < BLOCK else need.data + more
    )
    names = need.directories * cluster + 2 * (need.name_bytes + 12 * need.entries)
    directories = need.directory_blocks if cluster == BLOCK else names
    with_attributes = need.attribute_inodes
    if shape.inode < _EXT_INODE:
        with_attributes = min(need.inodes, with_attributes + need.attribute_bytes // 16)
    if not shape.extents:  # lists of blocks, 4 bytes for each, and one block at least if there are more than 12
        data += data * 4 // shape.block + min(need.files, data // (12 * shape.block)) * shape.block
    blocks = data + directories + cluster * (need.long_symlinks + with_attributes)
    return blocks + blocks // 200 + MIB // 2  # lists of extents, and what is allocated ahead


def ext_journal(size: int) -> int:
    """Return the MiB of the journal of an image of size bytes."""
    return next((journal for below, journal in _EXT_JOURNALS if size < below), _EXT_BIGGEST_JOURNAL)


def ext_journal_of_mkfs(size: int, block: int) -> int:
    """Return the bytes of the journal that mke2fs makes if it is told nothing."""
    blocks = size // block
    return next((journal for below, journal in _MKFS_JOURNALS if blocks < below), _MKFS_BIGGEST_JOURNAL) * block


def _ext_backups(groups: int) -> int:
    """Return how many groups have a superblock: 0, 1 and the powers of 3, 5 and 7."""
    powers: set[int] = {pow(base, power) for base in (3, 5, 7) for power in range(1, 24)}
    return min(groups, 2) + sum(each < groups for each in powers)


def ext_overhead(size: int, inodes: int, journal: int, shape: ExtShape = _NEW_EXT) -> int:
    """Return what ext takes of size bytes for itself. journal: bytes"""
    block, entries = shape.block, shape.block // shape.descriptor
    groups = -(-size // (8 * block * shape.cluster))
    table = -(-inodes // groups) + 16  # mke2fs rounds up per group, to whole blocks
    descriptors = -(-groups // entries)
    growth = min(block // 4, -(-groups * 1024 // entries)) if shape.grows else 0
    each = groups * (2 * block + -(-table * shape.inode // block) * block)
    copies = (groups if shape.every_group else _ext_backups(groups)) * (1 + descriptors + growth) * block
    kernel = min(size // 50, 4096 * shape.cluster) if shape.extents else 0  # nobody gets these
    return each + copies + journal + kernel + size // 1000 + MIB // 4


def ext_least(
    need: Need, shape: ExtShape, inodes: Callable[[int], int], journal: Callable[[int], int], least: int = 2 * MIB
) -> int:
    """Return the bytes of an ext that a tree fits into. inodes, journal: how many one of a size has, and its bytes"""
    return _fixed_point(
        _ext_bytes(need, shape), lambda size: ext_overhead(size, inodes(size), journal(size), shape), least
    )


_EXT_WORDS = ("-b", "", "-I", "", "-m", "", "-N", "", "-J", "")


def _ext4_arguments(size: int, inodes: int) -> tuple[str, ...]:
    journal = f"size={ext_journal(size)}"
    return ("-b", str(BLOCK), "-I", str(_EXT_INODE), "-m", "0", "-N", str(inodes), "-J", journal)


def _ext4(need: Need) -> MakeFileSystem:
    # Each further group of 128 MiB has as many inodes as the first ones: with few, an image gets big to get inodes.
    def inodes_of(size: int) -> int:
        return max(need.inodes + need.inodes // 50 + 64, size // _EXT_BYTES_PER_INODE + 1024)

    size = ext_least(need, _NEW_EXT, inodes_of, lambda size: ext_journal(size) * MIB, _EXT_LEAST)
    inodes = inodes_of(size)
    # What e2fsck and GRUB of a few years ago do not know.
    optional = (("-O", "^orphan_file,^metadata_csum_seed"),)
    return MakeFileSystem("ext4", size, _ext4_arguments(size, inodes), inodes=inodes, optional=optional)


def _xfs_bytes(need: Need, inode: int = _XFS_INODE, block: int = BLOCK) -> int:
    """Return the bytes of blocks. Inodes are made as they are needed, in these."""
    in_blocks = min(need.directories, (need.name_bytes + 12 * need.entries) // _XFS_INLINE + 1)
    names = 2 * (need.name_bytes + 24 * need.entries)
    directories = min(need.directory_blocks, in_blocks * BLOCK + names) * 13 // 10
    data = need.blocks
    if block != BLOCK:
        data = min(data, need.data + need.files * block) if block < BLOCK else need.data + need.files * block
    room = inode - _XFS_CORE  # of an inode, for a target or attributes
    outside = min(need.long_symlinks, need.target_bytes // room)
    # A value of more than 255 bytes is outside; how they are spread nobody knows: of small ones some are big.
    outside += need.attribute_inodes // (16 if need.attribute_bytes <= 150 * need.attribute_inodes else 1)
    blocks = data + directories + block * outside
    inodes = need.inodes * (inode + inode // 32)
    return blocks + blocks // 250 + inodes + MIB


def xfs_overhead(size: int) -> int:
    """Return what xfs takes of size bytes for itself: its log, what the kernel keeps, trees of each group."""
    log = min(max(_XFS_LOG, size // 2048), 2 * GIB)
    return log + min(size // 20, 32 * MIB) + size * 8 // 1000 + 2 * MIB


def xfs_least(need: Need, inode: int, block: int) -> int:
    """Return the bytes of an xfs that a tree fits into. inode, block: their bytes"""
    return _fixed_point(_xfs_bytes(need, inode, block), xfs_overhead, _XFS_LEAST)


def _xfs(need: Need) -> MakeFileSystem:
    size = xfs_least(need, _XFS_INODE, BLOCK)
    many = need.inodes * _XFS_INODE * 100 > size * (_XFS_INODES_PERCENT - 5)
    arguments = ("-i", "maxpct=100") if many else ()
    # Kernels before 5.10 to 6.x mount none of these, and GRUB does not read them.
    optional = (("-i", "nrext64=0"), ("-i", "exchange=0"), ("-n", "parent=0"), ("-m", "metadir=0"))
    return MakeFileSystem("xfs", size, arguments, optional=optional)


def _btrfs_bytes(need: Need, metadata: str, data: str = "single") -> int:
    """Return the bytes of data and of metadata; those of the profile dup are there twice."""
    trees = (400 * need.entries + 4 * need.name_bytes + 2 * need.attribute_bytes + need.target_bytes) * 5 // 4
    blocks = need.blocks + need.blocks // 128
    return blocks * (2 if data == "dup" else 1) + trees * (2 if metadata == "dup" else 1)


def btrfs_least(need: Need, metadata: str, data: str = "single") -> int:
    """Return the bytes of a btrfs that a tree fits into. metadata, data: the profiles of its chunks

    Space is given to data or metadata by chunks of a tenth, of which the last ones stay half empty.
    """
    copies = 1 + (metadata == "dup")
    fixed = copies * 12 * MIB + (64 * MIB if metadata == "dup" else 6 * MIB)
    chunk = GIB * copies
    return _fixed_point(
        _btrfs_bytes(need, metadata, data),
        lambda size: min(size // 12 * copies, chunk) + fixed,
        _BTRFS_LEAST.get(metadata, _BTRFS_LEAST["dup"]) + (_BTRFS_DUP_DATA if data == "dup" else 0),
    )


def _btrfs(need: Need) -> MakeFileSystem:
    # mkfs's own profile dup takes a tenth of a small one and more beforehand, and all metadata twice; what lies below
    # an image has copies of its own.
    return MakeFileSystem("btrfs", btrfs_least(need, "single"), ("-m", "single"))
