"""Which partition of a clone gets which place and size. Pure.

Without another size nothing moves. Otherwise what lies before the first partition whose size changes stays where it is,
for boot loaders know sectors by number; from there on each follows the one before, at whole MiB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcp_mpi.operations.imaging.rules.table import (
    MIB,
    backup_sectors,
    is_logical,
    on_disk,
    partition_named,
    shown_partition,
    shown_size,
)
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Partition, Resize, Table, is_extended


@dataclass(frozen=True, slots=True)
class Bounds:
    """What size a partition of a clone may have. least: bytes. by_size: it gets one of those sizes that name none."""

    least: int
    by_size: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the partitions of a clone lie."""

    table: Table
    sectors: int  # of the disk
    moved: frozenset[int] = frozenset()  # numbers of those that begin elsewhere
    resized: frozenset[int] = frozenset()


def relaid(
    table: Table,
    sectors: int,
    wanted: Sequence[Resize] = (),
    bounds: Mapping[int, Bounds] | None = None,
    disk_sectors: int | None = None,
) -> Layout:
    """Return the table of a clone. Raises FatalError where it cannot be, with the smallest size that can.

    sectors: of the source. bounds: of those that may get another size. disk_sectors: of a destination that is a disk;
    None: an image, which gets the size that results
    """
    bounds = bounds or {}
    sizes = _sizes(table, wanted, bounds)
    largest = next((number for number, size in sizes.items() if size is None), None)
    if largest is not None:
        sizes = _with_rest(table, sizes, bounds, largest, disk_sectors or sectors)
    known = {number: size for number, size in sizes.items() if size is not None}
    _refuse_too_small(table, known, bounds)
    layout = _laid_out(table, sectors, known)
    if disk_sectors is None:
        disk_sectors = layout.sectors if largest is None else sectors
    if _needed(layout.table) > disk_sectors:
        raise _disk_too_small(table, layout, bounds, disk_sectors)
    # Of a disk of another size it is sfdisk that finds what is usable.
    fits = disk_sectors == sectors and all(each.end <= table.last + 1 for each in layout.table.partitions)
    return replace(layout, sectors=disk_sectors, table=replace(layout.table, last=table.last if fits else 0))


def _sizes(table: Table, wanted: Sequence[Resize], bounds: Mapping[int, Bounds]) -> dict[int, int | None]:
    """Return the size in bytes that each partition shall get; None: the rest. Raises FatalError."""
    sizes: dict[int, int | None] = {}
    for each in wanted:
        if each.partition:
            partition = partition_named(table, each.partition)
            if partition.number in sizes:
                raise FatalError(f"{shown_partition(partition)} is given two sizes", "Give each partition one -ddr.")
            sizes[partition.number] = _bytes(each, partition, bounds)
    unnamed = [each for each in wanted if not each.partition]
    free = [each for each in table.partitions if each.number not in sizes]
    by_size = [each for each in free if each.number in bounds and bounds[each.number].by_size]
    by_size.sort(key=lambda each: (-each.size, each.number))
    if len(unnamed) > len(by_size):
        raise FatalError(
            f"{len(wanted)} sizes are given with -ddr, and only {len(by_size) + len(wanted) - len(unnamed)} partitions "
            "can get one",
            "Those that are copied by files can get another size; preview with -n.",
        )
    for each, partition in zip(sorted(unnamed, key=_descending), by_size, strict=False):
        sizes[partition.number] = _bytes(each, partition, bounds)
    if sum(size is None for size in sizes.values()) > 1:
        raise FatalError("several partitions are to get the rest of the disk", "Give only one of them the size max.")
    return sizes


def _descending(wanted: Resize) -> tuple[int, int]:
    return {"max": 0, "": 1, "min": 2}[wanted.word], -(wanted.bytes or 0)


def _bytes(wanted: Resize, partition: Partition, bounds: Mapping[int, Bounds]) -> int | None:
    if partition.number not in bounds:
        raise FatalError(
            f"{shown_partition(partition)} cannot get another size: it is not copied by files",
            "Leave out its -ddr; preview with -n.",
        )
    if wanted.word == "max":
        return None
    return bounds[partition.number].least if wanted.word == "min" else wanted.bytes


def _refuse_too_small(table: Table, sizes: Mapping[int, int], bounds: Mapping[int, Bounds]) -> None:
    small = [
        f"{shown_partition(each)} needs at least {shown_size(bounds[each.number].least)}, "
        f"not {shown_size(sizes[each.number])}"
        for each in table.partitions
        if each.number in sizes and sizes[each.number] < bounds[each.number].least
    ]
    if small:
        raise FatalError("; ".join(small), "Give -ddr at least that; min is the smallest size that works.")


def _with_rest(
    table: Table, sizes: Mapping[int, int | None], bounds: Mapping[int, Bounds], number: int, sectors: int
) -> dict[int, int | None]:
    """Return the sizes with what the disk has left for one partition."""
    least = {**sizes, number: max(bounds[number].least, 1)}
    known = {each: size for each, size in least.items() if size is not None}
    # As if it was another size: what follows is moved together.
    needed = _needed(_laid_out(table, sectors, known, moving=number).table)
    left = (sectors - needed) * table.sector // MIB * MIB
    if left < 0:
        raise _disk_too_small(table, _laid_out(table, sectors, known), bounds, sectors)
    return {**sizes, number: known[number] + left}


def _laid_out(table: Table, sectors: int, sizes: Mapping[int, int], moving: int = 0) -> Layout:
    """Return the layout with these sizes in bytes. moving: a partition that counts as one whose size changes."""
    of = {each.number: each.size for each in table.partitions}
    of.update({number: -(-size // table.sector) for number, size in sizes.items()})
    align = max(1, MIB // table.sector)
    placed: dict[int, Partition] = {}
    changing, end = False, 0
    for each in on_disk(table):
        start = each.start
        if changing:
            room = end + 1 if is_logical(table, each) else end  # for the table before each logical one
            start = -(-room // align) * align
        changing = changing or of[each.number] != each.size or each.number == moving
        placed[each.number] = replace(each, start=start, size=of[each.number])
        holds = is_extended(table, each) and any(is_logical(table, other) for other in table.partitions)
        end = start if holds else start + of[each.number]
    _fit_extended(table, placed)
    partitions = tuple(placed[each.number] for each in table.partitions)
    changed = [(one, other) for one, other in zip(table.partitions, partitions, strict=True) if one != other]
    resized = frozenset(one.number for one, other in changed if one.size != other.size)
    moved = frozenset(one.number for one, other in changed if one.start != other.start)
    if not changed:
        return Layout(table, sectors)
    found = replace(table, partitions=partitions, last=0)
    return Layout(found, -(-_needed(found) // align) * align, moved, resized)


def _fit_extended(table: Table, placed: dict[int, Partition]) -> None:
    """Give the extended partition the size of what it holds, if anything in it or before it has changed."""
    before = {each.number: each for each in table.partitions}
    logical = [each for number, each in placed.items() if number > 4]
    for number, each in placed.items():
        if not is_extended(table, each):
            continue
        if each == before[number] and all(one == before[one.number] for one in logical):
            return
        end = max((one.end for one in logical), default=each.start + each.size)
        placed[number] = replace(each, size=end - each.start)
        return


def _needed(table: Table) -> int:
    """Return how many sectors a disk needs for a table."""
    return max((each.end for each in table.partitions), default=MIB // table.sector) + backup_sectors(table)


def _disk_too_small(table: Table, layout: Layout, bounds: Mapping[int, Bounds], sectors: int) -> FatalError:
    smallest = _laid_out(table, sectors, {number: each.least for number, each in bounds.items() if each.by_size})
    least = "; ".join(
        f"{shown_partition(each)} can have {shown_size(bounds[each.number].least)}"
        for each in table.partitions
        if each.number in bounds and bounds[each.number].least < each.size * table.sector
    )
    return FatalError(
        f"the destination is too small: the partitions need {shown_size(_needed(layout.table) * table.sector)}, "
        f"and it has {shown_size(sectors * table.sector)}",
        f"With -ddr the least is {shown_size(min(_needed(smallest.table), _needed(layout.table)) * table.sector)}"
        + (f": {least}." if least else "."),
    )
