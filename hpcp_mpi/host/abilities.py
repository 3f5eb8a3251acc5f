"""A test of what the file system of a directory can store and do, with one file that is removed at once.

On local storage it is some twenty system calls, a fifth of a millisecond.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.free_space import CASE_FOLDING, flags_of
from hpcp_mpi.host.mounts import LISTING_ACLS, WITHOUT_CASE
from hpcp_mpi.host.scratch_file import NAME, scratch_file
from hpcp_mpi.vocab.abilities import ENDLESS_NS, SECOND_NS, Abilities, Acls, StoredTimes
from hpcp_mpi.vocab.attributes import ACCESS_ACL

_SEEN = 32  # entries whose time stamps show what a file system stores
_STEPS_NS = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
_ODD_NS = 1_000_000_001 * SECOND_NS + 123_456_789  # read back, it shows the step; an odd second, as FAT's is two
_FAR_NS = (1 << 40) * SECOND_NS  # before or after 1970: further than any real file
# The first and last times of file systems that do not clamp, in seconds, the widest first.
_BEGINNINGS = (-(1 << 31), 0)
_ENDS = ((1 << 34) - 1, (1 << 32) - 1, (1 << 31) - 1)
# GlusterFS's clients show earlier times as 1970 as soon as their cache has dropped what was set.
_SHOWN_FROM_NS = {"fuse.glusterfs": 0}
_CAPABILITY = bytes.fromhex("0100000200200000" + 12 * "00")  # cap_net_raw=ep, as the kernel has it
_HOLE = 1 << 20  # bytes
_REFUSED = (errno.EOPNOTSUPP, errno.ENOSYS)


def probed(directory: int, kind: str, token: str) -> Abilities:
    """Return the abilities that a new file in directory shows. Raises OSError where none can be made.

    kind: the type of the file system. token: of a stage that may be made
    """
    left: list[tuple[bytes, str]] = []
    with scratch_file(directory, token, lambda name, note: left.append((name, note))) as (file, stage):
        owner = os.fstat(file).st_uid
        found = Abilities(
            kind=kind,
            tried=True,
            times=_times(file, kind),
            acls=_acls(file),
            user_attributes=_stores(file, "user.hpcp-mpi", b""),
            trusted_attributes=_stores(file, "trusted.hpcp-mpi", b"") if os.geteuid() == 0 else None,
            capabilities=_stores(file, "security.capability", _CAPABILITY),
            holes=_finds_holes(file),
            nameless=stage is None,
            locks=_locks(file),
            case=_case_of(kind, directory) if stage is None else lstat(NAME.upper(), stage) is None,
            owner=owner,
        )
    return replace(found, left=tuple(left))


def deduced(directory: int, kind: str) -> Abilities:
    """Return the abilities that are known without creating anything in a directory. Raises OSError."""
    stamps = [os.fstat(directory).st_ctime_ns]
    if not stamps[0] % 1000:
        with os.scandir(directory) as entries:
            stamps += [entry.stat(follow_symlinks=False).st_ctime_ns for entry in islice(entries, _SEEN)]
    step = 1 if stamps[0] % 1000 else step_of(stamps)
    return Abilities(
        kind=kind,
        times=StoredTimes(step),
        acls=Acls.HIDDEN if hides_acls(directory, kind) else None if _may_have(directory, ACCESS_ACL) else Acls.NONE,
        trusted_attributes=None if os.geteuid() or _may_have(directory, b"trusted.hpcp-mpi") else False,
        capabilities=False if os.geteuid() else None,
        user_attributes=None if _may_have(directory, b"user.hpcp-mpi") else False,
        case=_case_of(kind, directory),
    )


def hides_acls(directory: int, kind: str) -> bool:
    """Return whether a file system may have ACLs that it does not list, without a test."""
    return kind not in LISTING_ACLS and _may_have(directory, ACCESS_ACL)


def _may_have(directory: int, attribute: bytes) -> bool:
    try:
        os.getxattr(directory, attribute)
    except OSError as error:
        return error.errno not in _REFUSED
    return True


def step_of(stamps: Sequence[int]) -> int:
    """Return the longest time step (ns) of a file system that fits all these time stamps."""
    return next(step for step in reversed(_STEPS_NS) if not any(stamp % step for stamp in stamps))


def _times(file: int, kind: str) -> StoredTimes:
    """Return the times that can be stored. Raises OSError if none can be set."""
    lost = abs(_ODD_NS - _stored(file, _ODD_NS))
    step = next((step for step in _STEPS_NS if lost < step), _STEPS_NS[-1])
    earliest, low = _bound(file, -_FAR_NS, _BEGINNINGS)
    earliest = max(earliest, _SHOWN_FROM_NS.get(kind, earliest))
    latest, high = _bound(file, _FAR_NS, _ENDS)
    if not high and latest < ENDLESS_NS:
        latest += SECOND_NS - 1  # all of that second
    return StoredTimes(step, earliest, latest, clamps=low and high)


def _stored(file: int, time_ns: int) -> int:
    os.utime(file, ns=(time_ns, time_ns))
    return os.fstat(file).st_mtime_ns


def _bound(file: int, far_ns: int, known: Sequence[int]) -> tuple[int, bool]:
    """Return the time (ns) nearest to a far one that can be stored, and whether those beyond are clamped to it."""
    way = 1 if far_ns > 0 else -1
    with suppress(OSError):  # refused, so it is not stored
        found = _stored(file, far_ns)
        if _near(found, far_ns):
            return way * ENDLESS_NS, True
        if _stored(file, found + way * 2 * _STEPS_NS[-1]) == found:
            return found, True
    for seconds in known:
        with suppress(OSError):
            if _near(_stored(file, seconds * SECOND_NS), seconds * SECOND_NS):
                return seconds * SECOND_NS, False
    return way * ENDLESS_NS, True  # no consistent answer: cp decides


def _near(found_ns: int, wanted_ns: int) -> bool:
    return abs(found_ns - wanted_ns) < _STEPS_NS[-1]


def _acls(file: int) -> Acls | None:
    """Return the kind of ACLs of the file system, after setting one that no mode can express; None if unknown."""
    entries = ((0x01, 6, -1), (0x02, 6, os.geteuid()), (0x04, 0, -1), (0x10, 6, -1), (0x20, 0, -1))
    value = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, may, who & 0xFFFFFFFF) for tag, may, who in entries
    )
    try:
        os.setxattr(file, ACCESS_ACL, value)
        if os.fsdecode(ACCESS_ACL) in os.listxattr(file):
            return Acls.LISTED
        os.getxattr(file, ACCESS_ACL)
    except OSError as error:
        return Acls.NONE if error.errno in (*_REFUSED, errno.ENODATA) else None
    return Acls.HIDDEN


def _stores(file: int, attribute: str, value: bytes) -> bool | None:
    try:
        os.setxattr(file, attribute, value)
    except OSError as error:
        return False if error.errno in (*_REFUSED, errno.EPERM) else None
    return True


def _finds_holes(file: int) -> bool | None:
    """Return whether a file that is one hole is seen as such; None if that cannot be tested."""
    try:
        os.ftruncate(file, _HOLE)
        return os.lseek(file, 0, os.SEEK_HOLE) == 0
    except OSError:
        return None


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _case_of(kind: str, directory: int) -> bool:
    """Return whether names that differ only in case are two, by the type and the directory's flags."""
    return kind not in WITHOUT_CASE and not flags_of(directory) & CASE_FOLDING
