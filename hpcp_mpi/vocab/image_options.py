"""The words of images and clones: what is asked, what a disk's table holds, what lies in a partition.

Sectors are of the table's sector size; all other sizes are bytes. Only a request with images loads this.
"""

from dataclasses import dataclass, field
from enum import Enum


class Unclean(Enum):
    """What to do with a source whose journal was not replayed."""

    REFUSE = "refuse"
    COPY = "copy"  # replay it in a temporary copy
    IGNORE = "ignore"  # mount it without its journal; the exit code is 23 at best


@dataclass(frozen=True, slots=True)
class Resize:
    """A wanted size of one partition of a clone."""

    partition: str  # a name or a number; "": by order of size
    bytes: int | None = None  # None: of what it is called `word`
    word: str = ""  # "min": what the content needs; "max": the rest of the disk


# A new image with such a name is a squashfs.
SQUASHFS_NAMES = (b".sqsh", b".squashfs", b".sqfs", b".sfs")


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What is asked of images. Paths are as they were given."""

    images: tuple[bytes, ...] = ()  # images or block devices as sources (-si)
    image: bytes = b""  # the image to copy into; of a clone its destination, also a block device (-di, -d)
    volume_size: int = 0  # bytes that no image may exceed; 0: no limit (-dis)
    resize: tuple[Resize, ...] = ()  # of a clone (-ddr)
    mirror_geometry: bool = True  # a clone's file systems are made as the source's are (not -nfp)
    file_system: str = "auto"  # auto, ext4, xfs, btrfs, squashfs
    image_root: bool = False  # contents land in the image's root, by the rules of a copy to a directory
    label: str = ""
    partitions: tuple[str, ...] = ()  # names or numbers: only these of a partitioned image
    raw: tuple[str, ...] = ()  # names or numbers: copied block by block
    unclean: Unclean = Unclean.REFUSE
    grow: bool = True  # an existing image may be made bigger
    check: bool = True  # a new or changed file system is checked at the end
    yes: bool = False  # what is there may be overwritten
    mkfs_options: tuple[str, ...] = ()  # words that the tool which makes the file system gets, too
    patch: bytes | None = None  # the patch to write; b"": named after what is compared (-diff)
    patches: tuple[bytes, ...] = ()  # patches to apply, in this order (-siff)
    force_apply: bool = False  # in spite of conflicts
    disk: bool = False  # whole disks, partition by partition (-dd)

    @property
    def makes_squashfs(self) -> bool:
        """Whether a new image is a squashfs, which is not mounted while it is made."""
        by_name = self.file_system == "auto" and self.image.lower().endswith(SQUASHFS_NAMES)
        return self.file_system == "squashfs" or by_name


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a table. start and size are sectors."""

    number: int
    start: int
    size: int
    type: str  # GPT: a GUID; MBR: hexadecimal
    uuid: str = ""
    name: str = ""
    attributes: str = ""  # as sfdisk writes them
    bootable: bool = False

    @property
    def end(self) -> int:
        """The first sector behind it."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table. partitions are in order of their numbers."""

    label: str  # gpt or dos
    id: str  # the disk's GUID or hexadecimal number
    sector: int  # bytes of a sector: 512 or 4096
    partitions: tuple[Partition, ...] = ()
    first: int = 0  # GPT: the first usable sector
    last: int = 0  # GPT: the last usable sector
    length: int = 128  # GPT: entries that the table has room for


def is_extended(table: Table, partition: Partition) -> bool:
    """Return whether a partition of an MBR only holds the logical ones."""
    return table.label == "dos" and partition.type.lower().lstrip("0") in ("5", "f", "85")


@dataclass(frozen=True, slots=True)
class Content:
    """What the signatures of a partition or a whole image say. type "": none was found."""

    type: str = ""  # blkid's TYPE: ext4, xfs, btrfs, swap, vfat, crypto_LUKS, LVM2_member, ...
    usage: str = ""  # blkid's USAGE: filesystem, raid, crypto, other
    label: str = ""
    uuid: str = ""
    several: bool = False  # two signatures, so nobody knows
    values: dict[str, str] = field(default_factory=dict)  # all that blkid printed


@dataclass(frozen=True, slots=True)
class Need:
    """What a tree takes, whatever file system it goes to. Hard links are counted once."""

    files: int = 0  # regular files, each inode once
    directories: int = 0
    symlinks: int = 0  # all; those of more than 59 bytes take a block
    others: int = 0  # devices, FIFOs, sockets
    long_symlinks: int = 0
    entries: int = 0  # names of anything, also further ones of one file
    blocks: int = 0  # bytes of data in blocks of 4096, holes left out
    data: int = 0  # bytes of content
    name_bytes: int = 0
    directory_blocks: int = 0  # bytes of directories in blocks of 4096
    attribute_bytes: int = 0  # of extended attributes and ACLs, names and values
    attribute_inodes: int = 0  # that have more of them than fits into an inode of 256 bytes (about 100)
    target_bytes: int = 0  # of the long symlinks

    @property
    def inodes(self) -> int:
        """Everything that takes an inode."""
        return self.files + self.directories + self.symlinks + self.others

    def plus(self, other: "Need") -> "Need":
        """Return the sum, as of two trees."""
        mine, theirs = ([getattr(each, name) for name in self.__slots__] for each in (self, other))
        return Need(*(one + two for one, two in zip(mine, theirs, strict=True)))


@dataclass(frozen=True, slots=True)
class MakeFileSystem:
    """A file system to be made: its size, and the words that its mkfs gets before the device."""

    type: str  # ext2, ext3, ext4, xfs, btrfs, swap
    bytes: int
    arguments: tuple[str, ...] = ()
    tune: tuple[tuple[str, ...], ...] = ()  # commands that follow on the unmounted device, each without the device
    inodes: int = 0  # that it has room for; 0: as many as fit
    optional: tuple[tuple[str, ...], ...] = ()  # words of which each goes only to a mkfs that knows it
    either: tuple[tuple[tuple[str, ...], ...], ...] = ()  # of each of these the first that mkfs knows
    finish: tuple[tuple[str, ...], ...] = ()  # as tune, when all is copied and it is unmounted again
    held: bool = False  # one of the same size and geometry has held what is copied into it
