"""Which file systems are mounted to be read, under which names the kernel knows them, with which options. Pure.

An image may say of itself that it is anything: only what is named here is given to the kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hpcp_mpi.vocab.image_options import Content


@dataclass(frozen=True, slots=True)
class Reading:
    """How a type is mounted to be read."""

    kernel: tuple[str, ...]  # drivers, the best first
    options: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()  # options that a driver may not know
    stale: tuple[str, ...] = ()  # options with which the journal is not replayed


# An image may ask for a panic on errors, in its superblock.
_EXT = ("errors=continue",)

READINGS: Mapping[str, Reading] = {
    "ext2": Reading(("ext2", "ext4"), _EXT),
    "ext3": Reading(("ext3", "ext4"), _EXT, stale=("noload",)),
    "ext4": Reading(("ext4",), _EXT, stale=("noload",)),
    "xfs": Reading(("xfs",), ("nouuid",), stale=("norecovery",)),
    "btrfs": Reading(("btrfs",), stale=("rescue=nologreplay",)),
    "squashfs": Reading(("squashfs",)),
    "erofs": Reading(("erofs",)),
    "iso9660": Reading(("iso9660",), wishes=("utf8",)),
    "udf": Reading(("udf",), wishes=("utf8",)),
    "vfat": Reading(("vfat",), wishes=("utf8",)),
    "exfat": Reading(("exfat",)),
    "f2fs": Reading(("f2fs",), stale=("norecovery",)),
    "ntfs": Reading(("ntfs3", "ntfs"), wishes=("iocharset=utf8",)),
}
EXT = ("ext2", "ext3", "ext4")


def reading_of(content: Content) -> Reading | None:
    """Return how what lies somewhere is mounted; None: it is none of these file systems."""
    return None if content.several else READINGS.get(content.type)


_OTHERS = {
    "swap": "swap",
    "swsuspend": "a hibernated system",
    "crypto_LUKS": "something encrypted (LUKS)",
    "BitLocker": "something encrypted (BitLocker)",
    "LVM2_member": "a part of LVM",
    "linux_raid_member": "a part of a RAID (md)",
    "zfs_member": "a part of ZFS",
    "bcache": "a part of bcache",
    "jbd": "an external journal",
    "xfs_external_log": "an external log of XFS",
}


def what_it_is(content: Content) -> str:
    """Return words for what lies somewhere, as in `it holds ...`."""
    if content.several:
        return "signatures of several file systems, so nobody knows which one counts"
    if not content.type:
        return "no file system that is known"
    return _OTHERS.get(content.type, content.type)
