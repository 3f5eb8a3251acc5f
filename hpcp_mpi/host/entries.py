"""Look-ups of entries in an open directory: names, types, lstat, and which inode it is."""

import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from stat import S_IFDIR, S_IFREG

from hpcp_mpi.host.dirfd import FLAGS

_NOREPLACE = 1  # RENAME_NOREPLACE, linux/fs.h
_TYPE = 0o170000  # the bits of a mode that show the type
_CODING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # os.fsencode looks them up for every name


def names_in(directory: int) -> set[bytes]:
    """Return the names in a directory. Raises OSError."""
    _rewind(directory)
    return {encoded(name) for name in os.listdir(directory)}


def _rewind(directory: int) -> None:
    """Have the next listing show what is there now: that of btrfs (Linux 6.5) ends with what was there when it was
    opened. Raises OSError.
    """
    os.lseek(directory, 0, os.SEEK_SET)


def types_in(directory: int) -> Iterator[tuple[bytes, int]]:
    """Yield the entries of a directory with the type bits of their modes. Raises OSError."""
    _rewind(directory)
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield encoded(entry.name), S_IFREG
            elif entry.is_dir(follow_symlinks=False):
                yield encoded(entry.name), S_IFDIR
            else:
                with suppress(FileNotFoundError):
                    yield encoded(entry.name), entry.stat(follow_symlinks=False).st_mode


def encoded(name: str) -> bytes:
    """Return the bytes of a name that the os module returned as str."""
    return name.encode(*_CODING)


def lstat(name: bytes, directory: int) -> os.stat_result | None:
    """Return the lstat of an entry; None where there is none. Raises OSError."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def identity(fd: int) -> tuple[int, int]:
    """Return what shows on any node whether an open entry is the same one: (inode number, time of birth in ns).

    Some file systems give the number to another entry as soon as the first one is gone. The time is 0 where it is not
    known. Raises OSError.
    """
    known = bytearray(256)
    statx = statx_call()
    mask = inode = 0
    if statx is not None and not statx(fd, known):
        mask, inode = struct.unpack_from("=I28xQ", known)
    if not mask & _STATX_INO:
        return os.fstat(fd).st_ino, 0
    seconds, nanoseconds = struct.unpack_from("=qI", known, 80) if mask & _STATX_BTIME else (0, 0)
    return inode, max(0, seconds * 10**9 + nanoseconds)


@cache
def statx_call() -> Callable[[int, bytearray], int] | None:
    """Return what calls statx(2) of a descriptor, given a buffer; None where the C library has none."""
    import ctypes

    buffer = ctypes.c_char * 256
    try:
        call = ctypes.CDLL(None).statx
    except AttributeError:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    wanted = _STATX_INO | _STATX_BTIME
    return lambda fd, known: int(call(fd, b"", _AT_EMPTY_PATH, wanted, buffer.from_buffer(known)))


_AT_EMPTY_PATH = 0x1000
_STATX_INO, _STATX_BTIME = 0x100, 0x800


def first_in(directory: int, name: bytes) -> bytes | None:
    """Return one entry of the directory name in another one; None where it is empty or cannot be listed."""
    try:
        fd = os.open(name, FLAGS, dir_fd=directory)
    except OSError:
        return None
    try:
        with os.scandir(fd) as entries:
            return next((os.fsencode(entry.name) for entry in entries), None)
    except OSError:
        return None
    finally:
        os.close(fd)


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a directory; no, where that cannot be seen."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def is_directory(directory: int, name: bytes) -> bool:
    """Return whether an entry is a directory, not a symlink to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def rename_if_free(name: bytes, directory: int, to: bytes, other: int) -> None:
    """Rename an entry of a directory to a name in another one that nothing has there. Raises OSError.

    Where the file system cannot do that in one step a link is made, which replaces nothing either. What cannot be
    linked is renamed if nothing is seen there.
    """
    import ctypes  # rarely needed

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
        if not renameat2(directory, name, other, to, _NOREPLACE):
            return
        error = ctypes.get_errno()
    except AttributeError:  # a C library without it
        error = errno.ENOSYS
    if error not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(error, os.strerror(error))
    try:
        os.link(name, to, src_dir_fd=directory, dst_dir_fd=other, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        if lstat(to, other) is not None:
            raise
        os.rename(name, to, src_dir_fd=directory, dst_dir_fd=other)
    else:
        os.unlink(name, dir_fd=directory)
