"""The programs that images need: for what, in which packages, and which of them this machine lacks."""

import shutil
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from hpcp_mpi.host.commands import ENVIRONMENT, answer_of
from hpcp_mpi.vocab.errors import FatalError

_PACKAGES = {  # a program: (Debian's package, RHEL's)
    "blkid": ("util-linux", "util-linux"),
    "btrfs": ("btrfs-progs", "btrfs-progs"),
    "btrfstune": ("btrfs-progs", "btrfs-progs"),
    "dumpe2fs": ("e2fsprogs", "e2fsprogs"),
    "e2fsck": ("e2fsprogs", "e2fsprogs"),
    "mke2fs": ("e2fsprogs", "e2fsprogs"),
    "mkfs.btrfs": ("btrfs-progs", "btrfs-progs"),
    "mkfs.xfs": ("xfsprogs", "xfsprogs"),
    "mksquashfs": ("squashfs-tools", "squashfs-tools"),
    "mkswap": ("util-linux", "util-linux"),
    "mount": ("mount", "util-linux"),
    "resize2fs": ("e2fsprogs", "e2fsprogs"),
    "sfdisk": ("fdisk", "util-linux"),
    "squashfuse_ll": ("squashfuse", "squashfuse"),
    "tune2fs": ("e2fsprogs", "e2fsprogs"),
    "umount": ("mount", "util-linux"),
    "unsquashfs": ("squashfs-tools", "squashfs-tools"),
    "xfs_db": ("xfsprogs", "xfsprogs"),
    "xfs_growfs": ("xfsprogs", "xfsprogs"),
    "xfs_repair": ("xfsprogs", "xfsprogs"),
}
_EXT = {
    "make": ("mke2fs",),
    "check": ("e2fsck",),
    "grow": ("resize2fs", "e2fsck"),
    "mirror": ("dumpe2fs", "mke2fs", "tune2fs"),
}
_PROGRAMS: dict[str, dict[str, tuple[str, ...]]] = {  # of a file system type, or "" of any: a purpose, what it needs
    "": {
        "mount": ("mount", "umount"),
        "probe": ("blkid",),
        "table": ("sfdisk",),
    },
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "xfs": {
        "make": ("mkfs.xfs",),
        "check": ("xfs_repair",),
        "grow": ("xfs_growfs",),
        "mirror": ("xfs_db", "mkfs.xfs"),
    },
    "btrfs": {
        "make": ("mkfs.btrfs",),
        "check": ("btrfs",),
        "grow": ("btrfs",),
        "mirror": ("btrfs", "mkfs.btrfs", "btrfstune"),
    },
    "swap": {"make": ("mkswap",), "mirror": ("mkswap",)},
    "squashfs": {"make": ("mksquashfs",), "unpack": ("unsquashfs",), "mount": ("squashfuse_ll",)},
}
_FOR = {
    "mount": "mounts {type}",
    "probe": "tells what is in an image",
    "table": "reads and writes partition tables",
    "make": "makes {type}",
    "check": "checks {type}",
    "grow": "makes {type} bigger",
    "mirror": "makes {type} like the source's",
    "unpack": "unpacks {type}",
}


class Use(NamedTuple):
    """What a program is needed for."""

    purpose: str  # mount, probe, table, make, check, grow, mirror, unpack
    type: str = ""  # of the file system; "" where it is the same for all


class Missing(NamedTuple):
    """A program that is not there."""

    program: str
    reasons: tuple[str, ...]
    debian: str
    rhel: str


def programs_for(use: Use) -> tuple[str, ...]:
    """Return the programs that a use needs; none where nobody has any."""
    return _PROGRAMS.get(use.type, {}).get(use.purpose, ())


def is_there(program: str) -> bool:
    return shutil.which(program, path=ENVIRONMENT["PATH"]) is not None


@cache
def ending_with_us(signal: str) -> tuple[str, ...]:
    """Return the words before those of a program that the kernel sends a signal to when this process is killed.

    None where setpriv does not know of that, as before util-linux 2.33: it goes on then, and ends by itself.
    """
    words = "setpriv", "--pdeathsig", signal
    try:
        return () if answer_of([*words, "true"]).code else words
    except FatalError:
        return ()


def missing(uses: Iterable[Use]) -> list[Missing]:
    """Return the programs that uses need and this machine lacks, by name."""
    reasons: dict[str, list[str]] = {}
    for use in dict.fromkeys(uses):
        for program in programs_for(use):
            if not is_there(program):
                reasons.setdefault(program, []).append(_FOR[use.purpose].format(type=use.type or "file systems"))
    return [Missing(program, tuple(why), *_PACKAGES[program]) for program, why in sorted(reasons.items())]


def need(uses: Iterable[Use]) -> None:
    """Raise FatalError that names each program that uses need and this machine lacks."""
    lacking = missing(uses)
    if not lacking:
        return
    named = "; ".join(f"{name} ({' and '.join(why)})" for name, why, _, _ in lacking)
    debian = " ".join(sorted({each.debian for each in lacking}))
    rhel = " ".join(sorted({each.rhel for each in lacking}))
    raise FatalError(
        f"missing program{'s' * (len(lacking) > 1)}: {named}",
        f"Install on Debian: {debian}; on RHEL: {rhel}. Looked for in {ENVIRONMENT['PATH']}",
    )
