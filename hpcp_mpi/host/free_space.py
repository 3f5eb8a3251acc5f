"""The free space of a file system, and what quotas leave of it.

quotactl_fd (Linux 5.14) takes a descriptor; no path and no device are needed. Where the system does not report a quota,
there is none.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ctypes import Array, c_char

_QUOTACTL_FD = 443  # on all architectures
_GETQUOTA = 0x800007
_USER, _GROUP, _PROJECT = range(3)
# struct if_dqblk: limits of blocks of 1 KiB (hard, soft), bytes used, limits of inodes (hard, soft), inodes used,
# two times of grace, and which of these are valid.
_ANSWER = struct.Struct("=8QI4x")
_GET_ATTRIBUTES = 0x801C581F  # FS_IOC_FSGETXATTR
_ATTRIBUTES = struct.Struct("=4I12x")  # struct fsxattr: flags, extent sizes, extents, project
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS
APPEND_ONLY, IMMUTABLE, CASE_FOLDING = 0x20, 0x10, 0x40000000  # some of these flags


class FreeSpace(NamedTuple):
    """The bytes and inodes that can still be written. None: there is no limit."""

    whose: str  # the quota's name; "" for the file system
    bytes: int | None
    inodes: int | None


def rooms(directory: int, uid: int, gid: int) -> list[FreeSpace]:
    """Return the free space of the file system of an open directory, and what quotas leave. Raises OSError.

    uid, gid: of the writing user. Quotas of users and groups do not bind root.
    """
    status = os.fstatvfs(directory)
    blocks = status.f_bfree if uid == 0 else status.f_bavail
    inodes = status.f_ffree if uid == 0 else status.f_favail
    # Some file systems make inodes as they are needed, and report 0 of 0; some report 0 of 0 blocks: nobody knows.
    free = blocks * status.f_frsize if status.f_blocks else None
    found = [FreeSpace("", free, inodes if status.f_files else None)]
    who = [] if uid == 0 else [(_USER, uid, f"the quota of user {uid}"), (_GROUP, gid, f"the quota of group {gid}")]
    project = project_of(directory)
    if project:
        who.append((_PROJECT, project, f"the quota of project {project}"))
    for kind, number, name in who:
        found += _quota(directory, kind, number, name)
    return found


def _quota(directory: int, kind: int, number: int, name: str) -> Iterator[FreeSpace]:
    import ctypes  # root has no quota

    answer = ctypes.create_string_buffer(_ANSWER.size)
    if _call(directory, _GETQUOTA << 8 | kind, number, answer):
        return  # no quotas, or this user may not read them
    hard, soft, used, inodes_hard, inodes_soft, inodes_used, *_ = _ANSWER.unpack(answer.raw)
    room = _left((hard or soft) * 1024, used)
    inodes = _left(inodes_hard or inodes_soft, inodes_used)
    if room is not None or inodes is not None:
        yield FreeSpace(name, room, inodes)


def _left(limit: int, used: int) -> int | None:
    return max(0, limit - used) if limit else None


def _call(directory: int, command: int, number: int, answer: "Array[c_char]") -> int:
    import ctypes

    return int(ctypes.CDLL(None).syscall(_QUOTACTL_FD, directory, command, number, answer))


def project_of(directory: int) -> int:
    """Return the project id of new files in a directory; 0: none."""
    attributes = bytearray(_ATTRIBUTES.size)
    try:
        fcntl.ioctl(directory, _GET_ATTRIBUTES, attributes)
    except OSError:
        return 0
    return int(_ATTRIBUTES.unpack(attributes)[3])


def flags_of(directory: int) -> int:
    """Return the inode flags of a directory (chattr); 0 where they cannot be read."""
    flags = bytearray(8)
    with suppress(OSError):
        fcntl.ioctl(directory, _GET_FLAGS, flags)
    return int.from_bytes(flags[:4], "little")
