"""One file system of an image, attached and mounted for writing: opened, grown, and closed so that all is stored."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hpcp_mpi.host.block import loops, making
from hpcp_mpi.host.block.loops import Loop, attach
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.image_options import MakeFileSystem
from hpcp_mpi.vocab.paths import printable

# Nothing in a stage is believed after a crash: it is made anew. So it needs no order, and nothing has to be waited for.
_OF_STAGES = {
    "ext4": ("data=writeback", "nobarrier", "noauto_da_alloc", "commit=300"),
    "xfs": ("logbufs=8", "logbsize=256k", "nouuid"),
    "btrfs": ("nobarrier", "commit=300", "nodatasum", "nodiscard"),
}
_OF_IMAGES = {"xfs": ("nouuid",)}


@dataclass(slots=True)
class Volume:
    """A mounted file system in an image file. offset, room: where its partition begins, and how far it may reach."""

    called: bytes  # the image, as it was given
    fd: int  # of the image file
    loop: Loop
    type: str
    mount: bytes
    size: int  # bytes of the file system's device
    offset: int = 0
    enlarge: Callable[[int], None] | None = None  # has the partition reach that many bytes; None: it is the whole file


def mounted_volume(
    run: Imaging, fd: int, type: str, called: bytes, stage: bool = False, offset: int = 0, size: int = 0
) -> Volume:
    """Return a file system of an open image file that is mounted for writing. Raises FatalError.

    stage: nobody believes it after a crash. offset, size: of its partition; 0: the whole file
    """
    loop = run.stack.enter_context(attach(fd, True, offset, size, name=called))
    return _mounted(run, fd, loop, type, called, stage, offset)


def new_volume(run: Imaging, fd: int, what: MakeFileSystem, called: bytes) -> Volume:
    """Make a file system in an open file that holds only zeros, and mount it. Raises FatalError, Stopped."""
    loop = run.stack.enter_context(attach(fd, True, name=called))
    making.make(loop.path, what, lambda: run.stopping, zeros=True)
    return _mounted(run, fd, loop, what.type, called, True, 0)


def _mounted(run: Imaging, fd: int, loop: Loop, type: str, called: bytes, stage: bool, offset: int) -> Volume:
    options = _OF_STAGES[type] if stage else _OF_IMAGES.get(type, ())
    mount = run.room.mount(loop.path, type, options, read_only=False)
    run.shown.names[mount] = called + b":"
    return Volume(called, fd, loop, type, mount, os.lseek(loop.fd, 0, os.SEEK_END), offset)


def grow(volume: Volume, size: int) -> None:
    """Make the file system size bytes big, while it is mounted. Raises FatalError: it is as it was then."""
    before = os.fstat(volume.fd).st_size
    try:
        os.ftruncate(volume.fd, max(before, volume.offset + size))
        if volume.enlarge is not None:
            volume.enlarge(volume.offset + size)
        loops.resized(volume.loop)
    except OSError as error:
        raise FatalError(f"cannot make {printable(volume.called)} bigger: {reason_of(error)}") from None
    making.grow(volume.loop.path, volume.mount, volume.type)
    volume.size = os.lseek(volume.loop.fd, 0, os.SEEK_END)


def trimmed(volume: Volume) -> None:
    """Give back what free blocks take in the image file. Raises FatalError."""
    try:
        making.trim(volume.mount)
    except OSError as error:
        raise FatalError(f"cannot give back free blocks of {printable(volume.called)}: {reason_of(error)}") from None


def close(run: Imaging, volume: Volume) -> None:
    """Have all that was written stored, unmount and detach. Raises FatalError: the image cannot be relied on then."""
    try:
        run.room.unmount(volume.mount)
    finally:
        volume.loop.close()
    try:
        os.fsync(volume.fd)
    except OSError as error:
        raise FatalError(
            f"cannot store what was written to {printable(volume.called)}: {reason_of(error)}", "Is its disk full?"
        ) from None


def checked(run: Imaging, fd: int, type: str, called: bytes, offset: int = 0, size: int = 0) -> str:
    """Return what a check of an unmounted file system finds wrong; "" if nothing is. Raises FatalError, Stopped."""
    with attach(fd, False, offset, size, name=called) as loop:
        return making.check(loop.path, type, lambda: run.stopping)


@contextmanager
def reading(run: Imaging, fd: int, type: str, called: bytes, offset: int = 0, size: int = 0) -> Iterator[bytes]:
    """Yield where a file system of an open image file is mounted, read-only. Raises FatalError."""
    with attach(fd, False, offset, size, name=called) as loop:
        mount = run.room.mount(loop.path, type, _OF_IMAGES.get(type, ()))
        run.shown.names[mount] = called + b":"
        try:
            yield mount
        finally:
            run.room.unmount(mount)
