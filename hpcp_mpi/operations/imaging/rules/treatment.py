"""What is done with each partition of a clone: its files copied, a fresh swap, its blocks copied, or refused. Pure."""

from dataclasses import dataclass
from enum import Enum

from hpcp_mpi.operations.imaging.rules.table import boot_program
from hpcp_mpi.vocab.image_options import Content, Partition, Table, is_extended

BY_FILES = ("ext2", "ext3", "ext4", "xfs", "btrfs")
SWAPS = ("swap", "swsuspend")
_MEMBERS = ("bcache", "zfs_member", "ceph_bluestore", "VMFS_volume_member", "drbd", "BitLocker")
_USE_RAW = "--raw {0} copies it block by block."


class Kind(Enum):
    """How a partition gets into the clone."""

    FILES = "files"  # made anew, its files copied
    SWAP = "swap"  # made anew
    RAW = "raw"  # block by block
    TABLE = "table"  # an extended partition: it is a part of the table
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a partition besides its signatures."""

    raw: bool = False  # --raw names it
    by_files: str = ""  # why its files cannot be copied into a new file system; "": they can
    live: bool = False  # mounted, on the running system
    held: str = ""  # who uses it otherwise: swap, LVM, device mapper, md


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done with a partition. reason: why, and what to do where it is refused."""

    kind: Kind
    reason: str = ""
    remedy: str = ""
    may_shrink: bool = False
    may_grow: bool = False


def treatment_of(content: Content, partition: Partition, table: Table, facts: Facts) -> Treatment:
    """Return what is done with a partition."""
    if is_extended(table, partition):
        return Treatment(Kind.TABLE, "holds the logical partitions")
    found = _by_content(content, partition, facts)
    if found.kind is not Kind.RAW:
        return found
    if facts.held:
        return _refused(partition, f"{_what(content)} is in use by {facts.held}", "End its use; a copy would be torn.")
    if facts.live and content.type != "vfat":
        return _refused(
            partition, f"{_what(content)} is mounted, and is copied block by block", "Unmount it; a copy would be torn."
        )
    return found


def _by_content(content: Content, partition: Partition, facts: Facts) -> Treatment:
    if facts.raw:
        return Treatment(Kind.RAW, "--raw", may_grow=content.usage == "filesystem")
    program = boot_program(partition)
    if program:
        return Treatment(Kind.RAW, program)
    if content.several:
        return _refused(partition, "it has the signatures of several file systems", "wipefs shows them. " + _USE_RAW)
    if not content.type:
        return Treatment(Kind.RAW, "no signature is known")
    if content.type in SWAPS:
        hibernated = "it holds a hibernated system, which is not copied" if content.type == "swsuspend" else ""
        return Treatment(Kind.SWAP, hibernated, may_shrink=True, may_grow=True)
    if content.type in BY_FILES:
        return _of_file_system(content, partition, facts)
    if _is_member(content):
        return Treatment(Kind.RAW, f"{content.type}, as it is")
    return Treatment(Kind.RAW, f"{content.type} is copied block by block", may_grow=content.usage == "filesystem")


def _of_file_system(content: Content, partition: Partition, facts: Facts) -> Treatment:
    if facts.by_files:
        if facts.live:
            return _refused(partition, f"{content.type} is mounted, and {facts.by_files}", "Unmount it.")
        return Treatment(Kind.RAW, facts.by_files)
    return Treatment(Kind.FILES, may_shrink=True, may_grow=True)


def _is_member(content: Content) -> bool:
    """Return whether something else is made of a partition: a volume, an array, what is encrypted."""
    return content.usage in ("raid", "crypto") or content.type in _MEMBERS or content.type.endswith("_member")


def _what(content: Content) -> str:
    return content.type or "it"


def _refused(partition: Partition, reason: str, remedy: str) -> Treatment:
    return Treatment(Kind.REFUSED, reason, remedy.format(partition.number))
