"""What a clone will be: each partition's place, size and file system, known and tried before anything is written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import making, raw, table_writing, tools
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.clone.geometry import Pattern
from hpcp_mpi.operations.imaging.clone.source import Source, SourcePart, mount_source
from hpcp_mpi.operations.imaging.clone.target import CloneTarget
from hpcp_mpi.operations.imaging.measuring import needed
from hpcp_mpi.operations.imaging.pack.room_watch import RESERVE, free_outside
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.rules.relayout import Bounds, Layout, relaid
from hpcp_mpi.operations.imaging.rules.table import BIOS_BOOT, MIB, shown_partition
from hpcp_mpi.operations.imaging.rules.treatment import Kind
from hpcp_mpi.operations.imaging.run import Imaging, with_patterns_inside
from hpcp_mpi.rules.excludes import matcher
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need, Partition
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.tally import Tally

_LEAST_SWAP = MIB


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A partition of the clone. Offsets and sizes are bytes; make: the file system that is made"""

    source: SourcePart
    target: Partition
    offset: int
    size: int
    make: MakeFileSystem | None = None

    @property
    def source_size(self) -> int:
        return self.source.volume.size if self.source.volume is not None else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The clone as it will be. layout: its table is what sfdisk makes of it. parts: in the order in which they lie"""

    source: Source
    layout: Layout
    parts: tuple[PlannedPart, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of the disk, as far as its whole sectors go."""
        return self.layout.sectors * self.layout.table.sector

    @property
    def used(self) -> tuple[int, int]:
        """Where the first partition begins, and the last one ends."""
        begins, ends = [part.offset for part in self.parts], [part.offset + part.size for part in self.parts]
        return min(begins, default=MIB), max(ends, default=MIB)

    @property
    def tally(self) -> Tally:
        """What the file systems hold."""
        need = Need()
        for part in self.parts:
            need = need.plus(part.source.need)
        return Tally(need.files, need.directories, need.symlinks, need.others, need.data)


def plan_of(run: Imaging, source: Source, target: CloneTarget) -> Plan:
    """Return what will be done, everything checked that can be. Raises FatalError; nothing was written then."""
    _need_tools(run, source)
    patterns: dict[int, Pattern] = {}
    for part in source.parts:
        if part.kind is Kind.FILES and part.volume is not None:
            mount_source(run, source, part)
            assert part.geometry is not None
            patterns[part.partition.number] = Pattern(part.geometry, run.images.mirror_geometry, part.volume.size)
    _measure(run, source, target)
    layout = relaid(source.table, source.sectors, run.images.resize, _bounds(source, patterns), target.sectors)
    if source.found.hybrid and (layout.moved or layout.resized):
        raise FatalError(
            f"{printable(source.image.path)} has a hybrid MBR, which would be wrong when partitions move",
            "Leave out -ddr; or make its MBR a protective one first (gdisk: x, n).",
        )
    table = table_writing.tried(layout.table, layout.sectors, target.path)
    layout = replace(layout, table=table)
    parts = _parts(source, layout, patterns)
    _refuse_unmakeable(parts)
    if target.image is not None:
        _refuse_full(target, parts, source)
    return Plan(source, layout, parts, tuple(_notes(source, layout)))


def _need_tools(run: Imaging, source: Source) -> None:
    """Refuse what this machine has no program for. Raises FatalError."""
    uses = [tools.Use("table"), tools.Use("probe")]
    for part in source.parts:
        kind = part.content.type
        if part.kind is Kind.FILES:
            uses.append(tools.Use("mirror" if run.images.mirror_geometry else "make", kind))
            uses += [tools.Use("check", kind)] if run.images.check else []
        elif part.kind is Kind.SWAP:
            uses.append(tools.Use("make", "swap"))
    tools.need(uses)


def _measure(run: Imaging, source: Source, target: CloneTarget) -> None:
    """Find out what each tree takes. Raises StoppedEarly."""
    options = with_patterns_inside(run.options, run.room)
    excludes, left_out = matcher(options.all_excludes), options.left_out | target.left_out
    run.frontend.say(f"hpcp-mpi: measuring {printable(source.image.path)}")
    for part in source.parts:
        if part.kind is Kind.FILES:
            try:
                part.need = needed([part.place], excludes, lambda: run.stopping, left_out)
            except Stopped:
                raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None


def _bounds(source: Source, patterns: dict[int, Pattern]) -> dict[int, Bounds]:
    """Return which sizes the partitions may have that can get another one."""
    found = {}
    for part in source.parts:
        number = part.partition.number
        if part.kind is Kind.FILES:
            found[number] = Bounds(patterns[number].least(part.need))
        elif part.kind is Kind.SWAP:
            found[number] = Bounds(_LEAST_SWAP, by_size=False)
        elif part.kind is Kind.RAW and part.treatment.may_grow and part.volume is not None:
            found[number] = Bounds(part.volume.size, by_size=False)
    return found


def _parts(source: Source, layout: Layout, patterns: dict[int, Pattern]) -> tuple[PlannedPart, ...]:
    sector = layout.table.sector
    targets = {each.number: each for each in layout.table.partitions}
    found = []
    for part in source.parts:
        target = targets[part.partition.number]
        planned = PlannedPart(part, target, target.start * sector, target.size * sector)
        if part.kind is Kind.FILES:
            pattern = patterns[target.number]
            planned = replace(planned, make=pattern.made(planned.size, part.need))
        found.append(planned)
    return tuple(found)


def _refuse_unmakeable(parts: Sequence[PlannedPart]) -> None:
    """Refuse file systems that this machine's mkfs would not make: each is tried in memory."""
    refused = []
    for part in parts:
        why = making.refusal(part.make) if part.make is not None else ""
        if why:
            refused.append(f"{shown_partition(part.target)}: {why}")
    if refused:
        raise FatalError(
            f"this machine's mkfs does not make what is asked for: {'; '.join(refused)}",
            "Give -nfp for file systems with its defaults, or clone on a machine with newer programs.",
        )


def _refuse_full(target: CloneTarget, parts: Sequence[PlannedPart], source: Source) -> None:
    """Refuse an image that its own file system has no room for."""
    assert target.image is not None
    takes = 2 * MIB
    for part in parts:
        if part.make is not None:
            takes += min(part.size, sizes.taken(part.make, part.source.need)[0] + 512 * part.source.need.inodes)
        elif part.source.kind is Kind.RAW and part.source.volume is not None:
            takes += raw.data_in(source.image.fd, part.source.volume.offset, part.source.volume.size)
    directory = os.open(b"/proc/self/fd/%d" % target.image.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        free = free_outside(directory)
    finally:
        os.close(directory)
    if free is not None and free < takes + RESERVE:
        raise FatalError(
            f"the clone would take {takes / MIB:,.1f} MiB, and its file system has {free / MIB:,.1f} MiB left, of "
            f"which {RESERVE // MIB} MiB have to stay free: {printable(target.image.path)}",
            "Make room, or name another place.",
        )


def _notes(source: Source, layout: Layout) -> list[str]:
    found = []
    if source.found.backup_damaged:
        found.append("the backup of its partition table is damaged; the clone gets a new one")
    for part in source.parts:
        if part.partition.number in layout.moved and part.partition.type.upper() == BIOS_BOOT:
            found.append("its BIOS boot partition is elsewhere in the clone: run grub-install in that")
    return found
