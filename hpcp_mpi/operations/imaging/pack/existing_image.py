"""An image that is there and is to be written to: what is in it, whether that is good, and where it may grow.

Nothing is written before all of that is known. It is attached read-only until then.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hpcp_mpi.host.block import staging, table_writing, tools
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.mounts import MountRefused, can_mount
from hpcp_mpi.host.block.probing import content_of, own_sector, refuse_packed, sector_of, size_of, table_of
from hpcp_mpi.host.block.staging import Target
from hpcp_mpi.operations.imaging.pack import volume as volumes
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume
from hpcp_mpi.operations.imaging.rules.file_systems import what_it_is
from hpcp_mpi.operations.imaging.rules.superblock import superblock_of
from hpcp_mpi.operations.imaging.rules.table import (
    backup_sectors,
    is_logical,
    on_disk,
    partition_named,
    shown_partition,
)
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.image_options import Content, Partition, Table, is_extended
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import printable

WRITABLE = ("ext2", "ext3", "ext4", "xfs", "btrfs")
_READ_ONLY = ("squashfs", "erofs", "iso9660", "cramfs", "romfs")
_REMEDY = "Nothing was written. Name another image, or remove it to have it made anew."


@dataclass(frozen=True, slots=True)
class ExistingImage:
    """An image that is there, open and locked, and the file system in it that is written to."""

    target: Target
    fd: int
    content: Content
    offset: int = 0  # bytes
    size: int = 0  # bytes of its partition; 0: it is the whole image
    table: Table | None = None
    partition: Partition | None = None

    @property
    def called(self) -> bytes:
        """What messages call it."""
        return self.target.given

    @property
    def grows(self) -> bool:
        """Whether there is nothing behind the file system, so that it can be made bigger."""
        if stat.S_ISBLK(os.fstat(self.fd).st_mode):
            return False
        if self.table is None or self.partition is None:
            return True
        last = on_disk(self.table)[-1]
        return last.number == self.partition.number and not is_logical(self.table, last)


@contextmanager
def existing_image(run: Imaging, target: Target, writable: bool) -> Iterator[ExistingImage]:
    """Yield the file system that is written to, or compared with. Raises FatalError, UsageError."""
    status = target.status
    assert status is not None
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        raise UsageError(f"{printable(target.given)} is neither a file nor a block device", "Name another one.")
    fd = target.opened(writable)
    try:
        if writable:
            if stat.S_ISREG(status.st_mode):
                staging.lock(fd, target.given)
            staging.refuse_attached(os.fstat(fd), target.given)
        yield _found(run, target, fd)
    finally:
        os.close(fd)


def _found(run: Imaging, target: Target, fd: int) -> ExistingImage:
    """Return what an open image holds. Raises FatalError."""
    name = printable(target.given)
    size = size_of(fd)
    if not size:
        raise FatalError(f"{name} is empty, so it is no image", _REMEDY)
    refuse_packed(fd, target.given)
    if size < own_sector(fd):
        raise FatalError(f"{name} has {size} bytes, so it is no image", _REMEDY)
    sector = sector_of(fd)
    with attach(fd, sector=sector, name=target.given) as loop:
        table, content = table_of(loop.path, shown=target.given), content_of(loop.path)
    if table is None:
        if _named(run):
            raise UsageError(f"{name} is not partitioned", "Leave out --partition.")
        _refuse_unfit(target, fd, content, 0, size)
        return ExistingImage(target, fd, content)
    partition = _chosen(run, target, fd, table)
    offset, size = partition.start * sector, partition.size * sector
    content = _content_at(fd, offset, size, target)
    _refuse_unfit(target, fd, content, offset, size)
    return ExistingImage(target, fd, content, offset, size, table, partition)


def _chosen(run: Imaging, target: Target, fd: int, table: Table) -> Partition:
    """Return the partition that is meant: the only one that can be written to, or the one that was named."""
    if _named(run):
        return partition_named(table, _named(run))
    fit = [
        each
        for each in table.partitions
        if not is_extended(table, each)
        and _content_at(fd, each.start * table.sector, each.size * table.sector, target).type in WRITABLE
    ]
    if len(fit) == 1:
        return fit[0]
    name = printable(target.given)
    if not fit:
        raise FatalError(f"no partition of {name} holds a file system that can be written to", _REMEDY)
    raise UsageError(
        f"{name} has several partitions that can be written to: {', '.join(map(shown_partition, fit))}",
        "Give one with --partition.",
    )


def _named(run: Imaging) -> str:
    """Return the partition that is named; "": none is, as --partition picks from the sources where these are images."""
    return run.images.partitions[0] if run.images.partitions and not run.images.images else ""


def _content_at(fd: int, offset: int, size: int, target: Target) -> Content:
    with attach(fd, offset=offset, size=size, sector=own_sector(fd), name=target.given) as loop:
        return content_of(loop.path)


def _refuse_unfit(target: Target, fd: int, content: Content, offset: int, size: int) -> None:
    """Refuse what is not one good file system that is whole, and that may be written to. Raises FatalError."""
    name = printable(target.given)
    if content.type in _READ_ONLY:
        raise FatalError(f"{name} is {content.type}, which is never changed", _REMEDY)
    if content.several or content.type not in WRITABLE:
        raise FatalError(f"{name} holds {what_it_is(content)}, so nothing is copied into it", _REMEDY)
    found = superblock_of(content.type, lambda at, length: os.pread(fd, length, offset + at))
    if found.bytes > size:
        raise FatalError(
            f"{name} is cut short: its {content.type} ends at byte {found.bytes:,}, and there are {size:,}",
            "Copy the image again, whole.",
        )
    if found.devices > 1:
        raise FatalError(f"{name} is one of {found.devices} devices of a btrfs", "Mount all of them, and copy there.")
    if found.replay or found.torn:
        raise _unclean(target)
    if found.doubt:
        raise FatalError(f"{name}: {found.doubt}", "Have it repaired first: e2fsck -f.")


def _unclean(target: Target) -> FatalError:
    return FatalError(
        f"{printable(target.given)} was not unmounted: its journal must be replayed first",
        "Mount it once and unmount it, or have it checked (e2fsck -f, xfs_repair); then run this again.",
    )


def _kernel_type(type: str) -> str:
    """Return the driver that mounts a type. Raises FatalError if there is none."""
    for each in (type, "ext4") if type in ("ext2", "ext3") else (type,):
        if can_mount(each):
            return each
    raise FatalError(f"this kernel cannot mount {type}", f"Is there a module (modprobe {type})?")


@contextmanager
def read_only(run: Imaging, image: ExistingImage) -> Iterator[bytes]:
    """Yield where the file system is mounted, read-only. Raises FatalError: also if its journal was not replayed."""
    kind = _kernel_type(image.content.type)
    with volumes.reading(run, image.fd, kind, image.called, image.offset, image.size) as mount:
        yield mount


def check_before(run: Imaging, image: ExistingImage) -> None:
    """Refuse a file system that is not good, before anything is written to it. Raises FatalError, Stopped."""
    type = image.content.type
    tools.need([tools.Use("check", type)])
    try:
        with read_only(run, image):
            pass
    except MountRefused as refused:
        if refused.number in (errno.EROFS, errno.EIO):
            raise _unclean(image.target) from None
        damage = refused.message
    else:
        damage = ""
    wrong = damage or volumes.checked(run, image.fd, type, image.called, image.offset, image.size)
    if wrong:
        raise FatalError(
            f"{printable(image.called)} has errors, and nothing was written to it: {wrong}",
            "Have it repaired first (e2fsck -f, xfs_repair), or name another image.",
        )


def opened_volume(run: Imaging, image: ExistingImage) -> WritableVolume:
    """Return the file system, mounted for writing. Raises FatalError."""
    kind = _kernel_type(image.content.type)
    volume = volumes.mounted_volume(run, image.fd, kind, image.called, offset=image.offset, size=image.size)
    if image.partition is not None:
        volume.enlarge = _enlarger(image)
    return volume


def _enlarger(image: ExistingImage) -> Callable[[int], int]:
    """Return what has the last partition of an image end at a byte that it is given. It must not be attached then."""
    assert image.table is not None and image.partition is not None
    table, wanted = image.table, image.partition

    def enlarge(end: int) -> int:
        end = -(-end // MIB) * MIB
        os.ftruncate(image.fd, max(os.fstat(image.fd).st_size, end + backup_sectors(table) * table.sector))
        size = end // table.sector - wanted.start
        partitions = tuple(
            replace(each, size=size) if each.number == wanted.number else each for each in table.partitions
        )
        table_writing.write(image.fd, replace(table, partitions=partitions, last=0), image.called)
        os.fsync(image.fd)
        return end

    return enlarge
