"""What waited for the end: directories, links and files that became two, put together from sorted records."""

from __future__ import annotations

import pytest

from hpcp_mpi.operations.scan import deferred as ending
from hpcp_mpi.operations.scan.deferred import link_batches, separation_batches, settle_batches
from hpcp_mpi.operations.scan.records import (
    CONTENT_CHANGED,
    CREATED,
    DIFFERS,
    DirectoryMetadata,
    LinkedName,
    SharedName,
    directory_metadata,
)
from hpcp_mpi.vocab.tally import NOTHING, ONE_LINK, ONE_SPECIAL, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, link_paths


def settled(records: list[DirectoryMetadata]) -> dict[bytes, tuple[int, bytes, bool, bool]]:
    """By directory of the destination: (source, its directory there, made, restore only)."""
    found = {}
    for batch in settle_batches(sorted(set(records))):
        for unit in batch.units:
            # Each source's directory was found once, and counts once.
            counting = {record[1:4] for record in records if record.dest_dir == unit.target and record.why}
            assert unit.target not in found and unit.tally == Tally(directories=len(counting))
            found[unit.target] = (batch.source, unit.name, batch.new, batch.restore)
    return found


WHY = [
    # (reasons, made, restore)
    ([CONTENT_CHANGED], False, True),
    ([CONTENT_CHANGED, CONTENT_CHANGED], False, True),
    ([DIFFERS], False, False),
    ([CONTENT_CHANGED, DIFFERS], False, False),
    ([CREATED, CONTENT_CHANGED], True, False),
    ([CREATED, DIFFERS, CONTENT_CHANGED], True, False),
]


@pytest.mark.parametrize("reasons, made, restore", WHY)
def test_a_directory_is_only_restored_where_nobody_found_it_to_differ(
    reasons: list[int], made: bool, restore: bool
) -> None:
    records = [directory_metadata(source % 2, b"a", b"d/e", why) for source, why in enumerate(reasons)]
    assert settled(records) == {b"d/e": (min(1, len(reasons) - 1), b"a", made, restore)}


def test_where_sources_merge_in_a_directory_the_last_one_gives_it_its_metadata() -> None:
    records = [
        directory_metadata(1, b"b", b"d", CONTENT_CHANGED),
        directory_metadata(0, b"a", b"d", CONTENT_CHANGED),
        directory_metadata(0, b"x", b"x", CONTENT_CHANGED),
    ]
    assert settled(records) == {b"d": (1, b"b", False, True), b"x": (0, b"x", False, True)}


def test_directories_come_deepest_first() -> None:
    paths = [b"", b"a", b"b", b"a/c", b"a/c/d", b"z/z/z"]
    records = sorted(directory_metadata(0, path, path, CREATED) for path in paths)
    (batch,) = settle_batches(records)
    depths = [len(path.split(b"/")) if path else 0 for path in batch.units.names]
    assert depths == sorted(depths, reverse=True) and sorted(batch.units.names) == sorted(paths)


def test_many_directories_come_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_TOGETHER", 3)
    records = sorted(
        directory_metadata(number % 2, b"%02d" % number, b"%02d" % number, CREATED) for number in range(20)
    )
    batches = list(settle_batches(records))
    assert max(len(batch.units) for batch in batches) == 3
    assert sorted(name for batch in batches for name in batch.units.names) == [b"%02d" % n for n in range(20)]


def name(target: bytes, leader: bytes, counts: int = 0, inode: int = 1, source: int = 0) -> LinkedName:
    return LinkedName((0, inode), source, b"s/" + target, target, leader, counts)


def linked(*records: LinkedName) -> list[tuple[bytes, dict[bytes, Tally]]]:
    """(leader, its followers and what they count) of each batch."""
    found: list[Batch] = list(link_batches(sorted(set(records))))
    assert all(batch.kind is Kind.LINK for batch in found)
    groups: dict[bytes, dict[bytes, Tally]] = {}
    for unit in (unit for batch in found for unit in batch.units):
        target, leader = link_paths(unit)
        assert unit.name == b"s/" + target
        groups.setdefault(leader, {})[target] = unit.tally
    return list(groups.items())


def test_names_follow_a_leader_that_all_of_them_know() -> None:
    assert linked(name(b"b", b"a", 1), name(b"c", b"a", 2), name(b"d", b"a", 3)) == [
        (b"a", {b"b": one_file(0), b"c": ONE_LINK, b"d": ONE_SPECIAL})
    ]


def test_of_several_leaders_one_is_kept_and_what_was_counted_counts_no_more() -> None:
    one = [name(b"b", b"b"), name(b"c", b"b"), name(b"c", b"b", 1)]  # c is linked anyway
    other = [name(b"a", b"a"), name(b"d", b"a")]  # d is in one unit with a
    assert linked(*one, *other) == [(b"a", {b"b": NOTHING, b"c": one_file(0), b"d": NOTHING})]


def test_a_leader_that_is_not_recorded_itself_is_kept() -> None:
    assert linked(name(b"a", b"a"), name(b"c", b"b", 1)) == [(b"b", {b"a": NOTHING, b"c": one_file(0)})]


def test_a_name_that_stayed_alone_is_linked_to_nothing() -> None:
    assert linked(name(b"a", b"a"), name(b"b", b"b", inode=2)) == []


def test_names_in_several_sources_become_batches_of_each() -> None:
    records = [name(b"a", b"a"), name(b"b", b"a", 1), name(b"c", b"a", 1, source=1)]
    batches = list(link_batches(sorted(records)))
    assert [(batch.source, batch.units.names) for batch in batches] == [(0, [b"s/b"]), (1, [b"s/c"])]
    assert [link_paths(unit) for batch in batches for unit in batch.units] == [(b"b", b"a"), (b"c", b"a")]


def shared(path: bytes, inode: int, dest_inode: int = 1, size: int = 5) -> SharedName:
    return SharedName((9, dest_inode), (0, inode), 0, b"s/" + path, b"d/" + path, size)


def test_one_source_file_keeps_what_several_share_and_the_others_are_copied() -> None:
    records = [shared(b"x/a", 1), shared(b"y/b", 1), shared(b"c", 2), shared(b"e", 3, size=-1), shared(b"f", 4, 2)]
    batches = list(separation_batches(sorted(records), 0))
    assert [(batch.kind, batch.source_dir, batch.dest_dir, batch.units.names) for batch in batches] == [
        (Kind.COPY, b"s", b"d", [b"c"]), (Kind.COPY, b"s", b"d", [b"e"]),
    ]  # fmt: skip
    assert [(unit.tally, unit.amount) for batch in batches for unit in batch.units] == [
        (one_file(5), 5),
        (ONE_SPECIAL, 0),
    ]


@pytest.mark.parametrize(
    "split_size, kind", [(0, Kind.COPY), (5, Kind.START_FILE), (4, Kind.START_FILE), (6, Kind.COPY)]
)
def test_big_ones_of_them_are_copied_in_ranges(split_size: int, kind: Kind) -> None:
    (batch,) = separation_batches(sorted([shared(b"a", 1), shared(b"b", 2)]), split_size)
    assert (batch.kind, batch.units.names) == (kind, [b"b"])
