"""Stages: private directories in which copies are made before they are renamed to their names.

A stage lies in the directory that its content is for, so that the rename stays in one file system, quota and
inheritance. It belongs to this user and no other user may enter it, so nothing in it can be swapped while `cp` writes;
an entry appears under its final name in one step, complete. A killed run leaves its stages behind; the next run removes
those that no living process holds locked.

A name proves nothing: others may give it to what is not ours. A stage is marked by a sticky bit, which means nothing
in a directory that only its owner may enter, and which only its owner, that is this user, can have set (`is_stage`).

Most stages belong to the one thread that made them. Those of big files are shared: many ranks write into one.
"""

import errno
import fcntl
import itertools
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.host.entries import lstat, names_in
from hpcp_mpi.host.machine import kept_open
from hpcp_mpi.host.mounts import mount_under, mounts_below
from hpcp_mpi.host.remove_tree import remove_tree
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.vocab.errors import reason_of
from hpcp_mpi.vocab.paths import STAGE_PREFIX

_NAME = re.compile(re.escape(STAGE_PREFIX) + rb"[0-9a-f]{8}\.[0-9]+\.[0-9]+")  # run, rank, number
_MODE = 0o700 | stat.S_ISVTX
_OLD_SECONDS = 24 * 3600  # without locks, a stage this old is a dead run's
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EBADF)
_NEW_TRIES = 5  # names for a new one
REPLACED = "another user replaced our staging directory with another one"
_TRIES = 100  # to remove a stage that others write in: each takes less time than they take to make a file
_numbers = itertools.count()
# Shared stages that a process keeps locked: the last ones used. Others are only started and wait for their ranges.
_HELD = 256


@contextmanager
def staged(directory: int, token: str, remark: Callable[[bytes, str], None], inherit: bool = False) -> Iterator[int]:
    """Yield a descriptor of a new stage in directory; remove the stage with all that is left in it.

    inherit: entries made in it get the group that they would get in directory; they always get the default ACL.
    remark: called with the stage's name and a message when it cannot be removed: the next run does that.
    Raises OSError; PermissionError with an explanation when the stage is not ours alone.
    """
    name, stage = _new(directory, token, inherit)
    try:
        yield stage
    finally:
        _discard(directory, name, stage, remark)


@contextmanager
def set_aside(directory: int, token: str, remark: Callable[[bytes, str], None]) -> Iterator[int]:
    """Yield a descriptor of a new private directory in directory, for entries that are to be looked at undisturbed.

    What is left in it at the end is kept, and so is it: it has no stage's mark, so that no run sweeps it, not even if
    this one is killed. remark: as for `staged`, then. Raises OSError as that does.
    """
    name, aside = _new(directory, token, inherit=False)
    try:
        os.fchmod(aside, stat.S_IMODE(os.fstat(aside).st_mode) & ~stat.S_ISVTX)
        yield aside
    finally:
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            remark(name, f"a private directory of this run stays: {reason_of(error)}; what is in it had no other place")
        finally:
            os.close(aside)


def _new(directory: int, token: str, inherit: bool, lock: int = fcntl.LOCK_EX) -> tuple[bytes, int]:
    """Make a stage in directory, locked; return its name and a descriptor. Raises OSError."""
    for tries in itertools.count(1):
        name = STAGE_PREFIX + b"%s.%d" % (token.encode(), next(_numbers))
        try:
            return name, _make_new(directory, name, inherit, lock)
        except FileExistsError:  # the kernel repeats mkdir(2) when a handle is stale, and finds what it has made
            if tries == _NEW_TRIES:
                raise
        except BlockingIOError:  # another run takes it for a dead one's: the lock was not there yet
            if tries == _NEW_TRIES:
                raise PermissionError(errno.EPERM, REPLACED) from None
    raise AssertionError


def _make_new(directory: int, name: bytes, inherit: bool, lock: int) -> int:
    """What has the name but is not the new stage is left as it is: another user has put it there."""
    stage = -1
    try:
        os.mkdir(name, _MODE, dir_fd=directory)
        stage = os.open(name, FLAGS, dir_fd=directory)
        _make_private(directory, stage, inherit)
        try:
            fcntl.flock(stage, lock | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks: the next run goes by age
        return stage
    except BaseException:
        if stage >= 0:
            os.close(stage)
        with suppress(OSError):  # it may exist, and only the answer was lost
            os.rmdir(name, dir_fd=directory)
        raise


def _discard(directory: int, name: bytes, stage: int, remark: Callable[[bytes, str], None]) -> None:
    """Remove a stage and close its descriptor; an error is only remarked."""
    try:
        _drop(directory, name, stage)
    except OSError as error:
        remark(name, f"a staging directory of this run could not be removed: {reason_of(error)}")
    finally:
        os.close(stage)


def _drop(directory: int, name: bytes, stage: int) -> None:
    """Remove a stage, emptied by its descriptor: another user may have put something else under its name."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError:
        retried(lambda: _empty_and_drop(directory, name, stage))


def _empty_and_drop(directory: int, name: bytes, stage: int) -> None:
    for left in names_in(stage):
        remove_tree(stage, left)
    os.rmdir(name, dir_fd=directory)


def _drop_in_use(directory: int, name: bytes, stage: int) -> None:
    """Remove a stage that another process may be writing in, with what that makes meanwhile. Raises OSError."""
    for _ in range(_TRIES):
        try:
            _drop(directory, name, stage)
            return
        except FileNotFoundError:
            if lstat(name, directory) is None:
                return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    _drop(directory, name, stage)


def _make_private(directory: int, stage: int, inherit: bool) -> None:
    """Set the mode of a new stage. Raises PermissionError if another user put a directory in its place."""
    status, above = os.fstat(stage), os.fstat(directory)
    if status.st_uid != os.geteuid():
        raise PermissionError(
            errno.EPERM,
            f"a directory that was just made here belongs to uid {status.st_uid}: another user replaced it, "
            "or the file system changes owners (NFS with root_squash: run as the owner of the files)",
        )
    alone = above.st_uid in (0, os.geteuid()) and not above.st_mode & 0o022
    if not alone and _was_there(stage, status):
        raise PermissionError(errno.EPERM, REPLACED)
    # A setgid bit would be passed on to directories that do not have it. Users other than root need it, for files of
    # groups that they cannot give files to.
    inherited = status.st_mode & stat.S_ISGID if inherit or os.geteuid() != 0 else 0
    if stat.S_IMODE(status.st_mode) != _MODE | inherited:
        try:
            os.fchmod(stage, _MODE | inherited)
        except PermissionError:  # a file system that knows no sticky bit, as FAT
            os.fchmod(stage, 0o700 | inherited)
        if status.st_mode & 0o077 and names_in(stage):
            raise PermissionError(errno.EPERM, REPLACED)


def _was_there(stage: int, status: os.stat_result) -> bool:
    """Return whether a directory of ours is not the one that was just made: another user has given it that name.

    Then it holds something, or lacks the mark, as one does that becomes somebody's when it is settled; or is locked.
    """
    if names_in(stage):
        return True
    if status.st_mode & stat.S_ISVTX:
        return False
    os.mkdir(b"mark", _MODE, dir_fd=stage)  # are there marks here?
    try:
        marked = lstat(b"mark", stage)
        return marked is not None and bool(marked.st_mode & stat.S_ISVTX)
    finally:
        os.rmdir(b"mark", dir_fd=stage)


def owner_of_stage(directory: int, name: bytes) -> int | None:
    """Return whose stage an entry is, by its name and its inode; None if it is none, but somebody's data.

    Nothing but names that begin as stages' do is looked at. Raises OSError.
    """
    if not _NAME.fullmatch(name):
        return None
    status = lstat(name, directory)
    if status is None or not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) & ~stat.S_ISGID != _MODE:
        return None
    return status.st_uid if status.st_dev == os.fstat(directory).st_dev else None


def is_stage(directory: int, name: bytes) -> bool:
    """Return whether an entry is a stage that this user's runs made, not only called so. Raises OSError."""
    return owner_of_stage(directory, name) == os.geteuid()


def stages_among(directory: int, names: Iterable[bytes]) -> list[bytes]:
    """Return those of some names in a directory that are stages of this user's runs. Raises OSError."""
    return [name for name in names if name.startswith(STAGE_PREFIX) and is_stage(directory, name)]


def _is_no_stage(directory: int, name: bytes, stage: int) -> bool:
    """Return whether an open directory is no stage of this user's. Raises OSError if it is one with a mount in it."""
    if not _NAME.fullmatch(name) or mount_under(stage) != mount_under(directory):
        return True
    status = os.fstat(stage)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & ~stat.S_ISGID != _MODE:
        return True
    if mounts_below(stage):
        raise OSError(errno.EBUSY, "something is mounted in it; unmount that first")
    return False


def sweep(directory: int, name: bytes, lost: bool = False, over: bool = False) -> bool:
    """Remove a stage that another run left in directory; return False when that run may be alive, or was not ours.

    What is no stage of this user's stays, whatever it is called. Raises OSError, also where something is mounted in it.

    lost: the stage is a lost rank's of this run, and is removed even if its `cp` still runs or the rank comes back:
    neither can then give anything in it a name. A stage that ranks share stays, unless over: nothing uses it any more.
    """
    try:
        stage = os.open(name, FLAGS, dir_fd=directory)
    except OSError:
        return True  # gone, or not a stage
    try:
        if _is_no_stage(directory, name, stage):
            return False
        if lost and (over or lstat(name, stage) is None):
            _drop_in_use(directory, name, stage)
            return True
        try:
            fcntl.flock(stage, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if time.time() - os.fstat(stage).st_mtime < _OLD_SECONDS:
                return False
        _drop(directory, name, stage)
    finally:
        os.close(stage)
    return True


class SharedStages:
    """The stages that outlive the function that made them, and that all ranks write into. Thread-safe.

    A process keeps a shared lock on those that it used last, so that no other run takes them for dead.
    """

    def __init__(self, token: str, inherit: bool = False) -> None:
        """token: unique to this process. inherit: as for `staged`."""
        self._token = token
        self._inherit = inherit
        self._guard = threading.Lock()
        self._held: OrderedDict[bytes, int] = OrderedDict()
        self._made: dict[bytes, bytes] = {}

    def make(self, directory: int, where: bytes) -> tuple[bytes, int]:
        """Make a stage in directory; return its name and a descriptor. where: the directory's path, for made().

        Raises OSError; PermissionError with an explanation when the stage is not ours alone.
        """
        name, stage = _new(directory, self._token, self._inherit, fcntl.LOCK_SH)
        try:
            self._hold(name, stage)
        except BaseException:
            with suppress(OSError):
                _drop(directory, name, stage)
            os.close(stage)
            raise
        with self._guard:
            self._made[name] = where
        return name, stage

    def enter(self, directory: int, name: bytes) -> int:
        """Return a descriptor of a stage that a rank of this run made. Raises OSError when it is gone, or not ours."""
        stage = os.open(name, FLAGS, dir_fd=directory)
        try:
            status = os.fstat(stage)
            # Emptied in the end, whatever is in it: so it is not enough that it is ours and private.
            marked = status.st_mode & stat.S_ISVTX or names_in(stage) <= {name}
            if status.st_uid != os.geteuid() or status.st_mode & 0o777 != 0o700 or not marked:
                raise PermissionError(errno.EPERM, "another user replaced it with a directory of their own")
            self._hold(name, stage)
        except BaseException:
            os.close(stage)
            raise
        return stage

    def remove(self, directory: int, name: bytes, stage: int, remark: Callable[[bytes, str], None]) -> None:
        """Remove a stage that was made or entered, and close its descriptor. remark: as for `staged`."""
        with self._guard:
            self._made.pop(name, None)
            held = self._held.pop(name, None)
        if held is not None:
            os.close(held)
        _discard(directory, name, stage, remark)

    def made(self) -> list[tuple[bytes, bytes]]:
        """Return (where, name) of the stages that this process made and did not remove."""
        with self._guard:
            return [(where, name) for name, where in self._made.items()]

    def close(self) -> None:
        """Release all locks."""
        with self._guard:
            while self._held:
                os.close(self._held.popitem()[1])

    __del__ = close

    def _hold(self, name: bytes, stage: int) -> None:
        with self._guard:
            if name in self._held:
                self._held.move_to_end(name)
                return
        try:
            fcntl.flock(stage, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another run considers it dead and removes it") from None
        except OSError:
            os.utime(stage)  # no locks here: the next run decides by age
            return
        kept = os.dup(stage)  # one lock with stage, which lasts until both are closed
        with self._guard:
            other = self._held.pop(name, None)
            self._held[name] = kept
            oldest = self._held.popitem(last=False)[1] if len(self._held) > kept_open(_HELD, 8) else None
        for unneeded in (other, oldest):
            if unneeded is not None:
                os.close(unneeded)
