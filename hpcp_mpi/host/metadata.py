"""Reading and writing an entry's metadata: owner, mode, ACLs, extended attributes and times.

Some file systems have ACLs and do not list them among the attributes (MooseFS). Such `hidden` ACLs are read by their
names, which is a call more for each entry.

Writing goes through a descriptor that pins the entry. Its path in /proc means the pinned inode itself, also when that
is a symlink, so an entry that is swapped in under the name meanwhile is not written to.
"""

import errno
import os
import stat

from hpcp_mpi.host.dirfd import entered, path_of, pinned
from hpcp_mpi.host.latency import ParallelCalls
from hpcp_mpi.vocab.attributes import (
    ACCESS_ACL,
    ACL,
    CAPABILITY,
    DEFAULT_ACL,
    any_carried,
    is_carried,
    says_more_than_mode,
)

_NONE = (errno.ENOTSUP, errno.ENODATA)

Xattrs = dict[bytes, bytes]


def xattrs_of(parent: int, name: bytes, hidden: bool = False) -> Xattrs:
    """Return the extended attributes of an entry, ACLs among them. Raises OSError where one cannot be read.

    hidden: its file system does not list ACLs
    """
    path = path_of(parent, name)
    try:
        names = list(map(os.fsencode, os.listxattr(path, follow_symlinks=False)))
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
            value = os.getxattr(path, attribute, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NONE:
                raise
        else:
            if says_more_than_mode(attribute, value):
                found[attribute] = value
    return found


def carriers(directory: int, names: list[bytes], crowd: ParallelCalls, hidden: bool = False) -> list[bytes]:
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
) -> None:
    """Write an entry's metadata.

    expected: its lstat; another inode is left alone. owner: (uid, gid). xattrs: (wanted, found).
    times_ns: (atime, mtime), written last, as all before changes neither. Raises OSError.
    """
    with pinned(parent, name) as fd:
        now = os.fstat(fd)
        if (now.st_dev, now.st_ino) != (expected.st_dev, expected.st_ino):
            raise OSError(errno.ESTALE, "it was replaced by something else meanwhile")
        path = path_of(fd)
        if owner != (now.st_uid, now.st_gid):
            xattrs = xattrs[0], _change_owner(path, now.st_mode, owner, xattrs[1])
        if xattrs[0] != xattrs[1]:
            _write_xattrs(path, now.st_mode, *xattrs)
        if not stat.S_ISLNK(now.st_mode):
            # After the owner, as chown drops setuid bits; after the ACL, whose mask is the group's bits.
            os.chmod(path, mode)
        os.utime(path, ns=times_ns)


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


def _write_xattrs(path: bytes, mode: int, wanted: Xattrs, found: Xattrs) -> None:
    if os.geteuid() and not mode & stat.S_IWUSR and not stat.S_ISLNK(mode):
        os.chmod(path, stat.S_IMODE(mode) | stat.S_IWUSR)  # an owner may set the bit, and needs it to write attributes
        try:
            _write_each_xattr(path, wanted, found)
        except OSError:
            os.chmod(path, stat.S_IMODE(mode))
            raise
    else:
        _write_each_xattr(path, wanted, found)


def _write_each_xattr(path: bytes, wanted: Xattrs, found: Xattrs) -> None:
    for key in found.keys() - wanted.keys():
        try:
            os.removexattr(path, key)
        except OSError as error:
            if error.errno not in _NONE:
                raise
    for key, value in wanted.items():
        if found.get(key) == value:
            continue
        try:
            os.setxattr(path, key, value)
        except OSError as error:
            raise OSError(error.errno, f"{os.strerror(error.errno or 0)} (attribute {key.decode()})") from None
