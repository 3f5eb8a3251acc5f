"""Which file systems of images are copied, where each lands, and what is left out of them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from hpcp_mpi.host.block.mounts import can_mount
from hpcp_mpi.operations.imaging.opening import OpenImage, Volume, mounted_volume, opened, volume_of
from hpcp_mpi.operations.imaging.rules.file_systems import EXT, reading_of, what_it_is
from hpcp_mpi.operations.imaging.rules.source_names import Named, directory_names, picks
from hpcp_mpi.operations.imaging.run import Imaging, with_patterns_inside
from hpcp_mpi.rules.excludes import literal
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Partition, Table, is_extended
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import child_path, in_one_line, printable
from hpcp_mpi.vocab.report import ImageResult, PartitionResult, Report

_FOUND = b"lost+found"


@dataclass(frozen=True, slots=True)
class ImageSources:
    """Mounted file systems as sources of a copy.

    places: where the contents of each land below the destination. options: the user's, with patterns for the mounts
    partitions: of partitioned images, for the report
    """

    images: tuple[OpenImage, ...]
    volumes: tuple[Volume, ...]
    mounts: tuple[bytes, ...]
    places: tuple[bytes, ...]
    options: Options
    partitions: tuple[PartitionResult, ...] = ()

    def fill(self, report: Report) -> None:
        """Name the images in a report."""
        report.images += [_result(image) for image in self.images]
        report.partitions += self.partitions


def image_sources(run: Imaging) -> ImageSources:
    """Return the file systems of all images that are sources, mounted. Raises FatalError; nothing was done then."""
    images = [opened(run, image) for image in run.images.images]
    chosen: list[tuple[Volume, bytes, bytes]] = []
    partitions: list[PartitionResult] = []
    for image in images:
        chosen += _placed(_chosen(run, image, partitions))
    _refuse_unknown(images, run.images.partitions)
    volumes = [volume for volume, _, _ in chosen]
    mounts = [mounted_volume(run, volume, shown) for volume, _, shown in chosen]
    options = with_patterns_inside(run.options, run.room)
    left_out = _empty_found(run, volumes, mounts)
    options = replace(options, optional_excludes=options.optional_excludes + left_out)
    places = tuple(place for _, place, _ in chosen)
    return ImageSources(tuple(images), tuple(volumes), tuple(mounts), places, options, tuple(partitions))


def _result(image: OpenImage) -> ImageResult:
    table, allocated = image.table, None if image.is_device else os.fstat(image.fd).st_blocks * 512
    words = (image.content.type, image.content.label, image.content.uuid)
    return ImageResult(
        image.path, "read", image.size, allocated, *(words if table is None else (table.label, "", table.id))
    )


def _partition_result(volume: Volume, treatment: str) -> PartitionResult:
    assert volume.partition is not None
    return PartitionResult(
        volume.image.path,
        volume.partition.number,
        volume.partition.name,
        volume.content.type,
        treatment,
        start_before=volume.offset,
        size_before=volume.size,
    )


def _placed(volumes: Sequence[Volume]) -> list[tuple[Volume, bytes, bytes]]:
    """Return (volume, its place, what people call its root) of the volumes of one image."""
    if len(volumes) == 1:
        return [(volumes[0], b"", volumes[0].image.path + b":")]
    names = directory_names([_named(each) for each in volumes])
    return [(volume, name, volume.image.path + b":" + name + b":") for volume, name in zip(volumes, names, strict=True)]


def _named(volume: Volume) -> Named:
    assert volume.partition is not None
    return Named(volume.partition.number, volume.partition.name, volume.content.label)


def _chosen(run: Imaging, image: OpenImage, results: list[PartitionResult]) -> list[Volume]:
    """Return what is copied of an image; what is left out is noted. Raises FatalError if that is all.

    results: gets each partition that was looked at
    """
    if image.table is None:
        return [volume_of(run, image)]
    wanted = _picked(image, image.table, run.images.partitions)
    if wanted:  # each of them must be readable
        picked = [volume_of(run, image, each) for each in wanted]
        results += [_partition_result(each, "read") for each in picked]
        return picked
    if run.images.partitions:
        raise _no_partition([image], run.images.partitions)
    found, notes = [], []
    for partition in image.table.partitions:
        if is_extended(image.table, partition):
            continue
        volume = volume_of(run, image, partition)
        reading = reading_of(volume.content)
        if reading is not None and any(map(can_mount, reading.kernel)):
            found.append(volume)
            results.append(_partition_result(volume, "read"))
            continue
        results.append(_partition_result(volume, "left out"))
        what = what_it_is(volume.content)
        why = f"it holds {what}" if reading is None else f"this kernel cannot mount {what}"
        notes.append(f"partition {_words(partition)} is left out: {why}")
        volume.loop.close()
    if not found:
        raise FatalError(
            f"no partition of {printable(image.path)} holds files to copy: {'; '.join(notes) or 'it has none'}",
            "See what it holds: sfdisk -l, blkid -p.",
        )
    run.notes += [(image.path, note) for note in notes]
    return found


def only_volume(run: Imaging, image: OpenImage) -> Volume:
    """Return what can be copied of an image that holds one file system, or of which --partition picks one.

    Raises FatalError.
    """
    found = _chosen(run, image, [])
    if len(found) > 1:
        names = ", ".join(_words(each.partition) for each in found if each.partition is not None)
        raise FatalError(
            f"{printable(image.path)} has several partitions with files: {names}", "Give one with --partition."
        )
    return found[0]


def _words(partition: Partition) -> str:
    return f"{partition.number} ({in_one_line(partition.name)})" if partition.name else f"{partition.number}"


def _picked(image: OpenImage, table: Table, wanted: Sequence[str]) -> list[Partition]:
    """Return the partitions that --partition names. Raises FatalError where a name is that of several."""
    found: dict[int, Partition] = {}
    for word in wanted:
        same = [
            each for each in table.partitions if not is_extended(table, each) and picks(each.number, each.name, word)
        ]
        by_number = [each for each in same if word == str(each.number)]
        if len(same) > 1 and not by_number:
            numbers = ", ".join(str(each.number) for each in same)
            raise FatalError(
                f"{printable(image.path)} has several partitions called {in_one_line(word)}: {numbers}",
                "Give a number with --partition.",
            )
        found |= {each.number: each for each in by_number or same}
    return [found[number] for number in sorted(found)]


def _refuse_unknown(images: Sequence[OpenImage], wanted: Sequence[str]) -> None:
    """Refuse a --partition that no image has."""
    tables = [image.table for image in images if image.table is not None]
    for word in wanted:
        if not any(picks(each.number, each.name, word) for table in tables for each in table.partitions):
            raise _no_partition(images, [word])


def _no_partition(images: Sequence[OpenImage], wanted: Sequence[str]) -> FatalError:
    there = ", ".join(_words(each) for image in images if image.table is not None for each in image.table.partitions)
    return FatalError(
        f"no partition {' or '.join(map(in_one_line, wanted))} is in "
        f"{', '.join(printable(image.path) for image in images)}",
        f"There are: {there}." if there else "It is not partitioned: leave out --partition.",
    )


def _empty_found(run: Imaging, volumes: Sequence[Volume], mounts: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return patterns that leave out the lost+found of ext where it is empty; where not, it is noted."""
    patterns = []
    for volume, place in zip(volumes, mounts, strict=True):
        path = child_path(place, _FOUND)
        if volume.content.type not in EXT:
            continue
        with suppress(OSError):
            if _names_in(path):
                run.notes.append((path, "it is not empty, so it is copied: e2fsck has put files into it"))
            else:
                patterns.append(literal(path) + b"/")
    return tuple(patterns)


def _names_in(path: bytes) -> list[str]:
    """Return what is in a directory. Raises OSError, for a symlink too: it leads out of the image."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)
