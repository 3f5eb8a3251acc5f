"""Proof that `cp` was in no other directories of a source than those that are there by now.

`cp` opens what is in a subtree by path. Whoever may write to a directory on that path can exchange what it holds for a
symlink while `cp` runs, and put it back. Each name that is given, taken or exchanged in a directory sets its ctime, and
nobody can set that otherwise. So where all directories have ctimes from before the run, `cp` saw what is there now. All
are looked at when it has ended, by descriptor, before anything of the copy gets its name.
"""

import os
import select
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.host.mounts import type_of

# Types whose ctimes are this kernel's clock, and whose directories tell by their links how many directories they hold.
_LOCAL = frozenset(("ext2", "ext3", "ext4", "f2fs", "jfs", "tmpfs", "xfs"))
_LOCAL_TOO = frozenset(("bcachefs", "btrfs", "overlay", "ramfs", "zfs"))  # the first is true of them
# Seconds before the run from which on a change counts. The clock ticks every 10 ms, and some old file systems store
# every other second; a server's clock may be wrong.
_MARGIN = 3.0
_SERVER_MARGIN = 60.0
_NS = 10**9
_STX_CTIME = 0x60  # where struct statx has it
_LEAF = 2  # links of a directory without directories
_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = FLAGS | os.O_NOATIME  # a copy, whose times are right already


def only_ours(directory: os.stat_result, user: int) -> bool:
    """Return whether nobody but root and user can exchange what a directory holds.

    The bits of the group are also the mask of an ACL: no user whom it names may do more than they say. A sticky
    directory is everybody's: whoever owns an entry may exchange that one.
    """
    return directory.st_uid in (0, user) and not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def may_be_leaf(directory: os.stat_result) -> bool:
    """Return whether a directory's links do not tell that it holds directories."""
    return directory.st_nlink <= _LEAF


class Unchanged:
    """What shows of a source root that names in it were not changed since a run began."""

    def __init__(self, root: bytes, began_ns: int) -> None:
        """began_ns: of this node's clock"""
        kind = ""
        with suppress(OSError):
            kind = type_of(root)
        self._user = os.geteuid()
        self._leaves = kind in _LOCAL
        local = self._leaves or kind in _LOCAL_TOO
        self._fresh: Callable[[int], int] | None = None if local else _asked_ctime()
        self._before_ns = began_ns - int((_MARGIN if local else _SERVER_MARGIN) * _NS)

    def ours(self, directory: os.stat_result) -> bool:
        """Return whether only root and this user can exchange what is in a directory."""
        return only_ours(directory, self._user)

    def quiet(self, directory: os.stat_result) -> bool:
        """Return whether no name in a directory was changed since the run began, or only by root and this user."""
        return directory.st_ctime_ns < self._before_ns or self.ours(directory)

    def still_quiet(self, fd: int) -> bool:
        """Return the same of an open directory, whatever this node remembers of it. Raises OSError."""
        status = os.fstat(fd)
        if not self.quiet(status):
            return False
        return self._fresh is None or self.ours(status) or self._fresh(fd) < self._before_ns

    def holds(self, parent: int, name: bytes, copy: bytes) -> bool:
        """Return whether all directories of a subtree of which a copy was made are as they were when that was begun.

        parent: where its name is looked up; whether that is quiet is the caller's to know. copy: its path
        """
        try:
            return self._holds(parent, name, copy)
        except OSError:
            return False

    def _holds(self, parent: int, name: bytes, copy: bytes) -> bool:
        device = os.fstat(parent).st_dev
        stack: list[tuple[int, bytes, Iterator[bytes]]] = []
        try:
            self._enter(stack, parent, name, copy)
            while stack:
                fd, path, children = stack[-1]
                child = next(children, None)
                if child is not None:
                    self._enter(stack, fd, child, path + b"/" + child)
                    continue
                # After those in it were opened: they are the ones that `cp` was in if it did not change before this.
                if os.fstat(fd).st_dev != device or not self.still_quiet(fd):  # another user may have mounted that
                    return False
                os.close(fd)
                stack.pop()
        finally:
            for fd, _, _ in stack:
                os.close(fd)
        return True

    def _enter(self, stack: list[tuple[int, bytes, Iterator[bytes]]], parent: int, name: bytes, copy: bytes) -> None:
        fd = os.open(name, _ENTER, dir_fd=parent)
        stack.append((fd, copy, iter(())))
        if self._leaves and os.fstat(fd).st_nlink == _LEAF:
            return
        stack[-1] = fd, copy, iter(_directories_in(copy))


def _directories_in(path: bytes) -> list[bytes]:
    fd = os.open(path, _LIST)
    try:
        with os.scandir(fd) as entries:
            return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    finally:
        os.close(fd)


class MountTable:
    """The table of mounts: some users may mount file systems, and what those show is theirs."""

    def __init__(self) -> None:
        """Remember it as it is now. Raises OSError."""
        self._file = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI)

    def changed(self) -> bool:
        """Return whether something was mounted or unmounted meanwhile."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        os.close(self._file)


def _asked_ctime() -> Callable[[int], int]:
    """Return a function for the ctime (ns) of an open file as its server knows it by now; it raises OSError."""
    import ctypes  # Python has no statx, and local file systems do not need it

    statx = ctypes.CDLL(None, use_errno=True).statx
    empty_path, force_sync, ctime = 0x1000, 0x2000, 0x80

    def ask(fd: int) -> int:
        answer = ctypes.create_string_buffer(256)
        if statx(fd, b"", empty_path | force_sync, ctime, answer):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        seconds, nanoseconds = struct.unpack_from("=qI", answer.raw, _STX_CTIME)
        return int(seconds * _NS + nanoseconds)

    return ask
