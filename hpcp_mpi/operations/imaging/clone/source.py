"""The disk that is cloned: its table, what lies in each partition, and where the files of those are mounted."""

import os
from dataclasses import dataclass, field

from hpcp_mpi.host.block import devices, filesystems
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.mounts import BIND, READ_ONLY, REMOUNT, UNTRUSTED, MountRefused, mount
from hpcp_mpi.host.block.probing import FoundTable, found_table
from hpcp_mpi.host.block.subvolumes import Subvolumes, subvolumes_of
from hpcp_mpi.operations.imaging.opening import OpenImage, Volume, mounted_volume, opened, volume_of
from hpcp_mpi.operations.imaging.rules import likeness
from hpcp_mpi.operations.imaging.rules.file_systems import READINGS
from hpcp_mpi.operations.imaging.rules.geometry import Geometry
from hpcp_mpi.operations.imaging.rules.superblock import Superblock
from hpcp_mpi.operations.imaging.rules.swap import parse_swap
from hpcp_mpi.operations.imaging.rules.table import boot_program, on_disk, partition_named, shown_partition
from hpcp_mpi.operations.imaging.rules.treatment import BY_FILES, SWAPS, Facts, Kind, Treatment, treatment_of
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.image_options import Content, Need, Partition, Table, is_extended
from hpcp_mpi.vocab.paths import printable

_SNAPSHOTS = "{} of its subvolumes are snapshots: in the clone each is a full copy, which shares no blocks"
_LIVE = "it is in use: a file that is written to meanwhile may be copied half old, half new; this is no snapshot"


@dataclass(slots=True)
class SourcePart:
    """A partition of the source. volume: None of an extended one; place: where it is mounted, read-only"""

    partition: Partition
    volume: Volume | None
    treatment: Treatment
    device: int = 0  # the number of its own device; 0: it has none, as in an image file
    live: bool = False  # it is mounted on the running system
    place: bytes = b""
    geometry: Geometry | None = None  # of a file system that is made anew, and of swap
    need: Need = field(default_factory=Need)
    subvolumes: Subvolumes = field(default_factory=Subvolumes)  # of btrfs

    @property
    def content(self) -> Content:
        return self.volume.content if self.volume is not None else Content()

    @property
    def kind(self) -> Kind:
        return self.treatment.kind


@dataclass(slots=True)
class Source:
    """The disk that is cloned. parts: in the order in which they lie"""

    image: OpenImage
    found: FoundTable
    parts: list[SourcePart]

    @property
    def table(self) -> Table:
        return self.found.table

    @property
    def sectors(self) -> int:
        return self.image.size // self.table.sector

    def called(self, part: SourcePart) -> bytes:
        """Return what messages call a partition, as part of a path."""
        return self.image.path + b":" + (os.fsencode(part.partition.name) or b"%d" % part.partition.number)


def source_of(run: Imaging) -> Source:
    """Return the disk that is cloned, with what is done with each partition. Raises FatalError for what cannot be."""
    image = opened(run, run.images.images[0])
    numbers: dict[int, int] = {}
    if image.is_device:
        device = devices.device_of(image.fd, image.path)
        if not device.whole:
            raise FatalError(
                f"{printable(image.path)} is a partition, not a whole disk",
                "Clone the disk; or copy the files of this one with -si.",
            )
        numbers = dict(device.partitions)
    found = found_table(image.loop.path, shown=image.path)
    if found is None:
        raise FatalError(
            f"{printable(image.path)} has no partition table", "A file system alone is copied with -si, to -d or -di."
        )
    raw = {partition_named(found.table, word).number for word in run.images.raw}
    parts = [_part(run, image, found.table, each, numbers, raw) for each in on_disk(found.table)]
    _refuse(image, parts)
    return Source(image, found, parts)


def _part(
    run: Imaging, image: OpenImage, table: Table, partition: Partition, numbers: dict[int, int], raw: set[int]
) -> SourcePart:
    if is_extended(table, partition):
        return SourcePart(partition, None, treatment_of(Content(), partition, table, Facts()))
    volume = _volume(run, image, partition, partition.number in raw)
    number = numbers.get(partition.number, 0)
    if number and devices.extent_of(number) != (volume.offset, volume.size):
        raise FatalError(
            f"the kernel has {shown_partition(partition)} of {printable(image.path)} elsewhere than its table",
            "Have it read the table again: partprobe, partx -u, or a restart.",
        )
    live = bool(number) and devices.mount_of(number) is not None
    held = devices.holders_of(number) if number else []
    if number and not live and not held:
        held = devices.users_of(number) or (["something that holds it"] if devices.is_held(number) else [])
    geometry = None if partition.number in raw else _geometry(volume, partition)
    obstacle = geometry.obstacle if geometry is not None else ""
    facts = Facts(partition.number in raw, obstacle, live=live, held=", ".join(held))
    treatment = treatment_of(volume.content, partition, table, facts)
    return SourcePart(partition, volume, treatment, number, live, geometry=geometry)


def _volume(run: Imaging, image: OpenImage, partition: Partition, raw: bool) -> Volume:
    """Return a partition with what lies in it, of a raw one also if that cannot be read. Raises FatalError."""
    remedy = f"--raw {partition.number} copies what can be read of it, block by block."
    try:
        return volume_of(run, image, partition)
    except OSError as error:
        failed = FatalError(f"{printable(image.path)}, partition {partition.number}: {reason_of(error)}", remedy)
    except FatalError as error:
        failed = FatalError(error.message, remedy)
    if not raw:
        raise failed
    offset, size = partition.start * image.sector, partition.size * image.sector
    loop = run.stack.enter_context(attach(image.fd, offset=offset, size=size, name=image.path))
    return Volume(image, partition, offset, size, loop, Content(), Superblock())


def _geometry(volume: Volume, partition: Partition) -> Geometry | None:
    """Return how a file system was made; None of what is not made anew. Raises FatalError."""
    kind, loop = volume.content.type, volume.loop.path
    if kind in SWAPS:
        return parse_swap(filesystems.head_of(loop))
    if kind not in BY_FILES or boot_program(partition):
        return None
    try:
        return likeness.parsed(kind, *filesystems.file_system_of(loop, kind))
    except FatalError as error:
        raise FatalError(f"{volume.called}: {error.message}", error.remedy) from None


def _refuse(image: OpenImage, parts: list[SourcePart]) -> None:
    """Refuse a disk of which partitions cannot be cloned; each is named."""
    refused = [part for part in parts if part.kind is Kind.REFUSED]
    if refused:
        reasons = "; ".join(f"{shown_partition(part.partition)}: {part.treatment.reason}" for part in refused)
        remedies = " ".join(dict.fromkeys(part.treatment.remedy for part in refused))
        raise FatalError(f"{printable(image.path)} cannot be cloned: {reasons}", remedies)


def mount_source(run: Imaging, source: Source, part: SourcePart) -> None:
    """Mount the files of a partition, read-only. Raises FatalError."""
    assert part.volume is not None
    shown = source.called(part) + b":"
    btrfs = part.content.type == "btrfs"
    if part.live:
        part.place = _mounted_again(run, part)
        run.shown.names[part.place] = shown
        run.notes.append((part.place, _LIVE))
    else:
        part.place = mounted_volume(run, part.volume, shown, ("subvolid=5",) if btrfs else ())
    if btrfs:
        part.subvolumes = subvolumes_of(part.place)
        if part.subvolumes.snapshots:
            run.notes.append((part.place, _SNAPSHOTS.format(part.subvolumes.snapshots)))


def _mounted_again(run: Imaging, part: SourcePart) -> bytes:
    """Return where a file system that the running system has mounted is mounted once more, read-only.

    What is mounted on its directories is not in the way there. Its own options are those that it has.
    """
    node, kind = devices.node_of(part.device), part.content.type
    place = run.room.new_place()
    found = devices.mount_of(part.device)
    if found is None:  # to mount it now would replay its journal, and write to it
        raise FatalError(f"{shown_partition(part.partition)} was unmounted meanwhile", "Run the same command again.")
    options = found[1].split(",")
    flags = UNTRUSTED | (READ_ONLY if "ro" in options else 0)
    drivers = READINGS[kind].kernel
    for at, driver in enumerate(drivers):
        try:
            mount(node, place, driver, flags, "subvolid=5" if kind == "btrfs" else "")
            break
        except OSError as error:
            if at + 1 == len(drivers):
                raise MountRefused(node, kind, error) from None
    run.room.adopt(place)
    try:
        mount(b"", place, "", flags | REMOUNT | BIND | READ_ONLY)
    except OSError as error:
        raise MountRefused(node, kind, error) from None
    return place
