"""A partition of a clone that is made anew: its file system as the source's, filled by an ordinary copy, checked."""

import os
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import filesystems, making, raw
from hpcp_mpi.host.block.loops import Loop
from hpcp_mpi.host.block.probing import content_of
from hpcp_mpi.host.block.subvolumes import close_subvolumes, make_subvolumes
from hpcp_mpi.operations.imaging.clone.additions import make_sockets, without_holes
from hpcp_mpi.operations.imaging.clone.plan import PlannedPart
from hpcp_mpi.operations.imaging.clone.verify import verify_files
from hpcp_mpi.operations.imaging.clone.work import Work, attached, mounted
from hpcp_mpi.operations.imaging.measuring import needed
from hpcp_mpi.operations.imaging.pack.filling import FULL, after
from hpcp_mpi.operations.imaging.pack.room_watch import Expected, RoomWatch, taken_by
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume
from hpcp_mpi.operations.imaging.rules import likeness, sizes
from hpcp_mpi.operations.imaging.rules.table import shown_partition
from hpcp_mpi.operations.imaging.run import copy_between
from hpcp_mpi.rules.excludes import matcher
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import PartitionResult, Report

_TRIES = 3  # further copies into what was full
_TELLS_APART = "/sys/fs/btrfs/features/temp_fsid"  # file systems of one UUID; before Linux 6.7 they are mixed up


def make_files(work: Work, part: PlannedPart, result: PartitionResult) -> None:
    """Make the file system of a partition and copy its files. Raises FatalError, Stopped, StoppedEarly."""
    complete = work.target.goes_on and _is_complete(work, part)
    if complete:
        result.notes.append("an earlier run had made it: compared")
        report = _compared(work, part)
    else:
        work.target.wipe(part.offset, part.size)
        report = _made(work, part)
    work.report.add(report)
    result.entries = report.outcome.copied.entries
    result.copied = report.outcome.copied.bytes
    result.failed = len(report.failures)
    if report.ended_early:
        raise StoppedEarly(report.stopped, work.run.frontend.stop.name)
    raw.stored(work.target.fd, work.target.path)
    if work.run.options.verify:
        verify_files(work, part)
    if not complete:
        _finish(work, part)
    _check(work, part)


def _made(work: Work, part: PlannedPart) -> Report:
    """Return the report of the copy into a new file system, which is unmounted then."""
    run, make = work.run, part.make
    assert make is not None
    with attached(work, part, True) as loop:
        making.make(loop.path, make, lambda: run.stopping, zeros=work.target.is_zero)
        with mounted(work, part, loop, True) as place:
            _refuse_small(part, place)
            if make.type == "btrfs":
                make_subvolumes(place, part.source.subvolumes)
            report = _filled(work, part, place, loop, work.options)
            if not report.ended_early:
                make_sockets(run, report, part.source.place, place)
                without_holes(run, report, part.source.place, place)
                if make.type == "btrfs":
                    close_subvolumes(place, part.source.subvolumes)
    return report


def _filled(work: Work, part: PlannedPart, place: bytes, loop: Loop, options: Options) -> Report:
    """Return the report of the copy of a partition's files. Raises FatalError.

    One that is full to the last block may have no room for the stages of a copy; what is left then has.
    """
    report = _copied(work, part, place, loop, options)
    for _ in range(_TRIES):
        if report.ended_early or not any(FULL in each.reason for each in report.failures):
            break
        report = after(report, _copied(work, part, place, loop, options))
    return report


def _copied(work: Work, part: PlannedPart, place: bytes, loop: Loop, options: Options) -> Report:
    run, make = work.run, part.make
    assert make is not None
    if work.target.image is None:
        return copy_between(run, [part.source.place], [b""], place, options)
    volume = WritableVolume(work.target.path, work.target.fd, loop, make.type, place, make.bytes, offset=part.offset)
    with RoomWatch(volume, Expected(), False, run.frontend.stop, taken_by(volume)) as watch:
        report = copy_between(run, [part.source.place], [b""], place, options)
    watch.refuse_full()
    return report


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


def _finish(work: Work, part: PlannedPart) -> None:
    """Give a file system that is filled and unmounted what it could not have before. Raises FatalError."""
    make = part.make
    if make is not None and make.finish:
        with attached(work, part, True) as loop:
            # What gives a UUID away wants it to be unknown, and the source's device has it.
            making.finish(loop.path, make)
        raw.stored(work.target.fd, work.target.path)


def _check(work: Work, part: PlannedPart) -> None:
    """Check a new file system. Raises FatalError if anything is wrong with it."""
    if not work.run.images.check:
        return
    wrong = _wrong(work, part)
    if wrong:
        raise FatalError(
            f"the check of {shown_partition(part.target)} in {printable(work.target.path)} found errors: {wrong}",
            "Is the disk good? The clone is not finished.",
        )


def _wrong(work: Work, part: PlannedPart) -> str:
    assert part.make is not None
    with attached(work, part, False) as loop:
        return making.check(loop.path, part.make.type, lambda: work.run.stopping)


# --- what an earlier run has made


def _is_complete(work: Work, part: PlannedPart) -> bool:
    """Return whether an earlier run, which was ended, has made and filled this file system."""
    make, geometry, content = part.make, part.source.geometry, part.source.content
    assert make is not None
    assert geometry is not None
    if make.type == "btrfs" and (part.source.subvolumes.read_only or not os.path.exists(_TELLS_APART)):
        return False
    with suppress(FatalError), attached(work, part, True) as loop:
        found = content_of(loop.path)
        if (found.type, found.uuid, found.label) != (content.type, content.uuid, content.label):
            return False
        made = likeness.parsed(make.type, *filesystems.file_system_of(loop.path, make.type))
        if made.size // 4096 != make.bytes // 4096:
            return False
        if work.run.images.mirror_geometry and likeness.differences(geometry, made):
            return False
        if _wrong(work, part):
            return False
        with mounted(work, part, loop, False) as place:
            excludes = matcher(work.options.all_excludes)
            return needed([place], excludes, lambda: work.run.stopping) == part.source.need
    return False


def _compared(work: Work, part: PlannedPart) -> Report:
    """Return the report of a copy into a file system that is there: what is equal stays, what is more goes."""
    run, asking = work.run, work.run.frontend
    options = replace(work.options, mirror=True, certain=True, unmatched_excludes=True)
    with attached(work, part, True) as loop, mounted(work, part, loop, True) as place:
        run.frontend = replace(asking, confirm=lambda question: True, certain=True)  # it is ours, and was asked about
        try:
            report = _filled(work, part, place, loop, options)
        finally:
            run.frontend = asking
        if not report.ended_early:
            make_sockets(run, report, part.source.place, place)
            without_holes(run, report, part.source.place, place)
    return report
