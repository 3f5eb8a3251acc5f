"""File system types, by the kernel's names and the common ones, and mounts below a directory."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.vocab.paths import relative_to

# Types that list ACLs among the attributes, or have none of POSIX's.
LISTING_ACLS = frozenset(
    (
        "bcachefs",
        "btrfs",
        "ceph",
        "erofs",
        "exfat",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "gfs2",
        "gpfs",
        "hfsplus",
        "iso9660",
    )
    + ("jffs2", "jfs", "lustre", "msdos", "nfs", "nfs4", "ntfs3", "ocfs2", "overlay", "ramfs", "reiserfs", "squashfs")
    + ("tmpfs", "ubifs", "vfat", "xfs", "zfs")
)
WITHOUT_CASE = ("vfat", "msdos", "exfat", "ntfs", "ntfs3")
_OCTAL = re.compile(rb"\\([0-7]{3})")
# Common names, and the names in /proc/self/mountinfo.
_SPELLINGS = {
    "fat": ("vfat", "msdos"),
    "fat12": ("vfat", "msdos"),
    "fat16": ("vfat", "msdos"),
    "fat32": ("vfat",),
    "nfs": ("nfs", "nfs4"),
    "ntfs": ("ntfs", "ntfs3", "fuseblk"),
    "exfat": ("exfat", "fuseblk"),
    "cifs": ("cifs", "smb3"),
    "smb": ("cifs", "smb3"),
}


# Types of one kernel.
_LOCAL = frozenset(
    (
        *("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfsplus", "jfs", "msdos"),
        *("nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "tmpfs", "ufs", "vfat", "xfs", "zfs"),
    )
)
# Their files are made when they are read: st_size is 0, or that of a page.
_MADE_UP = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "fuse.lxcfs")
)
_made_up: dict[int, bool] = {}  # by device
# Those, and those that are coherent between nodes by locks: every rank sees what another one wrote.
_COHERENT = _LOCAL | {"ceph", "gfs2", "gpfs", "lustre", "ocfs2"}
_STALE_SECONDS = {"fuse.sshfs": 20.0}  # its default; other FUSE clients cache for a second
_USUAL_STALE_SECONDS = 3.0


class _Mount(NamedTuple):
    number: bytes  # the mount's id
    parent: bytes  # that of the mount it lies in
    point: bytes  # absolute
    kind: str
    options: list[str]  # its own


def stale_seconds(path: bytes | int) -> float:
    """Return for how many seconds a node may see old state of the file system of path after another's change.

    NFS may cache for longer, a minute, but checks what is opened, and directories are opened for each look.
    """
    try:
        kind = type_of(path)
    except OSError:
        return _USUAL_STALE_SECONDS
    return 0.0 if kind in _COHERENT else _STALE_SECONDS.get(kind, _USUAL_STALE_SECONDS)


def makes_up_files(fd: int) -> bool:
    """Return whether an open entry is on a file system whose files have no size before they are read, as /proc."""
    try:
        device = os.fstat(fd).st_dev
        if device not in _made_up:
            _made_up[device] = type_of(fd) in _MADE_UP
        return _made_up[device]
    except OSError:
        return False


def has_this_clock(path: bytes) -> bool:
    """Return whether change times on the file system of path are by this machine's clock."""
    try:
        return type_of(path) in _LOCAL
    except OSError:
        return False


def type_of(path: bytes | int) -> str:
    """Return the type of the file system that an existing path, or an open entry, is on, as `ext4` or `fuse.sshfs`.

    Raises OSError.
    """
    return mount_of(path)[0]


def mount_of(path: bytes | int) -> tuple[str, list[str]]:
    """Return the type of the file system that an existing path, or an open entry, is on, and its own options.

    Raises OSError.
    """
    if isinstance(path, int):
        mount = mount_under(path)
    else:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            mount = mount_under(fd)
        finally:
            os.close(fd)
    for each in _mounts():
        if each.number == mount:
            return each.kind, each.options
    raise OSError("its mount is not in /proc/self/mountinfo")


def invents_inodes(path: bytes | int) -> bool:
    """Return whether a file on the file system of path may have another inode number on each node, or later."""
    try:
        return type_of(path).startswith(("fuse", "cifs", "smb3", "9p", "overlay"))
    except OSError:
        return False


def mount_under(fd: int) -> bytes:
    """Return the id of the mount that an open entry is on: two mounts may have one device number (btrfs), or one path
    (mounted over). Raises OSError.
    """
    with open(b"/proc/self/fdinfo/%d" % fd, "rb") as file:
        return _mount_id(file)


def _mount_id(lines: Iterable[bytes]) -> bytes:
    for line in lines:
        if line.startswith(b"mnt_id:"):
            return line.split()[1]
    raise OSError("the kernel does not tell its mount")


def _mounts() -> Iterator[_Mount]:
    """Yield the mounts in lines such as `36 35 98:0 /root /point options shared:1 - ext4 /dev/x options`, where the
    optional fields end with `-`. Raises OSError.
    """
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            words = line.removesuffix(b"\n").split(b" ")
            kind, _, *options = words[words.index(b"-", 6) + 1 :]
            names = os.fsdecode(b"".join(options)).split(",")
            yield _Mount(words[0], words[1], _unescaped(words[4]), _unescaped(kind).decode(), names)


def _unescaped(word: bytes) -> bytes:
    return _OCTAL.sub(lambda code: bytes([int(code[1], 8)]), word)


def is_called(found: str, wanted: str) -> bool:
    """Return whether a file system of type found has the name wanted, which may be hpcp's (fat32 is vfat)."""
    found, wanted = found.lower(), wanted.lower()
    return found == wanted or found.removeprefix("fuse.") == wanted or found in _SPELLINGS.get(wanted, ())


class Mounts(NamedTuple):
    """The device of a directory, and the mounts below it."""

    device: int  # st_dev
    below: frozenset[bytes]  # mount points, relative to it: also those of the same device


def mounts_below(fd: int) -> frozenset[bytes]:
    """Return the mount points below the directory fd, relative to it. Raises OSError.

    One that another mount hides is none of them: what lies in its place now may be anything.
    """
    root, inside = os.readlink(path_of(fd)), {mount_under(fd)}
    points: set[bytes | None] = set()
    waiting = list(_mounts())
    while waiting:
        # A mount may be listed before the one that it lies in, which was moved there.
        found = [mount for mount in waiting if mount.parent in inside and mount.number != mount.parent]
        found = [mount for mount in found if relative_to(mount.point, root) is not None]
        if not found:
            break
        points.update(relative_to(mount.point, root) for mount in found)
        inside.update(mount.number for mount in found)
        waiting = [mount for mount in waiting if mount.number not in inside]
    return frozenset(point for point in points if point is not None)
