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
    "btrfs": ("nobarrier", "commit=300", "nodiscard"),  # with checksums: files without would stay so
}
# An image may ask for a panic on errors.
_OF_IMAGES = {"xfs": ("nouuid",), **dict.fromkeys(("ext2", "ext3", "ext4"), ("errors=remount-ro",))}
_EXT = ("ext2", "ext3", "ext4")


@dataclass(slots=True)
class WritableVolume:
    """A mounted file system in an image file. offset: where its partition begins, in bytes"""

    called: bytes  # the image, as it was given
    fd: int  # of the image file
    loop: Loop
    type: str
    mount: bytes
    size: int  # bytes of the file system's device
    options: tuple[str, ...] = ()  # that it is mounted with
    offset: int = 0
    # Has the partition end at a byte of the file, or a little behind it, and returns where; None: it is the whole file.
    enlarge: Callable[[int], int] | None = None

    @property
    def grows_mounted(self) -> bool:
        """Whether it can be made bigger while it is in use."""
        return self.enlarge is None and making.grows_mounted(self.type)


def mounted_volume(
    run: Imaging, fd: int, type: str, called: bytes, stage: bool = False, offset: int = 0, size: int = 0
) -> WritableVolume:
    """Return a file system of an open image file that is mounted for writing. Raises FatalError.

    stage: nobody believes it after a crash. offset, size: of its partition; 0: the whole file
    """
    loop = run.stack.enter_context(attach(fd, True, offset, size, name=called))
    return _mounted(run, fd, loop, type, called, stage, offset)


def new_volume(run: Imaging, fd: int, what: MakeFileSystem, called: bytes) -> WritableVolume:
    """Make a file system in an open file that holds only zeros, and mount it. Raises FatalError, Stopped."""
    loop = run.stack.enter_context(attach(fd, True, name=called))
    making.make(loop.path, what, lambda: run.stopping, zeros=True)
    return _mounted(run, fd, loop, what.type, called, True, 0)


def _mounted(run: Imaging, fd: int, loop: Loop, type: str, called: bytes, stage: bool, offset: int) -> WritableVolume:
    options = _OF_STAGES[type] if stage else _OF_IMAGES.get(type, ())
    mount = run.room.mount(loop.path, type, options, read_only=False)
    run.shown.names[mount] = called + b":"
    return WritableVolume(called, fd, loop, type, mount, os.lseek(loop.fd, 0, os.SEEK_END), options, offset)


def grow(run: Imaging, volume: WritableVolume, size: int) -> None:
    """Make the file system size bytes big. Raises FatalError: it is as it was then.

    Where that cannot be done while it is mounted, it is unmounted meanwhile: nobody may use it, and what it is mounted
    on changes.
    """
    if volume.grows_mounted:
        grow_mounted(volume, size)
        return
    run.room.unmount(volume.mount)
    try:
        wrong = making.check(volume.loop.path, volume.type)
        if wrong:
            raise FatalError(f"{printable(volume.called)} is not made bigger, as it has errors: {wrong}")
        if volume.enlarge is None:
            _enlarge(volume, size)
        else:
            _enlarge_partition(run, volume, size)
        if volume.type in _EXT:
            making.grow(volume.loop.path, b"", volume.type)
    finally:
        volume.mount = run.room.mount(volume.loop.path, volume.type, volume.options, read_only=False)
        run.shown.names[volume.mount] = volume.called + b":"
    if volume.type not in _EXT:
        making.grow(volume.loop.path, volume.mount, volume.type)
    volume.size = os.lseek(volume.loop.fd, 0, os.SEEK_END)


def grow_mounted(volume: WritableVolume, size: int) -> None:
    """Make the file system size bytes big while it is in use. Raises FatalError: it is as it was then."""
    _enlarge(volume, size)
    making.grow(volume.loop.path, volume.mount, volume.type)
    volume.size = os.lseek(volume.loop.fd, 0, os.SEEK_END)


def _enlarge(volume: WritableVolume, size: int) -> None:
    """Make an image size bytes big, and its device. Raises FatalError."""
    try:
        os.ftruncate(volume.fd, max(os.fstat(volume.fd).st_size, size))
        loops.resized(volume.loop)
    except OSError as error:
        raise _not_bigger(volume, error) from None


def _enlarge_partition(run: Imaging, volume: WritableVolume, size: int) -> None:
    """Make a partition, which is not mounted, size bytes big, and its device. Raises FatalError."""
    assert volume.enlarge is not None
    before = os.lseek(volume.loop.fd, 0, os.SEEK_END)
    volume.loop.close()
    try:
        os.fsync(volume.fd)
        size = volume.enlarge(volume.offset + size) - volume.offset
    except OSError as error:
        size = before
        raise _not_bigger(volume, error) from None
    except FatalError:
        size = before
        raise
    finally:
        volume.loop = run.stack.enter_context(attach(volume.fd, True, volume.offset, size, name=volume.called))


def _not_bigger(volume: WritableVolume, error: OSError) -> FatalError:
    return FatalError(f"cannot make {printable(volume.called)} bigger: {reason_of(error)}")


def trimmed(volume: WritableVolume) -> None:
    """Give back what free blocks take in the image file. Raises FatalError."""
    try:
        making.trim(volume.mount)
    except OSError as error:
        raise FatalError(f"cannot give back free blocks of {printable(volume.called)}: {reason_of(error)}") from None


def close(run: Imaging, volume: WritableVolume) -> None:
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


def drop(run: Imaging, volume: WritableVolume) -> None:
    """Unmount and detach what is to be removed: nothing of it has to be stored. Raises FatalError if it is in use."""
    try:
        run.room.unmount(volume.mount, worthless=True)
    finally:
        volume.loop.close()


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


def recovered(mount: bytes) -> frozenset[tuple[int, int]]:
    """Return (device, inode) of the lost+found of a mounted ext: it is the file system's own, and never extra."""
    try:
        status = os.lstat(mount + b"/lost+found")
    except OSError:
        return frozenset()
    return frozenset({(status.st_dev, status.st_ino)})
