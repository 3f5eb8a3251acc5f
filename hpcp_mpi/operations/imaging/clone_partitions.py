"""One partition of a clone after the other: a file system made and filled, a swap made, or blocks copied."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import making, raw
from hpcp_mpi.host.block.few_devices import alone_with
from hpcp_mpi.host.block.loops import Loop, attach
from hpcp_mpi.host.block.mounts import can_mount
from hpcp_mpi.host.block.probing import own_sector
from hpcp_mpi.host.block.subvolumes import close_subvolumes, make_subvolumes
from hpcp_mpi.operations.imaging.clone_plan import Plan, PlannedPart
from hpcp_mpi.operations.imaging.clone_sockets import make_sockets
from hpcp_mpi.operations.imaging.clone_target import CloneTarget
from hpcp_mpi.operations.imaging.room_watch import Expected, RoomWatch, taken_by
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.rules.file_systems import READINGS
from hpcp_mpi.operations.imaging.rules.table import MIB, shown_partition
from hpcp_mpi.operations.imaging.rules.treatment import Kind
from hpcp_mpi.operations.imaging.run import Imaging, copy_between, with_patterns_inside
from hpcp_mpi.operations.imaging.volume import WritableVolume
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import PartitionResult, Report

# What was not finished has no table and is never mounted: so nothing has to be waited for.
_WRITING = {
    "ext4": ("nobarrier", "commit=300"),
    "xfs": ("nouuid", "logbufs=8", "logbsize=256k"),
    "btrfs": ("nobarrier", "commit=300"),
}


@dataclass(slots=True)
class Work:
    """A clone that is being made. report: of all that was done by now"""

    run: Imaging
    plan: Plan
    target: CloneTarget
    report: Report

    def called(self, part: PlannedPart) -> bytes:
        """What messages call a partition of the clone."""
        return self.target.path + b":" + (os.fsencode(part.target.name) or b"%d" % part.target.number)

    @property
    def options(self) -> Options:
        """How each partition is copied."""
        options = with_patterns_inside(self.run.options, self.run.room)
        stage = frozenset({self.target.stage.identity} if self.target.stage is not None else ())
        return replace(options, left_out=options.left_out | stage, verify=False, mirror=False)


def make_partition(work: Work, part: PlannedPart) -> PartitionResult:
    """Make a partition of the clone; return what became of it. Raises FatalError, Stopped, StoppedEarly."""
    began = time.monotonic()
    result = planned_result(work.plan, part)
    work.run.refuse_if_stopped()
    if part.source.kind is not Kind.TABLE:
        work.run.frontend.say(
            f"hpcp-mpi: {shown_partition(part.target)}: {result.content or 'unknown'}, {result.treatment}"
        )
        if work.target.device is not None:
            _wipe(work, part)
    if part.source.kind is Kind.FILES:
        _files(work, part, result)
    elif part.source.kind is Kind.SWAP:
        _swap(work, part)
    elif part.source.kind is Kind.RAW:
        _raw(work, part, result)
    result.seconds = time.monotonic() - began
    return result


def planned_result(plan: Plan, part: PlannedPart) -> PartitionResult:
    """Return what the report says of a partition before anything is copied."""
    source, sector = part.source, plan.source.table.sector
    notes = [source.treatment.reason] if source.treatment.reason else []
    return PartitionResult(
        plan.source.image.path,
        part.target.number,
        part.target.name,
        source.content.type,
        source.kind.value,
        start_before=source.partition.start * sector,
        start=part.offset,
        size_before=source.partition.size * sector,
        size=part.size,
        notes=notes,
    )


def _wipe(work: Work, part: PlannedPart) -> None:
    """Overwrite where signatures of what was on the disk before may lie."""
    first = min(MIB, part.size)
    raw.write_zeros(work.target.fd, part.offset, first, work.target.path)
    last = min(MIB, part.size - first)
    raw.write_zeros(work.target.fd, part.offset + part.size - last, last, work.target.path)


@contextmanager
def attached(work: Work, part: PlannedPart, writable: bool) -> Iterator[Loop]:
    """Yield a partition of the clone as a device, as big as what is in it."""
    fd, size = work.target.fd, part.make.bytes if part.make is not None else part.size
    direct = work.target.device is not None
    with attach(fd, writable, part.offset, size, own_sector(fd), direct, work.target.path) as loop:
        yield loop


def driver_of(kind: str) -> str:
    """Return the kernel's driver of a file system. Raises FatalError where there is none."""
    drivers = READINGS[kind].kernel
    for each in drivers:
        if can_mount(each):
            return each
    raise FatalError(f"this kernel cannot mount {kind}", f"Is there a module (modprobe {drivers[0]})?")


def _files(work: Work, part: PlannedPart, result: PartitionResult) -> None:
    run, make = work.run, part.make
    assert make is not None
    with attached(work, part, True) as loop:
        making.make(loop.path, make, lambda: run.stopping, zeros=work.target.image is not None)
        place = run.room.mount(loop.path, driver_of(make.type), _WRITING.get(make.type, ()), read_only=False)
        run.shown.names[place] = work.called(part) + b":"
        try:
            _refuse_small(part, place)
            if make.type == "btrfs":
                make_subvolumes(place, part.source.subvolumes)
            report = _filled(work, part, place, loop)
            make_sockets(run, report, part.source.place, place)
            if make.type == "btrfs" and not report.ended_early:
                close_subvolumes(place, part.source.subvolumes)
        finally:
            run.room.unmount(place)
        work.report.add(report)
        result.entries = report.outcome.copied.entries
        result.copied = report.outcome.copied.bytes
        result.failed = len(report.failures)
        if report.ended_early:
            raise StoppedEarly(report.stopped, run.frontend.stop.name)
        _finish(loop.path, part)
    raw.stored(work.target.fd, work.target.path)
    _check(work, part)


def _finish(device: bytes, part: PlannedPart) -> None:
    """Give a file system that is filled and unmounted what it could not have before. Raises FatalError."""
    make = part.make
    if make is not None and make.finish:
        # What gives a UUID away wants it to be unknown, and the source's device has it.
        alone_with(device, lambda: making.finish(device, make))


def _refuse_small(part: PlannedPart, place: bytes) -> None:
    """Refuse a new file system that has too little room. Raises FatalError."""
    make, need = part.make, part.source.need
    assert make is not None
    lacks = sizes.missing(make, need, *making.room_of(place, make.type))
    if any(lacks):
        raise FatalError(
            f"{shown_partition(part.target)} is too small for what it gets: {lacks[0]:,} bytes and {lacks[1]:,} inodes "
            "more are needed",
            "Give it a bigger size with -ddr.",
        )


def _filled(work: Work, part: PlannedPart, place: bytes, loop: Loop) -> Report:
    """Return the report of the copy of a partition's files. Raises FatalError."""
    run, make = work.run, part.make
    assert make is not None
    if work.target.image is None:
        return copy_between(run, [part.source.place], [b""], place, work.options)
    volume = WritableVolume(work.target.path, work.target.fd, loop, make.type, place, make.bytes, offset=part.offset)
    with RoomWatch(volume, Expected(), False, run.frontend.stop, taken_by(volume)) as watch:
        report = copy_between(run, [part.source.place], [b""], place, work.options)
    watch.refuse_full()
    return report


def _check(work: Work, part: PlannedPart) -> None:
    """Check a new file system. Raises FatalError if anything is wrong with it."""
    assert part.make is not None
    if not work.run.images.check:
        return
    with attached(work, part, False) as loop:
        wrong = making.check(loop.path, part.make.type, lambda: work.run.stopping)
    if wrong:
        raise FatalError(
            f"the check of {shown_partition(part.target)} in {printable(work.target.path)} found errors: {wrong}",
            "Is the disk good? The clone is not finished.",
        )


def _swap(work: Work, part: PlannedPart) -> None:
    found = part.source.geometry
    label, uuid, page = (found.label, found.uuid, found.block) if found is not None else (b"", "", 0)
    with attached(work, part, True) as loop:
        making.make_swap(loop.path, label, uuid, page, lambda: work.run.stopping)
    raw.stored(work.target.fd, work.target.path)


def _raw(work: Work, part: PlannedPart, result: PartitionResult) -> None:
    run, volume, image = work.run, part.source.volume, work.plan.source.image
    assert volume is not None
    raw.forget_cached(image.fd, volume.offset, volume.size)
    done = raw.copy_blocks(
        image.fd,
        volume.offset,
        work.target.fd,
        part.offset,
        volume.size,
        lambda: run.stopping,
        zeros=work.target.image is not None,
        shown=work.target.path,
    )
    raw.stored(work.target.fd, work.target.path)
    result.copied = done.bytes
    result.failed = len(done.bad)
    for offset, length in done.bad:
        run.failures.append(
            Failure(
                work.plan.source.called(part.source),
                f"{length:,} bytes at byte {offset:,} of the disk could not be read, and are zeros in the clone",
                False,
                length,
            )
        )
