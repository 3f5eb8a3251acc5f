"""A temporary copy of an image or partition, in which a journal can be replayed. No name leads to it.

It shares the blocks of the image where the file system can do that, else it takes the room of what is no hole.
"""

import errno
import fcntl
import os
import struct
import tempfile
from contextlib import suppress

from hpcp_mpi.host.block import raw
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import printable

_CLONE_RANGE = 0x4020940D  # FICLONERANGE
_PIECE = 4 * MIB  # bytes that are read at once
_BLOCK = 64 * 1024  # bytes; one that is zero stays a hole
_SPARE = 64 * MIB  # bytes that are left free: the replay writes, and so do others


def temporary_copy(run: Imaging, fd: int, offset: int, size: int, image: bytes, is_device: bool) -> int:
    """Return a descriptor of a copy of a part of an open image, for the rest of the run. Raises FatalError.

    offset, size: bytes. It lies beside the image, else where temporary files do.
    """
    directories = ([] if is_device else [os.path.dirname(os.path.realpath(image))]) + [
        os.fsencode(tempfile.gettempdir())
    ]
    refused: list[str] = []
    for directory in dict.fromkeys(directories):
        try:
            target = _nameless(directory)
        except OSError as error:
            refused.append(f"{printable(directory)}: {reason_of(error)}")
            continue
        run.stack.callback(os.close, target)
        os.ftruncate(target, size)
        if _shared(fd, offset, size, target):
            return target
        room = os.fstatvfs(target)
        free, wanted = room.f_bavail * room.f_frsize, raw.data_in(fd, offset, size) + _SPARE
        if free < wanted:
            refused.append(f"{printable(directory)} has {free:,} bytes free, and {wanted:,} are needed")
            continue
        _copy(run, fd, offset, size, target, image, directory)
        return target
    raise FatalError(
        f"there is no room for the temporary copy of {printable(image)} (--unclean copy): {'; '.join(refused)}",
        "Set TMPDIR to a directory with room.",
    )


def _nameless(directory: bytes) -> int:
    """Return a new file for reading and writing that has no name. Raises OSError."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            raise
    fd, path = tempfile.mkstemp(prefix=b".hpcp-mpi.replay.", dir=directory)
    os.unlink(path)
    return fd


def _shared(fd: int, offset: int, size: int, target: int) -> bool:
    """Return whether the copy could share the blocks of the image."""
    with suppress(OSError):
        fcntl.ioctl(target, _CLONE_RANGE, struct.pack("=qQQQ", fd, offset, size, 0))
        return True
    return False


def _copy(run: Imaging, fd: int, offset: int, size: int, target: int, image: bytes, directory: bytes) -> None:
    """Copy a part of an image; zeros become holes. Raises FatalError, StoppedEarly."""
    for start, length in raw.extents(fd, offset, size):
        for at in range(start, start + length, _PIECE):
            run.refuse_if_stopped()
            try:
                piece = memoryview(os.pread(fd, min(_PIECE, start + length - at), at))
            except OSError as error:
                raise FatalError(f"{printable(image)} cannot be read at byte {at:,}: {reason_of(error)}") from None
            try:
                _write(target, piece, at - offset)
            except OSError as error:
                raise FatalError(
                    f"the temporary copy of {printable(image)} in {printable(directory)}: {reason_of(error)}",
                    "Set TMPDIR to a directory with room.",
                ) from None


def _write(target: int, piece: memoryview, at: int) -> None:
    zeros = bytes(_BLOCK)
    for start in range(0, len(piece), _BLOCK):
        block = piece[start : start + _BLOCK]
        if block == zeros[: len(block)]:
            continue
        while block:
            done = os.pwrite(target, block, at + start)
            block, start = block[done:], start + done
