"""Mounts that only this process and what it starts can see.

Nobody else's namespace takes a copy of them, which would keep a loop device busy for hours, and when the last process
of a killed run ends, the kernel unmounts them all. mount(2) is called itself: its errno tells a journal that must be
replayed from a damaged file system.
"""

import ctypes
import errno
import fcntl
import gc
import os
import shutil
import stat
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable

PREFIX = "hpcp-mpi.images."
_NEW_NAMESPACE = 0x20000  # CLONE_NEWNS
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, REMOUNT, NO_ATIME, BIND = 1, 2, 4, 8, 32, 1024, 4096
_RECURSIVE, _PRIVATE = 0x4000, 0x40000
_NO_FOLLOW = 8  # UMOUNT_NOFOLLOW
UNTRUSTED = NO_SUID | NO_DEVICES | NO_EXEC  # for every file system of an image
_SHUT_DOWN, _WITHOUT_LOG = 0x8004587D, 2  # FS_IOC_SHUTDOWN of ext4 and xfs
_BUSY = 10.0  # seconds that an unmount is tried again
_MOST = 100  # mounts at once: their names have two digits


class MountRefused(FatalError):
    """The kernel does not mount a file system. number: the errno"""

    def __init__(self, what: bytes, kind: str, error: OSError) -> None:
        super().__init__(f"cannot mount {printable(what)} as {kind}: {_meaning(error)}", _remedy(error, kind))
        self.number = error.errno or 0


def _meaning(error: OSError) -> str:
    if error.errno in (errno.EUCLEAN, errno.EINVAL):
        return f"{reason_of(error)}: it is damaged, or has features that this kernel does not know"
    return reason_of(error)


def _remedy(error: OSError, kind: str) -> str:
    if error.errno == errno.ENODEV:
        return f"This kernel has no {kind}: is there a module (modprobe {kind})?"
    if error.errno == errno.EPERM:
        return "Images need root; a container needs --cap-add SYS_ADMIN."
    return ""


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    return libc


def _checked(code: int, path: bytes) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def mount(device: bytes, target: bytes, kind: str, flags: int, data: str = "") -> None:
    """Mount as mount(2) does. Raises OSError."""
    words = data.encode() or None
    _checked(_libc().mount(device or None, target, kind.encode() or None, flags, words), target)


def unmount(target: bytes) -> None:
    """Unmount as umount2(2) does. Raises OSError."""
    _checked(_libc().umount2(target, _NO_FOLLOW), target)


def private_namespace() -> None:
    """Give this thread, and all it starts from now on, mounts of its own. Raises FatalError.

    Call it in the main thread: /proc/self shows that one's.
    """
    try:
        _checked(_libc().unshare(_NEW_NAMESPACE), b"/")
        mount(b"", b"/", "", _RECURSIVE | _PRIVATE)
    except OSError as error:
        raise FatalError(
            f"cannot get a private mount namespace: {reason_of(error)}",
            "Images need root; a container needs --cap-add SYS_ADMIN --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined. A squashfs (-di NAME.sqsh) needs none of that.",
        ) from None


class MountRoom:
    """The mount points of a run: directories of a tmpfs that lies over a directory of ours. Used as a context manager.

    The mounts are called 00 to 99 in it. Those that are left are unmounted at the end, the last one first.
    """

    def __init__(self) -> None:
        _remove_leftovers()
        self.path, self._lock = _new_directory()
        self._mounted: list[bytes] = []
        self._made = 0
        self._free: list[bytes] = []  # places of what was unmounted
        try:
            mount(b"hpcp-mpi", path_of(self._lock), "tmpfs", UNTRUSTED, "mode=0700,size=16m")
        except OSError as error:
            self._leave()
            raise FatalError(f"cannot mount a tmpfs on {printable(self.path)}: {reason_of(error)}") from None

    def __enter__(self) -> "MountRoom":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close(quiet=error is not None)

    def new_place(self) -> bytes:
        """Return the path of an empty directory to mount on. Raises FatalError."""
        if self._free:
            return self._free.pop()
        if self._made == _MOST:
            raise FatalError(
                f"more than {_MOST} file systems at once in one run", "Name fewer images, or some with --partition."
            )
        place = self.path + b"/%02d" % self._made
        self._made += 1
        os.mkdir(place, 0o700)
        return place

    def mount(self, device: bytes, kind: str, options: Sequence[str] = (), read_only: bool = True) -> bytes:
        """Mount a block device; return where. options: of the file system itself. Raises MountRefused."""
        place = self.new_place()
        flags = UNTRUSTED | (READ_ONLY if read_only else NO_ATIME)
        try:
            mount(device, place, kind, flags, ",".join(options))
        except OSError as error:
            raise MountRefused(device, kind, error) from None
        self._mounted.append(place)
        return place

    def adopt(self, place: bytes) -> None:
        """Unmount, at the end, what was mounted on a place in another way."""
        self._mounted.append(place)

    def unmount(self, place: bytes, worthless: bool = False) -> None:
        """Store what was written to a mount, and unmount it. Raises FatalError, which names what failed.

        worthless: nobody will read it again, so what waits to be written is dropped, where that is possible
        """
        if place not in self._mounted:  # it could not be mounted again after it was made bigger
            return
        try:
            if worthless:
                _shut_down(place)
            else:
                store(place)
        finally:
            self._mounted.remove(place)
            _unmount_patiently(place)
            self._free.append(place)

    def close(self, quiet: bool = False) -> None:
        """Unmount everything. quiet: another error ended the run, and is the one to be said. Raises FatalError."""
        failed: FatalError | None = None
        for place in reversed(list(self._mounted)):
            try:
                self.unmount(place)
            except FatalError as error:
                failed = failed or error
        try:
            _unmount_patiently(self.path)
        except FatalError as error:
            failed = failed or error
        self._leave()
        if failed is not None and not quiet:
            raise failed

    def _leave(self) -> None:
        with suppress(OSError):
            os.rmdir(self.path)
        os.close(self._lock)


def flush(place: bytes) -> None:
    """Have all that was written to a mount stored, if that can be written to. Raises OSError."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            _checked(_libc().syncfs(fd), place)
    finally:
        os.close(fd)


def store(place: bytes) -> None:
    """Have all that was written to a mount stored. Raises FatalError, which names it."""
    try:
        flush(place)
    except OSError as error:
        raise FatalError(f"cannot store what was written to {printable(place)}: {reason_of(error)}") from None


def _shut_down(place: bytes) -> None:
    """Have a file system forget what is not stored, and take nothing more, as if its disk was gone."""
    with suppress(OSError):
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _SHUT_DOWN, struct.pack("=I", _WITHOUT_LOG))
        finally:
            os.close(fd)


def _unmount_patiently(place: bytes) -> None:
    """Unmount; for some seconds again if it is in use. Raises FatalError."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            unmount(place)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise FatalError(
                    f"cannot unmount {printable(place)}: {reason_of(error)}",
                    "The kernel unmounts it when this process and all that it has started have ended.",
                ) from None
        gc.collect()  # what an ended copy had open may be in cycles that nobody has looked at since
        time.sleep(0.05)


def _new_directory() -> tuple[bytes, int]:
    """Return a new, empty directory of ours, locked as long as it is open. Raises FatalError."""
    try:
        while True:
            path = os.fsencode(tempfile.mkdtemp(prefix=PREFIX, dir=_parent()))
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may have taken it for a leftover before it was locked.
            if os.fstat(fd).st_nlink:
                return path, fd
            os.close(fd)
    except OSError as error:
        raise FatalError(
            f"cannot make a directory for mounts: {reason_of(error)}", "Set TMPDIR to a directory with room."
        ) from None


def _parent() -> str:
    """Return the directory for temporary files; /run where others could exchange what is in that."""
    place = tempfile.gettempdir()
    status = os.stat(place)
    shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return "/run" if shared or status.st_uid not in (0, os.geteuid()) else place


def _remove_leftovers() -> None:
    """Remove the empty directories of killed runs: those that nobody has locked.

    The directory of a run that is going on must not be touched: it would lose its mounts with it.
    """
    with suppress(OSError):
        parent = _parent()
        for name in os.listdir(parent):
            if name.startswith(PREFIX):
                _remove_if_left(f"{parent}/{name}")


def _remove_if_left(path: str) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rmdir(path)
        finally:
            os.close(fd)


def can_mount(kind: str) -> bool:
    """Return whether the kernel mounts a type of file system, or has a module for it."""
    with suppress(OSError), open("/proc/filesystems") as file:
        if kind in file.read().split():
            return True
    modules = f"/lib/modules/{os.uname().release}/kernel/fs/{kind}"
    return os.path.isdir(modules) and shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin") is not None
