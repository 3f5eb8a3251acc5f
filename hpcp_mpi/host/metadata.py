"""Reading and writing an entry's metadata: owner, mode, ACLs, extended attributes and times.

Some file systems have ACLs and do not list them among the attributes (MooseFS). Such `hidden` ACLs are read by their
names, which is a call more for each entry.

Writing goes through a descriptor that pins the entry. Its path in /proc means the pinned inode itself, also when that
is a symlink, so an entry that is swapped in under the name meanwhile is not written to.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

from hpcp_mpi.host.dirfd import entered, path_of, pinned
from hpcp_mpi.host.latency import ParallelCalls
from hpcp_mpi.vocab.attributes import (
    ACCESS_ACL,
    ACL,
    CAPABILITY,
    DEFAULT_ACL,
    REFUSALS,
    any_carried,
    is_carried,
    says_more_than_mode,
)

_NOBODYS = b".hpcp-mpi.none"  # in each name space
_NONE = (errno.ENOTSUP, errno.ENODATA)

Xattrs = dict[bytes, bytes]
Refusals = dict[bytes, int]  # attributes that a file system does not take, and the errors with which it says so


def xattrs_of(parent: int, name: bytes, hidden: bool = False) -> Xattrs:
    """Return the extended attributes of an entry, ACLs among them. Raises OSError where one cannot be read.

    hidden: its file system does not list ACLs
    """
    if name == b".":
        try:
            return xattrs_of_open(parent, hidden)  # no path to look up: a third of the time
        except OSError as error:
            if error.errno != errno.EBADF:  # opened with O_PATH
                raise
    return _xattrs(path_of(parent, name), hidden, False)


def xattrs_of_open(file: int, hidden: bool = False) -> Xattrs:
    """Return the same of an open file. Raises OSError."""
    return _xattrs(file, hidden, True)


def _xattrs(entry: bytes | int, hidden: bool, follow: bool) -> Xattrs:
    """Do so for a path or a descriptor, of which Python wants that it is followed. Raises OSError."""
    try:
        names = list(map(os.fsencode, os.listxattr(entry, follow_symlinks=follow)))
    except OSError as error:
        if error.errno not in _NONE:
            raise
        names = []
    if hidden:
        names = [*{*names, ACCESS_ACL, DEFAULT_ACL}]
    found: Xattrs = {}
    for attribute in names:
        if not is_carried(attribute):
            continue
        try:
            value = os.getxattr(entry, attribute, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in _NONE:
                raise
        else:
            if says_more_than_mode(attribute, value):
                found[attribute] = value
    return found


def carriers(directory: int, names: Sequence[bytes], crowd: ParallelCalls, hidden: bool = False) -> list[bytes]:
    """Return the names of files that carry attributes, or whose attributes cannot be read. hidden: as above"""
    found: list[bytes] = []

    def ask(name: bytes) -> None:
        if _may_carry(path_of(directory, name), hidden):
            found.append(name)

    if crowd.each(ask, names):
        return found
    with entered(directory) as path:
        paths = [path + name for name in names] if path else names
        if not hidden:
            try:
                return [
                    name
                    for name, at in zip(names, paths, strict=True)
                    if (listed := os.listxattr(at, follow_symlinks=False)) and any_carried(listed)
                ]
            except OSError as error:
                if error.errno == errno.ENOTSUP:
                    return []  # a file system without attributes
        return [name for name, at in zip(names, paths, strict=True) if _may_carry(at, hidden)]


def _may_carry(path: bytes, hidden: bool) -> bool:
    try:
        return any_carried(os.listxattr(path, follow_symlinks=False)) or (hidden and has_acl(path))
    except OSError:
        return True  # the closer look will report the error


def has_acl(file: int | bytes) -> bool:
    """Return whether a file has an ACL, without listing its attributes. Raises OSError."""
    try:
        return says_more_than_mode(ACCESS_ACL, os.getxattr(file, ACCESS_ACL))
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return False


def xattr_letters(wanted: Xattrs, found: Xattrs) -> str:
    """Return "a" if ACLs differ, "x" if other attributes do, "ax" or ""."""
    if wanted == found:
        return ""
    letters = {"a" if key.startswith(ACL) else "x" for key in {*wanted, *found} if wanted.get(key) != found.get(key)}
    return "".join(sorted(letters))


def write(
    parent: int,
    name: bytes,
    expected: os.stat_result,
    owner: tuple[int, int],
    mode: int,
    xattrs: tuple[Xattrs, Xattrs],
    times_ns: tuple[int, int],
    unseen: bool = False,
) -> Refusals:
    """Write an entry's metadata; return which attributes its file system refuses: it is without them.

    expected: its lstat; another inode is left alone. owner: (uid, gid). xattrs: (wanted, found).
    times_ns: (atime, mtime), written last, as all before changes neither.
    unseen: another node may have changed owner, mode and ACL, and this one may not see it yet. Raises OSError.
    """
    refused: Refusals = {}
    if unseen:
        xattrs = xattrs[0], {key: b"" if key.startswith(ACL) else value for key, value in xattrs[1].items()}
    with pinned(parent, name) as fd:
        now = _expected(fd, expected)
        path = path_of(fd)
        if owner != (now.st_uid, now.st_gid) or (unseen and not os.geteuid()):
            xattrs = xattrs[0], _change_owner(path, now.st_mode, owner, xattrs[1])
        if xattrs[0] != xattrs[1]:
            refused = _write_xattrs(path, now.st_mode, *xattrs)
        if not stat.S_ISLNK(now.st_mode):
            # After the owner, as chown drops setuid bits; after the ACL, whose mask is the group's bits.
            os.chmod(path, mode)
        os.utime(path, ns=times_ns)
    return refused


def write_xattrs(parent: int, name: bytes, expected: os.stat_result, wanted: Xattrs, found: Xattrs) -> Refusals:
    """Write an entry's attributes, and nothing else; return those that are refused. Raises OSError.

    Of an entry that needs nothing else: if all are refused, it is as it was.
    """
    with pinned(parent, name) as fd:
        mode = _expected(fd, expected).st_mode
        path = path_of(fd)
        refused = _write_xattrs(path, mode, wanted, found)
        if not stat.S_ISLNK(mode) and os.fstat(fd).st_mode != mode:
            os.chmod(path, stat.S_IMODE(mode))
        return refused


def _expected(fd: int, expected: os.stat_result) -> os.stat_result:
    """Return the status of what is open. Raises OSError if it is another inode than expected."""
    now = os.fstat(fd)
    if (now.st_dev, now.st_ino) != (expected.st_dev, expected.st_ino):
        raise OSError(errno.ESTALE, "it was replaced by something else meanwhile")
    return now


def _change_owner(path: bytes, mode: int, owner: tuple[int, int], found: Xattrs) -> Xattrs:
    """Give an entry to another owner or group; return what it has of the attributes found then. Raises OSError."""
    closed = stat.S_IMODE(mode) & stat.S_IRWXU
    tighten = not stat.S_ISLNK(mode) and closed != stat.S_IMODE(mode)
    if tighten:
        os.chmod(path, closed)  # what the old group and others might, the new ones may not: they get theirs at the end
    try:
        os.chown(path, *owner)
    except OSError:
        if tighten:
            os.chmod(path, stat.S_IMODE(mode))
        raise
    if not stat.S_ISREG(mode):
        return found
    return {key: value for key, value in found.items() if key != CAPABILITY}  # the kernel has dropped it


def _write_xattrs(path: bytes, mode: int, wanted: Xattrs, found: Xattrs) -> Refusals:
    if os.geteuid() and not mode & stat.S_IWUSR and not stat.S_ISLNK(mode):
        os.chmod(path, stat.S_IMODE(mode) | stat.S_IWUSR)  # an owner may set the bit, and needs it to write attributes
        try:
            return _write_each_xattr(path, wanted, found)
        except OSError:
            os.chmod(path, stat.S_IMODE(mode))
            raise
    return _write_each_xattr(path, wanted, found)


def _write_each_xattr(path: bytes, wanted: Xattrs, found: Xattrs) -> Refusals:
    refused: Refusals = {}
    for key in found.keys() - wanted.keys():
        _remove_xattr(path, key)
    for key, value in wanted.items():
        if found.get(key) == value:
            continue
        try:
            os.setxattr(path, key, value)
        except OSError as error:
            if not is_refusal(error, path):
                raise OSError(error.errno, f"{os.strerror(error.errno or 0)} (attribute {key.decode()})") from None
            refused[key] = error.errno or 0
            if key in found:
                _remove_xattr(path, key)  # an old value would be wrong; a new copy would have none
    return refused


def _remove_xattr(path: bytes, key: bytes) -> None:
    try:
        os.removexattr(path, key)
    except OSError as error:
        if error.errno not in _NONE:
            raise


def is_refusal(error: OSError, path: bytes | int) -> bool:
    """Return whether an attribute of path was refused for good: not because the disk is full just now."""
    if error.errno == errno.ENOSPC:
        try:
            room = os.statvfs(path)
        except OSError:
            return False
        return room.f_bfree > 0 or room.f_blocks == 0
    return error.errno in REFUSALS


def lacking(wanted: Xattrs, found: Xattrs, refused: Iterable[bytes]) -> str:
    """Return the letters of what was really changed, after some attributes were refused."""
    kept = {key: value for key, value in wanted.items() if key not in refused}
    return xattr_letters(kept, found)


def _ask(path: bytes, key: bytes, value: bytes) -> None:
    """Raise OSError as writing an attribute would, as far as that shows without it."""
    for ask in (
        lambda: os.setxattr(path, key.partition(b".")[0] + _NOBODYS, value, os.XATTR_REPLACE),
        lambda: os.getxattr(path, key),
    ):
        try:
            ask()
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise


def refused_beside(directory: int, wanted: Xattrs, found: Xattrs) -> Refusals:
    """Return which attributes an entry of a directory would be refused; as far as that can be known without making it.

    Tried on a file without a name, which has what the entry has already; else, it is asked for one that nobody has to
    be replaced, and then for its value: that changes nothing, and what is too big, or not stored, is refused at once.
    """
    refused: Refusals = {}
    trying: dict[bytes, bytes] = {key: value for key, value in wanted.items() if found.get(key) == value}
    trying |= {key: value for key, value in wanted.items() if found.get(key) != value and key != DEFAULT_ACL}
    file = None
    with suppress(OSError):
        file = os.open(path_of(directory), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        for key, value in trying.items():
            try:
                if file is not None:
                    os.setxattr(file, key, value)
                elif not key.startswith(ACL) and found.get(key) != value:
                    _ask(path_of(directory), key, value)
            except OSError as error:
                if found.get(key) != value and is_refusal(error, path_of(directory)):
                    refused[key] = error.errno or 0
    finally:
        if file is not None:
            os.close(file)
    return refused
