"""One partition of a clone after the other: a file system made and filled, a swap made, or blocks copied."""

import errno
import os
import time

from hpcp_mpi.host.block import devices, making, raw
from hpcp_mpi.host.block.mounts import store
from hpcp_mpi.operations.imaging.blocks_shown import showing_blocks
from hpcp_mpi.operations.imaging.clone.files import make_files
from hpcp_mpi.operations.imaging.clone.plan import PlannedPart
from hpcp_mpi.operations.imaging.clone.verify import verify_raw
from hpcp_mpi.operations.imaging.clone.work import Work, attached, planned_result
from hpcp_mpi.operations.imaging.pack.room_watch import FULL, RESERVE, free_outside
from hpcp_mpi.operations.imaging.rules.table import MIB, shown_partition
from hpcp_mpi.operations.imaging.rules.treatment import Kind
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.report import PartitionResult
from hpcp_mpi.vocab.tally import Tally

_LOOK = 16 * MIB  # bytes between two looks at the room that is left


def make_partition(work: Work, part: PlannedPart) -> PartitionResult:
    """Make a partition of the clone; return what became of it. Raises FatalError, Stopped, StoppedEarly."""
    began = time.monotonic()
    result = planned_result(work.plan, part)
    work.run.refuse_if_stopped()
    if part.source.kind is not Kind.TABLE:
        what = f"{result.content or 'unknown'}, {result.treatment}"
        work.run.frontend.say(f"hpcp-mpi: {shown_partition(part.target)}: {what}")
    if part.source.kind is Kind.FILES:
        make_files(work, part, result)
    elif part.source.kind is Kind.SWAP:
        _swap(work, part)
    elif part.source.kind is Kind.RAW:
        _raw(work, part, result)
    result.seconds = time.monotonic() - began
    return result


def _swap(work: Work, part: PlannedPart) -> None:
    work.target.wipe(part.offset, part.size)
    found = part.source.geometry
    label, uuid, page = (found.label, found.uuid, found.block) if found is not None else (b"", "", 0)
    with attached(work, part, True) as loop:
        making.make_swap(loop.path, label, uuid, page, lambda: work.run.stopping)
    raw.stored(work.target.fd, work.target.path)


def _raw(work: Work, part: PlannedPart, result: PartitionResult) -> None:
    run, volume, image, target = work.run, part.source.volume, work.plan.source.image, work.target
    assert volume is not None
    if part.source.live:
        _store_live(part.source.device)
    raw.forget_cached(image.fd, volume.offset, volume.size)
    target.wipe(part.offset, part.size)
    look = _RoomLook(target.fd) if target.image is not None else None
    shown = showing_blocks(run.frontend.watcher, "copying blocks", volume.size)

    def wrote(count: int) -> None:
        shown(count)
        if look is not None:
            look.wrote(count)

    done = raw.copy_blocks(
        image.fd,
        volume.offset,
        target.fd,
        part.offset,
        volume.size,
        lambda: run.stopping,
        progress=wrote,
        zeros=target.is_zero,
        shown=target.path,
    )
    raw.stored(target.fd, target.path)
    result.copied = done.bytes
    result.failed = len(done.bad)
    called = work.plan.source.called(part.source)
    for offset, length in done.bad:
        why = f"{length:,} bytes at byte {offset:,} of the disk could not be read, and are zeros in the clone"
        run.failures.append(Failure(called, why, False, Tally(bytes=length)))
    if run.options.verify:
        verify_raw(work, part)


def _store_live(number: int) -> None:
    """Have what was written to a mounted file system be on its device. Raises FatalError."""
    found = devices.mount_of(number)
    if found is not None:
        store(found[0])


class _RoomLook:
    """Looks now and then whether the file system of an image has room left."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._since = _LOOK

    def wrote(self, count: int) -> None:
        """Note that so many bytes were written. Raises FatalError if there is hardly any room left."""
        self._since += count
        if self._since < _LOOK:
            return
        self._since = 0
        free = free_outside(self._fd)
        if free is not None and free < RESERVE:
            raise FatalError(f"{FULL}: {os.strerror(errno.ENOSPC)}", "Make room there, or name another place.")
