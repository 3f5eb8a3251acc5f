"""A clone that is being made, and its partitions as devices."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hpcp_mpi.host.block.loops import Loop, attach
from hpcp_mpi.host.block.mounts import can_mount
from hpcp_mpi.host.block.probing import own_sector
from hpcp_mpi.operations.imaging.clone.plan import Plan, PlannedPart
from hpcp_mpi.operations.imaging.clone.target import CloneTarget
from hpcp_mpi.operations.imaging.rules.file_systems import READINGS
from hpcp_mpi.operations.imaging.rules.treatment import Kind
from hpcp_mpi.operations.imaging.run import Imaging, with_patterns_inside
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import PartitionResult, Report

# What was not finished has no table and is never mounted: so nothing has to be waited for. A superblock may ask for a
# panic on errors, as the source's does: they are to end this run, and not the machine.
_WRITING = {
    **dict.fromkeys(("ext2", "ext3"), ("errors=remount-ro",)),
    "ext4": ("nobarrier", "errors=remount-ro"),  # without a journal it takes no commit=
    "xfs": ("nouuid", "logbufs=8", "logbsize=256k"),
    "btrfs": ("subvolid=5", "nobarrier", "commit=300"),
}
_READING = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), ("errors=continue",)),
    "xfs": ("nouuid",),
    "btrfs": ("subvolid=5",),
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
        left_out = options.left_out | self.target.left_out
        return replace(options, left_out=left_out, verify=False, mirror=False)


def planned_result(plan: Plan, part: PlannedPart) -> PartitionResult:
    """Return what the report says of a partition before anything is copied."""
    source, sector = part.source, plan.source.table.sector
    notes = [source.treatment.reason] if source.treatment.reason else []
    if source.kind is Kind.RAW and source.content.type and part.size > source.partition.size * sector:
        notes.append(f"the partition is bigger, the {source.content.type} in it is not: grow that in the clone")
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


@contextmanager
def attached(work: Work, part: PlannedPart, writable: bool) -> Iterator[Loop]:
    """Yield a partition of the clone as a device, as big as what is in it."""
    fd, size = work.target.fd, part.make.bytes if part.make is not None else part.size
    direct = work.target.device is not None
    with attach(fd, writable, part.offset, size, own_sector(fd), direct, work.target.path) as loop:
        yield loop


@contextmanager
def mounted(work: Work, part: PlannedPart, loop: Loop, writable: bool) -> Iterator[bytes]:
    """Yield where the file system of a partition of the clone is mounted. Raises FatalError."""
    assert part.make is not None
    kind, run = part.make.type, work.run
    options = (_WRITING if writable else _READING).get(kind, ())
    place = run.room.mount(loop.path, _driver_of(kind), options, read_only=not writable)
    run.shown.names[place] = work.called(part) + b":"
    try:
        yield place
    finally:
        run.room.unmount(place)


def _driver_of(kind: str) -> str:
    """Return the kernel's driver of a file system. Raises FatalError where there is none."""
    drivers = READINGS[kind].kernel
    for each in drivers:
        if can_mount(each):
            return each
    raise FatalError(f"this kernel cannot mount {kind}", f"Is there a module (modprobe {drivers[0]})?")
