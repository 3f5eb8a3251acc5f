"""Images that are open for reading, and file systems in them that are mounted, read-only.

Nothing is ever written to an image: it lies below a read-only loop device, also where it is a block device, for a
read-only mount of that would replay the journal. So a journal that waits shows as a mount that is refused.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from hpcp_mpi.host.block.loops import Loop, attach, attached_to
from hpcp_mpi.host.block.mounts import MountRefused, can_mount
from hpcp_mpi.host.block.probing import content_of, own_sector, refuse_packed, sector_of, size_of, table_of
from hpcp_mpi.operations.imaging.rules.file_systems import EXT, Reading, reading_of, what_it_is
from hpcp_mpi.operations.imaging.rules.superblock import Superblock, superblock_of
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.imaging.unclean import temporary_copy
from hpcp_mpi.vocab.errors import Failure, FatalError, reason_of
from hpcp_mpi.vocab.image_options import Content, Partition, Table, Unclean
from hpcp_mpi.vocab.paths import printable

_STALE = "its journal was not replayed (--unclean ignore): what was copied may be old, or incomplete"
_TORN = "it was not unmounted and has no journal (--unclean ignore): what was copied may be damaged"
_IN_USE = "in use: what is written to it meanwhile may be copied in part"


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An image that is open for reading as long as the run lasts. size: bytes; sector: bytes of its table's sectors"""

    path: bytes  # as it was given
    fd: int
    size: int
    sector: int
    is_device: bool  # a block device, not a file
    loop: Loop  # over the whole, read-only
    content: Content
    table: Table | None  # None: it is not partitioned
    in_use: bool  # somebody may write to it


@dataclass(frozen=True, slots=True)
class Volume:
    """A partition of an image, or the whole of one that has none, by a read-only loop device."""

    image: OpenImage
    partition: Partition | None
    offset: int  # bytes
    size: int  # bytes
    loop: Loop
    content: Content
    superblock: Superblock

    @property
    def called(self) -> str:
        """What messages call it."""
        name = printable(self.image.path)
        return name if self.partition is None else f"{name}, partition {self.partition.number}"


# --- images


def opened(run: Imaging, image: bytes) -> OpenImage:
    """Return an image that is open as long as the run lasts. Raises FatalError: it is no image, or it is damaged."""
    fd, status = _open(run, image)
    is_device = stat.S_ISBLK(status.st_mode)
    size = size_of(fd)
    if size == 0:
        raise FatalError(f"{printable(image)} is empty, so it is no image", "See where it came from.")
    refuse_packed(fd, image)
    if size < own_sector(fd):
        raise FatalError(f"{printable(image)} has {size} bytes, so it is no image", "See where it came from.")
    in_use = _refuse_writers(fd, image, status)
    sector = sector_of(fd)
    loop = run.stack.enter_context(attach(fd, sector=sector, name=image, direct=is_device))
    table = table_of(loop.path, shown=image)
    content = content_of(loop.path, shown=image)
    return OpenImage(image, fd, size, sector, is_device, loop, content, table, in_use)


def _open(run: Imaging, image: bytes) -> tuple[int, os.stat_result]:
    """Return a descriptor and its status. What is no file and no block device is not opened: it may wait, or act."""
    try:
        place = os.open(image, os.O_PATH | os.O_CLOEXEC)
        try:
            status = os.fstat(place)
            if stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode):
                fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
                run.stack.callback(os.close, fd)
                return fd, os.fstat(fd)
        finally:
            os.close(place)
    except OSError as error:
        raise FatalError(f"cannot open the image {printable(image)}: {reason_of(error)}", "Nothing was copied.") from (
            None
        )
    if stat.S_ISDIR(status.st_mode):
        raise FatalError(f"{printable(image)} is a directory, no image", "Give it as SRC, without -si and -dd.")
    raise FatalError(f"{printable(image)} is neither a file nor a block device, so it is no image")


def _refuse_writers(fd: int, image: bytes, status: os.stat_result) -> bool:
    """Return whether others may write to an image. Raises FatalError if another run of ours does."""
    if stat.S_ISBLK(status.st_mode):
        try:
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            return error.errno == errno.EBUSY
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FatalError(
            f"another process has locked {printable(image)}: it is being written", "Wait for that one."
        ) from None
    except OSError:  # not every file system has locks
        pass
    return any(_is_writable(loop) for loop in attached_to(status))


def _is_writable(loop: bytes) -> bool:
    with suppress(OSError), open(b"/sys/block/" + os.path.basename(loop) + b"/ro") as file:
        return file.read().strip() == "0"
    return True


# --- what is in them


def volume_of(run: Imaging, image: OpenImage, partition: Partition | None = None) -> Volume:
    """Return a partition of an image, None: the whole, as something that can be mounted. Raises FatalError."""
    if partition is None:
        offset, size, loop, content = 0, image.size, image.loop, image.content
        if image.sector != own_sector(image.fd):  # for the table; a file system is read with the disk's own
            loop = run.stack.enter_context(_attached(image, 0, 0))
    else:
        offset, size = partition.start * image.sector, partition.size * image.sector
        loop = run.stack.enter_context(_attached(image, offset, size))
        content = content_of(loop.path, shown=image.path + b", partition %d" % partition.number)
    superblock = superblock_of(content.type, lambda at, length: os.pread(loop.fd, length, at))
    return Volume(image, partition, offset, size, loop, content, superblock)


def _attached(image: OpenImage, offset: int, size: int) -> Loop:
    return attach(
        image.fd,
        offset=offset,
        size=size,
        sector=own_sector(image.fd),
        name=image.path,
        direct=image.is_device,
    )


def mounted(run: Imaging, image: OpenImage, partition: Partition | None = None) -> bytes:
    """Return where the file system of an image, or of a partition of it, is mounted, read-only. Raises FatalError."""
    return mounted_volume(run, volume_of(run, image, partition))


def mounted_volume(run: Imaging, volume: Volume, shown: bytes | None = None, more: tuple[str, ...] = ()) -> bytes:
    """Return where a volume is mounted, read-only. Raises FatalError.

    shown: what people read in place of that. more: options of the mount, besides those of its type

    A journal that waits is treated as the run's options say.
    """
    run.refuse_if_stopped()
    reading = _refuse_unreadable(volume)
    unclean = run.images.unclean
    if volume.superblock.torn and unclean is not Unclean.IGNORE:
        raise FatalError(
            f"{volume.called} was not unmounted, and has no journal: it may be damaged",
            "Check it with e2fsck -f (a copy of it, if it is the only one), or give --unclean ignore.",
        )
    stale = volume.superblock.replay
    place = None
    if not stale:
        try:
            place = _mount(run, volume, volume.loop, reading, more)
        except MountRefused as refused:
            if refused.number != errno.EROFS:
                raise FatalError(f"{volume.called}: {refused.message}", refused.remedy) from None
            stale = True
    if place is None:
        if unclean is Unclean.REFUSE:
            raise _is_unclean(volume)
        if unclean is Unclean.COPY:
            place = _mount(run, volume, _replayed(run, volume), reading, more)
        else:
            place = _mount(run, volume, volume.loop, reading, reading.stale + more)
    run.shown.names[place] = shown if shown is not None else volume.image.path + b":"
    if unclean is Unclean.IGNORE and (stale or volume.superblock.torn):
        run.failures.append(Failure(place, _STALE if stale else _TORN))
    if volume.superblock.doubt:
        run.notes.append((place, volume.superblock.doubt))
    if volume.image.in_use:
        run.notes.append((place, _IN_USE))
    return place


def _refuse_unreadable(volume: Volume) -> Reading:
    """Return how a volume is mounted. Raises FatalError if that cannot be, or would show something else."""
    reading = reading_of(volume.content)
    if reading is None:
        raise FatalError(
            f"{volume.called} holds {what_it_is(volume.content)}: there are no files to copy",
            "See what it is: blkid -p, sfdisk -l, file.",
        )
    if not any(map(can_mount, reading.kernel)):
        raise FatalError(
            f"{volume.called} is of type {volume.content.type}, which this kernel cannot mount",
            f"Is there a module (modprobe {reading.kernel[0]})? Else copy on another machine.",
        )
    if volume.superblock.bytes > volume.size:
        raise FatalError(
            f"{volume.called} is cut short: its {volume.content.type} ends at byte {volume.superblock.bytes:,}, "
            f"and there are {volume.size:,} bytes",
            "Copy the image again, whole.",
        )
    if volume.superblock.devices > 1:
        raise FatalError(
            f"{volume.called} is one of {volume.superblock.devices} devices of a btrfs",
            "Mount all of them together, and copy from there.",
        )
    if volume.content.type == "btrfs" and not _tells_copies_apart(volume.content.uuid):
        raise FatalError(
            f"{volume.called} has the UUID of a btrfs that is mounted, {volume.content.uuid}, and this kernel would "
            "show that one instead",
            "Unmount it, or copy on another machine (Linux 6.7 and newer tell them apart).",
        )
    return reading


def _tells_copies_apart(uuid: str) -> bool:
    """Return whether the kernel mounts a btrfs beside another one with its UUID; True if there is none."""
    return os.path.exists("/sys/fs/btrfs/features/temp_fsid") or not os.path.exists(f"/sys/fs/btrfs/{uuid}")


def _mount(run: Imaging, volume: Volume, loop: Loop, reading: Reading, more: tuple[str, ...] = ()) -> bytes:
    """Return where a loop device is mounted, read-only. Raises MountRefused: EROFS if a journal must be replayed."""
    options = reading.options + more
    kernel = next(filter(can_mount, reading.kernel))
    try:
        place = run.room.mount(loop.path, kernel, options + reading.wishes)
    except MountRefused as refused:
        again = _now(volume, loop)
        if again.replay and refused.number == errno.EIO:  # btrfs
            raise MountRefused(loop.path, kernel, OSError(errno.EROFS, os.strerror(errno.EROFS))) from None
        if not reading.wishes or refused.number != errno.EINVAL:
            raise
        place = run.room.mount(loop.path, kernel, options)
    if volume.content.type in EXT and not more and _now(volume, loop).replay:
        # An image's own superblock may ask to leave the journal alone.
        raise FatalError(
            f"{volume.called}: its own mount options keep the kernel from replaying its journal",
            "Take noload out of them (tune2fs -E mount_opts=), or give --unclean ignore.",
        )
    return place


def _now(volume: Volume, loop: Loop) -> Superblock:
    return superblock_of(volume.content.type, lambda at, length: os.pread(loop.fd, length, at))


def _is_unclean(volume: Volume) -> FatalError:
    if volume.image.in_use:
        return FatalError(
            f"{volume.called} is in use, so its journal is not replayed",
            "Copy from where it is mounted (findmnt), or as it is on disk with --unclean copy.",
        )
    return FatalError(
        f"{volume.called} was not unmounted: its journal must be replayed, and a source is never written",
        "Mount it once for writing, and unmount it; or give --unclean copy: that replays it in a temporary copy.",
    )


def _replayed(run: Imaging, volume: Volume) -> Loop:
    """Return a loop device over a temporary copy of a volume, in which a mount replays the journal."""
    fd = temporary_copy(run, volume.image.fd, volume.offset, volume.size, volume.image.path, volume.image.is_device)
    return run.stack.enter_context(
        attach(fd, writable=True, sector=own_sector(volume.image.fd), name=volume.image.path)
    )
