"""Bringing an existing image up to date, as a directory would be: in place, checked before and after."""

import os
import stat
import time
from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.engine.frontend import Unwatched
from hpcp_mpi.host.block import tools
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.making import Room, room_of
from hpcp_mpi.host.block.probing import table_of
from hpcp_mpi.host.block.staging import Target
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.pack import volume as volumes
from hpcp_mpi.operations.imaging.pack.existing_image import (
    ExistingImage,
    check_before,
    existing_image,
    opened_volume,
    read_only,
)
from hpcp_mpi.operations.imaging.pack.filling import compare_between, fill
from hpcp_mpi.operations.imaging.pack.new_image import amount, measured, result_of, verify
from hpcp_mpi.operations.imaging.pack.packed_sources import Packed
from hpcp_mpi.operations.imaging.pack.room_watch import RESERVE, Expected, bigger_size, free_outside, taken_by
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume, grow
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.run import Imaging, copy_between
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.image_options import Need
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import in_one_line, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import Tally

_BLOCK = 4096


def update(run: Imaging, target: Target, packed: Packed) -> Report:
    """Copy what is packed into an image that is there. Raises FatalError. A signal is in the report.

    Until the check has passed that comes first nothing is written.
    """
    began = time.monotonic()
    if run.options.dry_run:
        return _planned(run, target, packed, began)
    with existing_image(run, target, writable=True) as image:
        _refuse_another(run, image)
        tools.need([tools.Use("check", image.content.type), tools.Use("grow", image.content.type)])
        try:
            run.frontend.say(f"hpcp-mpi: checking {printable(image.called)}")
            check_before(run, image)
            report = _updated(run, image, packed)
            if not report.ended_early:
                _finish(run, image, packed, report)
        except Stopped:
            raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None
        report.images.append(result_of(target, "updated", began, image.content))
        return report


def compare(run: Imaging, target: Target, packed: Packed) -> Report:
    """Compare what is packed with what an image holds of it. Raises FatalError. A signal is in the report."""
    if target.status is None:
        raise FatalError(f"there is nothing at {printable(target.given)} to compare with")
    with existing_image(run, target, writable=False) as image, read_only(run, image) as mount:
        left_out = packed.without(volumes.recovered(mount))
        report = compare_between(run, packed.sources, packed.places, mount, left_out.options)
        packed.fill(report)
        return report


def _refuse_another(run: Imaging, image: ExistingImage) -> None:
    """Refuse an image that is not as a new one was asked for; the same command again finds it so. Raises UsageError."""
    asked, found, name = run.images, image.content, printable(image.called)
    for option, wanted, has in (
        ("--image-fs", asked.file_system if asked.file_system != "auto" else "", found.type),
        ("--image-label", asked.label, found.label),
    ):
        if wanted and wanted != has:
            there, asks = in_one_line(has) or "none", in_one_line(wanted)
            raise UsageError(
                f"{name} is there already, with {there} where {option} asks for {asks}",
                f"Leave out {option}, or remove the image to have it made anew.",
            )
    if asked.mkfs_options:
        run.notes.append((image.called, "it was there already, so --mkfs-option did nothing"))


def _planned(run: Imaging, target: Target, packed: Packed, began: float) -> Report:
    with existing_image(run, target, writable=False) as image, read_only(run, image) as mount:
        _refuse_another(run, image)
        left_out = packed.without(volumes.recovered(mount))
        report = copy_between(run, packed.sources, packed.places, mount, left_out.options)
        packed.fill(report)
        report.images.append(result_of(target, "updated", began, image.content))
        return report


def _updated(run: Imaging, image: ExistingImage, packed: Packed) -> Report:
    """Return the report of the copy into an image, which is unmounted then. Raises FatalError."""
    need = measured(run, packed)
    volume = opened_volume(run, image)
    may_grow = run.images.grow and not run.images.volume_size and image.grows
    expected = _with_room(run, volume, packed, need, may_grow)
    report = fill(run, volume, packed, expected, may_grow)
    report.destination = image.called
    if not report.ended_early and _is_sparse(image):
        volumes.trimmed(volume)
    volumes.close(run, volume)
    return report


def _is_sparse(image: ExistingImage) -> bool:
    """Return whether an image has holes: one that was made without any keeps the room that it has."""
    status = os.fstat(image.fd)
    return stat.S_ISREG(status.st_mode) and status.st_blocks * 512 < status.st_size


def _with_room(run: Imaging, volume: WritableVolume, packed: Packed, need: Need, may_grow: bool) -> Expected:
    """Have an image big enough for what is new in the sources; return what that takes. Raises FatalError."""
    room = room_of(volume.mount, volume.type)
    if any(sizes.missing(volume.type, need, *room)):
        need = _new_part(run, volume, packed, need)
    expected = Expected(*sizes.taken(volume.type, need))
    _refuse_small_room(volume, expected)
    lacks = sizes.missing(volume.type, need, *room)
    if any(lacks) and may_grow:
        run.frontend.say(f"hpcp-mpi: making {printable(volume.called)} bigger")
        before = volume.size
        grow(run, volume, bigger_size(volume, taken_by(volume), *lacks))
        run.notes.append((volume.called, f"it was made bigger: by {volume.size - before:,} bytes"))
    elif any(lacks):
        _say_full(run, volume, expected, room)
    return expected


def _new_part(run: Imaging, volume: WritableVolume, packed: Packed, need: Need) -> Need:
    """Return about what those entries need that a copy would write, by a dry run that looks at no content."""
    options = replace(packed.options, dry_run=True, itemize=False, hash_size=0, full_hash=False, mirror=False)
    options = replace(options, left_out=options.left_out | volumes.recovered(volume.mount))
    frontend = run.frontend
    run.frontend = replace(frontend, items=None, watcher=Unwatched())
    try:
        report = copy_between(run, packed.sources, packed.places, volume.mount, options)
    finally:
        run.frontend = frontend
    if report.ended_early:
        raise StoppedEarly(report.stopped, run.frontend.stop.name)
    return _part(need, report.outcome.copied)


def _part(need: Need, new: Tally) -> Need:
    """Return what some of a tree's entries need, at most, as far as counts and bytes tell."""
    names = _share(need.name_bytes, new.entries, need.entries)
    return Need(
        files=new.files,
        directories=new.directories,
        symlinks=new.links,
        others=new.specials,
        long_symlinks=min(need.long_symlinks, new.links),
        entries=new.entries,
        blocks=min(need.blocks, new.bytes + new.files * _BLOCK),
        data=min(need.data, new.bytes),
        name_bytes=names,
        directory_blocks=min(need.directory_blocks, _BLOCK * new.directories + 4 * (names + 12 * new.entries)),
        attribute_bytes=need.attribute_bytes,
        attribute_inodes=min(need.attribute_inodes, new.entries),
    )


def _share(amount: int, part: int, whole: int) -> int:
    return -(-amount * part // whole) if whole else 0


def _refuse_small_room(volume: WritableVolume, expected: Expected) -> None:
    """Refuse to write more than the image's own file system has room for. Raises FatalError."""
    outside = free_outside(volume.fd)
    if outside is None:
        return
    now = taken_by(volume)
    takes = max(0, expected.bytes - max(0, now.allocated - now.used))
    if outside < takes + RESERVE:
        raise FatalError(
            f"{printable(volume.called)} would take {amount(takes)} more, and its file system has {amount(outside)} "
            f"left, of which {RESERVE // MIB} MiB have to stay free",
            "Make room there, or copy less (-e).",
        )


def _say_full(run: Imaging, volume: WritableVolume, expected: Expected, room: Room) -> None:
    """Say that there may be too little room in an image that is not made bigger; refuse it if that was asked for."""
    facts = (
        f"{printable(volume.called)} has {amount(room.bytes)} and {room.inodes:,} inodes left, and up to "
        f"{amount(expected.bytes)} and {expected.inodes:,} are to be copied"
    )
    if run.options.require_space:
        raise FatalError(f"{facts} (-enes)", "Let it grow, make room in it, or copy less (-e). Nothing was written.")
    run.notes.append((volume.called, f"{facts}: what does not fit will fail"))


def _finish(run: Imaging, image: ExistingImage, packed: Packed, report: Report) -> None:
    """Check what was written, and compare it if that was asked for. Raises FatalError, Stopped."""
    if run.images.check:
        run.frontend.say(f"hpcp-mpi: checking {printable(image.called)}")
        size = size_of_partition(image)
        wrong = volumes.checked(run, image.fd, image.content.type, image.called, image.offset, size)
        if wrong:
            raise FatalError(
                f"{printable(image.called)} was written to, and its check found errors: {wrong}",
                "Is its disk good? Have it repaired (e2fsck -f, xfs_repair), and run this again.",
            )
    if run.options.verify:
        verify(run, image.fd, image.content.type, packed, report, image.called, image.offset, size_of_partition(image))


def size_of_partition(image: ExistingImage) -> int:
    """Return the bytes of an image's partition by now, which may have grown; 0: it is the whole image."""
    if image.partition is None:
        return 0
    with attach(image.fd, sector=image.table.sector if image.table else 512, name=image.called) as loop:
        table = table_of(loop.path, shown=image.called)
    assert table is not None
    return next(each.size for each in table.partitions if each.number == image.partition.number) * table.sector
