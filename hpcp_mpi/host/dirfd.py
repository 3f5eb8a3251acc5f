"""Directories opened by descriptor: no component below a root is ever a symlink, even if one is swapped in.

Each component is opened in its parent's descriptor with O_NOFOLLOW. That also reaches paths longer than PATH_MAX.
"""

import errno
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from hpcp_mpi.host.machine import kept_open
from hpcp_mpi.host.retrying import never, passes, retried

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# For using names in a directory: it costs no request to the server of a network file system, unlike opening to list.
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # for files: a FIFO does not wait
_CACHED = 48  # parents kept open by each thread's Tree
_TRIES = 40  # to make a directory: 7 s if each has to wait for this node's cache
_LONGEST_PAUSE = 0.2  # seconds between two of them
_BLOCKED = (errno.ENOTDIR, errno.ELOOP)  # the errors of O_DIRECTORY | O_NOFOLLOW for a file or a symlink


class Tree:
    """One root directory and the directories below it. Not thread-safe: every thread has its own.

    A stale descriptor is opened again, from the root on.
    """

    def __init__(
        self,
        root: bytes,
        pin: int | None = None,
        stopped: Callable[[], bool] = never,
        note_made: Callable[[bytes, int], None] | None = None,
    ) -> None:
        """Open root, a path that the user named: symlinks in it are followed. Raises OSError.

        pin: a descriptor of it, to open that directory even if another one has its name by now.
        stopped: returns whether to stop waiting for a server to come back.
        note_made: is called with (path, descriptor) of each directory that this made
        """
        self.root = root
        self._stopped = stopped
        self._note_made = note_made
        # O_PATH: entries of a directory that may not be listed can still be reached by name.
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        # A duplicate, not its `.`: that may be closed to this user, who may still remove the directory.
        self._root_fd = retried(lambda: os.open(root, flags), stopped) if pin is None else os.dup(pin)
        self._parents: OrderedDict[bytes, int] = OrderedDict()
        self._most = kept_open(_CACHED)

    def forget(self) -> None:
        """Close the kept descriptors below the root: one of them may be stale."""
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def close(self) -> None:
        self.forget()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def __del__(self) -> None:
        # Threads do not close this when they end; a program that copies again and again would run out of descriptors.
        if hasattr(self, "_parents"):
            self.close()

    @contextmanager
    def at(self, path: bytes) -> Iterator[int]:
        """Yield a descriptor of the directory path (relative; b"" is the root). Raises OSError."""
        fd = self.opened(path)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def handle(self, path: bytes) -> Iterator[int]:
        """Yield a descriptor for using names in the directory path; it cannot be listed. Raises OSError."""
        fd = self.opened(path, _HANDLE)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def made(self, path: bytes, mode: int = 0o700, over: bool = False) -> Iterator[int]:
        """Yield a descriptor of the directory path, for writing in it; make missing components with mode.

        The descriptor is as that of `handle`. over: a file or symlink in the way is replaced. Directories of this user
        are made writable; they get their final mode later (SET_DIR_METADATA). Raises OSError.
        """
        try:
            fd = self.opened(path, _HANDLE)
        except OSError:
            fd = retried(lambda: self._make(path, mode, over), self._stopped)
        try:
            _make_writable(fd)
            yield fd
        finally:
            os.close(fd)

    def opened(self, path: bytes, flags: int = FLAGS) -> int:
        """Return a descriptor of the directory path, as `at` does; the caller closes it. Raises OSError."""
        try:
            return self._open_once(path, flags)
        except OSError as error:
            if not (passes(error) or (error.errno == errno.EMFILE and self._parents)):
                raise

        def reopen() -> int:
            self.forget()
            return self._open_once(path, flags)

        return retried(reopen, self._stopped)

    def _open_once(self, path: bytes, flags: int) -> int:
        if not path:
            return os.dup(self._root_fd) if flags == _HANDLE else os.open(b".", flags, dir_fd=self._root_fd)
        parent, _, name = path.rpartition(b"/")
        return os.open(name, flags, dir_fd=self._parent(parent))

    def _parent(self, path: bytes) -> int:
        """Return the kept descriptor of path, valid until the next call."""
        if not path:
            return self._root_fd
        fd = self._parents.get(path)
        if fd is not None:
            self._parents.move_to_end(path)
            return fd
        known, missing = path, []
        while known and known not in self._parents:
            known, _, name = known.rpartition(b"/")
            missing.append(name)
        for name in reversed(missing):
            fd = os.open(name, _HANDLE, dir_fd=self._parents[known] if known else self._root_fd)
            known = known + b"/" + name if known else name
            self._keep(known, fd)
        return self._parents[path]

    def _keep(self, path: bytes, fd: int) -> None:
        self._parents[path] = fd
        if len(self._parents) > self._most:
            _, oldest = self._parents.popitem(last=False)
            os.close(oldest)

    def _make(self, path: bytes, mode: int, over: bool) -> int:
        fd = os.open(b".", _HANDLE, dir_fd=self._root_fd)
        at = b""
        for name in path.split(b"/") if path else ():
            at = at + b"/" + name if at else name
            try:
                _make_writable(fd)
                below, made = _enter(fd, name, mode, over)
                if made and self._note_made is not None and is_ours_alone(below, fd):
                    self._note_made(at, below)
            finally:
                os.close(fd)
            fd = below
        return fd


def is_ours_alone(made: int, parent: int) -> bool:
    """Return whether a directory that was just made is that one: in its parent others may have exchanged it.

    Not a stage, which is sticky: who gets that can lead the `cp` elsewhere that works in it.
    """
    user, status, above = os.geteuid(), os.fstat(made), os.fstat(parent)
    if status.st_uid != user or status.st_mode & (0o077 | stat.S_ISVTX):
        return False
    if above.st_uid in (0, user) and not above.st_mode & 0o022:
        return True
    listed = os.open(b".", FLAGS, dir_fd=made)
    try:
        return not os.listdir(listed)
    finally:
        os.close(listed)


def _enter(parent: int, name: bytes, mode: int, over: bool) -> tuple[int, bool]:
    """Return a descriptor of directory name in parent, made if missing, and whether this made it.

    Other ranks may be making it, too.
    """
    made = False
    for tries in range(_TRIES):
        try:
            return os.open(name, _HANDLE, dir_fd=parent), made
        except OSError as error:
            if error.errno == errno.ENOENT:
                made = make_directory(name, mode, parent)
                if tries:  # it exists, but was not found: another node made it, and this one's cache is stale
                    time.sleep(min(_LONGEST_PAUSE, 0.001 * 2**tries))
            elif error.errno in _BLOCKED and over:
                _remove_non_directory(name, parent)
            elif error.errno == errno.EACCES and _make_own(parent, name):
                continue
            else:
                raise
    raise OSError(errno.EBUSY, "it is replaced again and again", name)


def make_directory(name: bytes, mode: int, parent: int) -> bool:
    """Make a directory unless it exists; return whether this made it. Raises OSError."""
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        return False
    except PermissionError:
        if not _make_writable(parent):
            raise
        os.mkdir(name, mode, dir_fd=parent)
    return True


def _remove_non_directory(name: bytes, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except (FileNotFoundError, IsADirectoryError):
        pass  # another rank was first
    except PermissionError:
        # Some file systems say this for "is a directory".
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise


def _make_writable(fd: int) -> bool:
    """Give the owner of a directory full rights, if that is this user and lacks them; return whether it was done."""
    user = os.geteuid()
    if user == 0:
        return False
    status = os.fstat(fd)
    if status.st_uid != user or status.st_mode & 0o700 == 0o700:
        return False
    os.chmod(path_of(fd), stat.S_IMODE(status.st_mode) | 0o700)
    return True


def despite_protection(directory: int, error: OSError | None, call: Callable[[], None]) -> OSError | None:
    """Return the error of a call that changes what is in a directory, after another try; None if that succeeds.

    It is tried where its owner, this user, may not write to it: it is made writable for that moment. For a mirror and a
    move, as rsync does; `-rm` alone leaves what lies there, as `rm -rf` does. error: with which it failed, if it did
    """
    if error is None or error.errno != errno.EACCES:
        return error
    path, needed = path_of(directory), stat.S_IWUSR | stat.S_IXUSR
    try:
        status = os.stat(path)
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid() or mode & needed == needed:
            return error
        os.chmod(path, mode | needed)
    except OSError:
        return error
    try:
        call()
    except OSError as other:
        return other
    finally:
        with suppress(OSError):
            os.chmod(path, mode)
    return None


def _make_own(parent: int, name: bytes) -> bool:
    """Do so for a directory in parent that cannot even be opened; return whether it was done. Raises OSError."""
    with pinned(parent, name) as fd:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o700 == 0o700:
            return False
        os.chmod(path_of(fd), stat.S_IMODE(status.st_mode) | 0o700)
        return True


@contextmanager
def pinned(parent: int, name: bytes) -> Iterator[int]:
    """Yield an O_PATH descriptor of an entry itself: no symlink is followed, no content is opened. Raises OSError."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def entered(fd: int) -> Iterator[bytes]:
    """Yield the prefix of names in directory fd, for calls that take no descriptor.

    Usually b"": this thread gets a working directory of its own, and changes to fd. A path through /proc is looked up
    component by component and takes three times as long (3.2 us instead of 0.9 us for a listxattr on tmpfs).
    """
    if not _has_own_directory():
        yield path_of(fd) + b"/"
        return
    os.fchdir(fd)
    try:
        yield b""
    finally:
        os.chdir(b"/")


_own = threading.local()
_CLONE_FS = 0x200


def keep_directory() -> None:
    """Have this thread keep the working directory of its process: it is not ours, and goes on when we are done."""
    _own.has = False


def _has_own_directory() -> bool:
    """Give this thread a working directory of its own; return whether it has one. The main thread never has."""
    known: bool | None = getattr(_own, "has", None)
    if known is None:
        # Refused in some containers.
        known = threading.current_thread() is not threading.main_thread() and _unshare(_CLONE_FS) == 0
        _own.has = known
    return known


def _unshare(flags: int) -> int:
    import ctypes

    return int(ctypes.CDLL(None).unshare(flags))


def path_of(fd: int, name: bytes = b"") -> bytes:
    """Return a path, for calls that take no descriptor, of fd itself or of an entry of that directory."""
    return b"/proc/self/fd/%d/%s" % (fd, name) if name else b"/proc/self/fd/%d" % fd
