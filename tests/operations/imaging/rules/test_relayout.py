"""Where the partitions of a clone lie: any table, any sizes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.rules.relayout import Bounds, Layout, relaid
from hpcp_mpi.operations.imaging.rules.table import MIB, backup_sectors, is_logical, on_disk
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Partition, Resize, Table, is_extended

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
S = MIB // 512  # sectors of a MiB


@st.composite
def disks(draw: st.DrawFn) -> tuple[Table, int]:
    """A table, and the sectors of its disk."""
    sector = draw(st.sampled_from([512, 4096]))
    mib = MIB // sector
    gpt = draw(st.booleans())
    count = draw(st.integers(1, 8 if gpt else 3))
    numbers = draw(st.permutations(range(1, 129 if gpt else 4)))[:count]
    partitions, end = [], 34
    for number in numbers:
        start = end + draw(st.sampled_from([0, 1, 29, mib, 5 * mib + 3]))
        partitions.append(Partition(number, start, draw(st.integers(1, 400 * mib)), LINUX if gpt else "83"))
        end = partitions[-1].end
    if not gpt and draw(st.booleans()):
        start = end + draw(st.integers(0, 100))
        end = start
        for number in range(5, 5 + draw(st.integers(1, 4))):
            partitions.append(Partition(number, end + draw(st.integers(1, 3000)), draw(st.integers(1, 40 * mib)), "83"))
            end = partitions[-1].end
        end += draw(st.integers(0, 5000))
        partitions.append(Partition(4, start, end - start, "f"))
    partitions.sort(key=lambda each: each.number)
    table = Table("gpt" if gpt else "dos", "X", sector, tuple(partitions), 34 if gpt else 0)
    sectors = end + backup_sectors(table) + draw(st.integers(0, 20 * mib))
    return replace(table, last=sectors - backup_sectors(table) - 1 if gpt else 0), sectors


def resizable(table: Table) -> list[int]:
    return [each.number for each in table.partitions if not is_extended(table, each)]


@st.composite
def resized(draw: st.DrawFn) -> tuple[Table, int, list[Resize], dict[int, Bounds]]:
    table, sectors = draw(disks())
    bounds = {number: Bounds(draw(st.integers(1, 30 * MIB))) for number in resizable(table)}
    wanted = [
        Resize(str(number), draw(st.integers(30 * MIB, 900 * MIB)))
        for number in draw(st.lists(st.sampled_from(sorted(bounds)), unique=True, max_size=4))
    ]
    return table, sectors, wanted, bounds


def check(layout: Layout, table: Table, sectors: int) -> None:
    """No overlap, inside the disk, numbers, order and all else as before, logical partitions within the extended."""
    found = layout.table
    assert [each.number for each in found.partitions] == [each.number for each in table.partitions]
    assert [each.number for each in on_disk(found)] == [each.number for each in on_disk(table)]
    for one, other in zip(found.partitions, table.partitions, strict=True):
        assert replace(one, start=0, size=0) == replace(other, start=0, size=0)
        assert (one.start != other.start) == (one.number in layout.moved)
        assert (one.size != other.size) == (one.number in layout.resized)
        assert one.start == other.start or one.start * table.sector % MIB == 0
        assert one.end + backup_sectors(table) <= layout.sectors
    flat = [each for each in on_disk(found) if not is_extended(found, each)]
    assert all(one.end <= other.start for one, other in pairwise(flat))
    for extended in found.partitions:
        if is_extended(found, extended):
            for each in found.partitions:
                inside = is_logical(found, each)
                assert inside == (extended.start <= each.start and each.end <= extended.end) or each == extended
                assert not inside or each.start > extended.start


@given(disk=disks())
def test_without_another_size_all_stays(disk: tuple[Table, int]) -> None:
    table, sectors = disk
    assert relaid(table, sectors) == Layout(table, sectors)
    same = [Resize(str(number), each.size * table.sector) for number in resizable(table) for each in table.partitions
            if each.number == number]  # fmt: skip
    bounds = {number: Bounds(1) for number in resizable(table)}
    assert relaid(table, sectors, same, bounds) == Layout(table, sectors)


@given(disk=disks(), more=st.integers(1, 10_000_000))
def test_on_a_bigger_disk_nothing_moves(disk: tuple[Table, int], more: int) -> None:
    table, sectors = disk
    assert relaid(table, sectors, disk_sectors=sectors + more) == Layout(replace(table, last=0), sectors + more)


@given(asked=resized())
def test_a_layout_has_the_sizes_that_were_asked_and_is_sound(
    asked: tuple[Table, int, list[Resize], dict[int, Bounds]],
) -> None:
    table, sectors, wanted, bounds = asked
    layout = relaid(table, sectors, wanted, bounds)
    check(layout, table, sectors)
    sizes = {int(each.partition): each.bytes for each in wanted}
    for one, other in zip(layout.table.partitions, table.partitions, strict=True):
        asked_size = sizes.get(one.number)
        if asked_size is not None:
            assert one.size == -(-asked_size // table.sector)
        elif not is_extended(table, one):
            assert one.size == other.size
    before = True
    for each in on_disk(table):
        now = next(one for one in layout.table.partitions if one.number == each.number)
        assert not before or now.start == each.start
        before = before and (now.size == each.size or is_extended(table, each))
    if layout.resized:
        assert layout.sectors * table.sector % MIB == 0


@given(asked=resized(), disk=st.integers(1, 1 << 24))
def test_a_disk_gets_it_or_is_told_how_big_it_must_be(
    asked: tuple[Table, int, list[Resize], dict[int, Bounds]], disk: int
) -> None:
    table, sectors, wanted, bounds = asked
    image = relaid(table, sectors, wanted, bounds)
    needed = max(each.end for each in image.table.partitions) + backup_sectors(table)
    if needed > disk:
        with pytest.raises(FatalError, match="too small"):
            relaid(table, sectors, wanted, bounds, disk)
    else:
        layout = relaid(table, sectors, wanted, bounds, disk)
        check(layout, table, disk)
        assert layout.sectors == disk
        assert layout.table.partitions == image.table.partitions


@given(asked=resized(), disk=st.integers(1, 1 << 24), data=st.data())
def test_max_is_the_rest_of_the_disk(
    asked: tuple[Table, int, list[Resize], dict[int, Bounds]], disk: int, data: st.DataObject
) -> None:
    table, sectors, wanted, bounds = asked
    number = data.draw(st.sampled_from(sorted(bounds)))
    wanted = [each for each in wanted if each.partition != str(number)] + [Resize(str(number), word="max")]
    try:
        layout = relaid(table, sectors, wanted, bounds, disk)
    except FatalError:
        assume(False)
    check(layout, table, disk)
    end = max(each.end for each in layout.table.partitions) + backup_sectors(table)
    # At most a MiB is lost to whole MiB, and another one to where those begin that follow.
    assert (disk - end) * table.sector < 2 * MIB


def table_of(*sizes: int) -> Table:
    """Partitions of so many MiB, one behind the other."""
    starts = [1 + sum(sizes[:at]) for at in range(len(sizes))]
    found = [Partition(at, start * S, size * S, LINUX, name=f"p{at}") for at, (start, size) in
             enumerate(zip(starts, sizes, strict=True), 1)]  # fmt: skip
    return Table("gpt", "X", 512, tuple(found), 34, (sum(sizes) + 2) * S - 34)


def sizes_of(layout: Layout) -> list[int]:
    return [each.size // S for each in layout.table.partitions]


def test_sizes_without_names_go_to_the_biggest() -> None:
    bounds = {number: Bounds(MIB, by_size=number != 4) for number in range(1, 5)}
    wanted = [Resize("", 20 * MIB), Resize("", 60 * MIB)]
    assert sizes_of(relaid(table_of(10, 50, 30, 99), 200 * S, wanted, bounds)) == [10, 60, 20, 99]


def test_min_is_the_least_and_a_name_names_one() -> None:
    bounds = {number: Bounds(7 * MIB) for number in (1, 2, 3)}
    layout = relaid(table_of(10, 50, 30), 92 * S, [Resize("p2", word="min")], bounds)
    assert sizes_of(layout) == [10, 7, 30]
    assert (layout.moved, layout.resized, layout.sectors) == ({3}, {2}, 49 * S)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([Resize("2", 5 * MIB)], r"partition 2 \(p2\) needs at least 7 MiB, not 5 MiB"),
        ([Resize("1", 50 * MIB)], r"partition 1 \(p1\) cannot get another size"),
        ([Resize("", MIB)] * 4, "4 sizes are given with -ddr, and only 2 partitions can get one"),
        ([Resize("2", MIB), Resize("p2", MIB)], "two sizes"),
        ([Resize("2", word="max"), Resize("3", word="max")], "several partitions"),
        ([Resize("nobody", MIB)], "no partition nobody"),
        ([Resize("9", MIB)], "no partition 9"),
    ],
)
def test_what_cannot_be_is_refused(wanted: list[Resize], message: str) -> None:
    bounds = {2: Bounds(7 * MIB), 3: Bounds(7 * MIB)}
    with pytest.raises(FatalError, match=message) as refused:
        relaid(table_of(10, 50, 30), 92 * S, wanted, bounds)
    assert refused.value.remedy


def test_a_disk_that_is_too_small_is_told_the_least_size_of_each() -> None:
    bounds = {2: Bounds(7 * MIB), 3: Bounds(8 * MIB)}
    with pytest.raises(FatalError, match="is too small") as refused:
        relaid(table_of(10, 50, 30), 92 * S, [], bounds, 60 * S)
    assert "partition 2 (p2) can have 7 MiB; partition 3 (p3) can have 8 MiB" in refused.value.remedy
