"""Places of our own files (ledgers, reports, lists), so that no other user chooses which file is opened.

A path is resolved once, component by component, by descriptors, symlinks included. What is known at the end: the
directory, held open; what has the name in it; whose symlinks led there; and who else could exchange a part of the path.
"""

import errno
import grp
import os
import pwd
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import printable

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # on a path, as in the kernel
_GOES_ON = (errno.ENOTDIR, errno.ELOOP)  # what O_DIRECTORY with O_NOFOLLOW says of a symlink
_DESCRIPTORS = re.compile(rb"/proc/(\d+)(?:/task/\d+)?/fd")


@dataclass(slots=True)
class Place:
    """A name in a directory that is held open, whatever is renamed above it meanwhile."""

    path: bytes  # absolute, without symlinks
    directory: int  # a descriptor that may only be looked up in
    name: bytes
    entry: int = -1  # a descriptor (O_PATH) of what has the name; -1: nothing has it
    status: os.stat_result | None = None  # of the entry
    linked: bool = False  # the last component is a symlink, which was followed
    descriptor: int = -1  # the path names this open file of ours, as /dev/fd/3 does
    link_owners: set[int] = field(default_factory=set)  # other users whose symlinks were followed
    swappable: str = ""  # who could exchange a part of the path above the directory, in words; "": nobody
    writable: str = ""  # who else may make names in the directory, in words; "": nobody

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in (self.directory, self.entry):
            if fd >= 0:
                os.close(fd)
        self.directory = self.entry = -1

    def reopened(self, flags: int) -> int:
        """Return a new descriptor of the very entry that was looked at. Raises OSError."""
        return os.open(f"/proc/self/fd/{self.entry}", flags | os.O_NOCTTY | os.O_CLOEXEC)


@dataclass(slots=True)
class _Step:
    """A directory on the way."""

    name: bytes
    fd: int
    status: os.stat_result


def find(path: bytes) -> Place:
    """Return the place that a path names; the last component need not exist. Raises OSError."""
    steps, place = [_root()], Place(b"", -1, b"")
    try:
        _walk(path if path.startswith(b"/") else os.path.join(os.getcwdb(), path), steps, place)
        place.directory, last = os.dup(steps[-1].fd), steps[-1]
        place.path = b"/".join([step.name for step in steps] + [place.name])
        place.writable = _who_writes(last)
        return place
    except BaseException:
        place.close()
        raise
    finally:
        for step in steps:
            os.close(step.fd)


def _root() -> _Step:
    fd = os.open("/", _LOOK | os.O_DIRECTORY)
    return _Step(b"", fd, os.fstat(fd))


def _walk(path: bytes, steps: list[_Step], place: Place) -> None:
    """Follow a path to its last component."""
    rest = [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]
    links = 0
    while rest:
        name = rest.pop()
        if name == b"..":
            if len(steps) > 1:
                os.close(steps.pop().fd)
            continue
        above, fd = steps[-1], -1
        try:
            fd = _opened(name, above.fd, is_last=not rest)
            status = os.fstat(fd)
            _note_danger(above, status, steps, place)
            if stat.S_ISLNK(status.st_mode):
                place.descriptor = _descriptor(steps, name)
                if place.descriptor >= 0 and not rest:
                    place.name, place.entry, place.status, fd = name, fd, os.fstat(place.descriptor), -1
                    return
                place.descriptor, place.linked = -1, place.linked or not rest
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if not _is_trusted(status.st_uid):
                    place.link_owners.add(status.st_uid)
                target = os.readlink(b"", dir_fd=fd)
                if target.startswith(b"/"):
                    while len(steps) > 1:
                        os.close(steps.pop().fd)
                rest += [each for each in reversed(target.split(b"/")) if each not in (b"", b".")]
            elif rest:
                if not stat.S_ISDIR(status.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                steps.append(_Step(name, fd, status))
                fd = -1
            else:
                place.name, place.entry, place.status, fd = name, fd, status, -1
        except FileNotFoundError:
            if rest:
                raise
            place.name = name
        finally:
            if fd >= 0:
                os.close(fd)
    if not place.name:  # `/`, or what ends in `..`
        last = steps.pop() if len(steps) > 1 else _root()
        place.name, place.entry, place.status = last.name or b".", last.fd, last.status


def _opened(name: bytes, above: int, is_last: bool) -> int:
    """Return a descriptor of a component. As a directory first, since that mounts what is mounted on demand."""
    try:
        return os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=above)
    except OSError as error:
        if error.errno not in _GOES_ON:
            raise
    return os.open(name, _LOOK, dir_fd=above)


def _descriptor(steps: list[_Step], name: bytes) -> int:
    """Return the number of the open file of this process that a symlink stands for; -1: it is another symlink."""
    found = _DESCRIPTORS.fullmatch(b"/".join(step.name for step in steps))
    if found is None or not name.isdigit() or int(found[1]) != os.getpid():
        return -1
    return int(name) if steps[-1].status.st_dev == os.stat("/proc/self").st_dev else -1


# --- who may change what


def _note_danger(above: _Step, status: os.stat_result, steps: list[_Step], place: Place) -> None:
    """Note who could exchange an entry of a directory."""
    who = _who_writes(above)
    if not who or place.swappable:
        return
    # In a sticky directory names belong to the owners of what they are of, and to the directory's.
    if _is_trusted(above.status.st_uid) and above.status.st_mode & stat.S_ISVTX and _is_trusted(status.st_uid):
        return
    if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
        place.swappable = f"{who} {printable(b'/'.join(step.name for step in steps) or b'/')}"


def _who_writes(directory: _Step) -> str:
    """Return who else may make names in a directory, as "all may write to"; "" for nobody."""
    mode, owner = directory.status.st_mode, directory.status.st_uid
    if not _is_trusted(owner):
        return f"another user (uid {owner}) owns"
    if mode & stat.S_IWOTH:
        return "all may write to"
    if mode & stat.S_IWGRP and not _is_private(directory):
        return f"others (group {_group(directory.status.st_gid)}) may write to"
    return ""


def _group(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def is_ours(status: os.stat_result) -> bool:
    """Return whether a file was written by nobody but this user and root, and has no name elsewhere."""
    return _is_trusted(status.st_uid, itself=True) and not status.st_mode & 0o022 and status.st_nlink == 1


def is_trusted_owner(uid: int) -> bool:
    """Return whether what belongs to a user is as good as our own."""
    return _is_trusted(uid, itself=True)


def _is_trusted(uid: int, itself: bool = False) -> bool:
    """itself: of a file. Else of what it is in, which may be owned by a root that is shown as nobody."""
    return uid in (0, os.geteuid()) or (not itself and uid == _unmapped_root())


@cache
def _unmapped_root() -> int:
    """Return the uid that the machine's root has in this user namespace if it has none of its own; -1: it has.

    So it is in a container without privileges, where all of the machine's directories seem to be nobody's.
    """
    try:
        with open("/proc/self/uid_map", "rb") as file:
            maps = [tuple(map(int, line.split())) for line in file]
        with open("/proc/sys/kernel/overflowuid", "rb") as file:
            overflow = int(file.read())
    except (OSError, ValueError):
        return -1
    return -1 if any(outside == 0 and inside == 0 for inside, outside, _ in maps) else overflow


def _is_private(directory: _Step) -> bool:
    """Return whether the group of a directory is this user's alone, as some systems make one for every user.

    Root has no such group: others may have been put into it.
    """
    uid, gid = os.geteuid(), directory.status.st_gid
    if uid == 0:
        return False
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    if user.pw_gid != gid or group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
        return False
    # With an ACL the bits of the group are the most that anyone named there has.
    for name in ("system.posix_acl_access", "system.nfs4_acl"):
        try:
            os.getxattr(f"/proc/self/fd/{directory.fd}", name)
            return False
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                return False
    return True


# --- files that are read


def opened_to_read(path: bytes, called: str, stopped: Callable[[], bool] = lambda: False) -> int:
    """Return a descriptor of a file that is read, as a list is. It does not wait for the writer of a FIFO.

    called: as in messages. Raises FatalError where another user's symlink leads to what is not theirs; OSError.
    """
    place = find(path)
    try:
        if place.descriptor >= 0:
            return os.dup(place.descriptor)
        if place.status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        refuse_strange_links(place, called, place.status.st_uid)
        return place.reopened(os.O_RDONLY | os.O_NONBLOCK)
    finally:
        place.close()


def refuse_strange_links(place: Place, called: str, owner: int = -1) -> None:
    """Raise FatalError if another user's symlink leads to the place. owner: of what it leads to, whose may do so."""
    strange = place.link_owners - {owner}
    if strange:
        raise FatalError(
            f"{called} is behind a symlink of another user (uid {min(strange)}), who chooses what it leads to",
            f"If it is to be {printable(place.path)}: name that.",
        )
