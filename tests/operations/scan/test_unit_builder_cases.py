"""Single trees for the UnitBuilder."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations.scan import unit_builder
from hpcp_mpi.operations.scan.deferred import link_batches
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Existing, Linked
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.vocab.tally import Tally, one_file
from hpcp_mpi.vocab.units import Kind, link_paths
from tests.operations.scan.delivery import deliver
from tests.operations.scan.forest import forests
from tests.operations.scan.test_unit_builder import FILE_COST, total_of
from tests.support.effort import many


def links(builder: UnitBuilder) -> list[tuple[bytes, bytes]]:
    """(target, leader) of each link."""
    return [link_paths(unit) for batch in link_batches(sorted(builder.deferred.linked)) for unit in batch.units]


@settings(max_examples=many(30))
@given(st.data())
def test_with_no_limits_in_the_way_every_new_directory_is_copied_whole(data: st.DataObject) -> None:
    forest = data.draw(forests())
    for directory in forest.dirs().values():
        directory.refused = directory.differs = False
        directory.items = [item for item in directory.items if not item.linked and not item.excluded]
    with mock.patch.object(unit_builder, "MAX_GUARDED_PATH", 10**6):
        found = deliver(forest, lambda: UnitBuilder(10**9, FILE_COST, None), data, parallel=False)
    new_roots = [(number, b"") for number, (_, root) in enumerate(forest.roots) if root.new]
    assert sorted((each.source, each.source_dir) for each in found.settled) == new_roots


@pytest.mark.parametrize("ours", [True, False])
def test_what_others_may_exchange_is_no_unit_in_which_too_many_directories_have_to_be_held(ours: bool) -> None:
    builder = UnitBuilder(10**9, 1, None)
    folders = [builder.root(0, b"", new=False)]
    for _ in range(150):
        folders += builder.add(folders[-1], ClassifiedEntries(folders=[(b"d", True, False)]))
    for folder in folders:
        folder.ours = ours
        builder.close(folder)
    (copied,) = [batch for batch in builder.out if batch.kind is Kind.COPY]
    assert total_of([copied]).directories == (150 if ours else 101)


@pytest.mark.parametrize("follower_below", [0, 3000])
def test_a_tree_deeper_than_the_interpreters_stack_becomes_units(follower_below: int) -> None:
    """A link at the bottom, to a leader outside, opens all above it; without one all is a single unit."""
    builder = UnitBuilder(10**9, 1, None)
    root = builder.root(0, b"", new=False)
    with mock.patch.object(unit_builder, "MAX_INNER_PATH", 10**6):
        listing = ClassifiedEntries(linked=[Linked(b"leader", Tally(1), (1, 1), 2, False, None)])
        listing.folders = [(b"d", True, False)]
        folders = builder.add(root, listing)
        for _ in range(2999):
            folders += builder.add(folders[-1], ClassifiedEntries(folders=[(b"d", True, False)]))
        if follower_below:
            listing = ClassifiedEntries(linked=[Linked(b"n", Tally(1), (1, 1), 2, False, None)])
            builder.add(folders[-1], listing)
        for folder in [root, *folders]:
            folder.ours = True
            builder.close(folder)
    made = [each for each in builder.deferred.settled if each.source_dir]
    assert len(made) == follower_below
    assert [leader for _, leader in links(builder)] == ([b"leader"] if follower_below else [])
    assert total_of(builder.out).directories == 3000 - follower_below


def test_stages_of_killed_runs_are_swept_where_they_were_found() -> None:
    builder = UnitBuilder(100, 1, None)
    root = builder.root(0, b"in", new=False)
    builder.add(root, ClassifiedEntries(sweeps=[b".hpcp-mpi.a", b".hpcp-mpi.b"]))
    builder.close(root)
    (batch,) = builder.out
    assert (batch.kind, batch.dest_dir, batch.units.names) == (
        Kind.CLEAN_STAGE,
        b"in",
        [b".hpcp-mpi.a", b".hpcp-mpi.b"],
    )


@pytest.mark.parametrize("check_size, amount", [(None, 2 * 50), (10, 2 * 10), (0, 0), (1000, 2 * 50)])
def test_a_check_weighs_what_is_read_on_both_sides(check_size: int | None, amount: int) -> None:
    builder = UnitBuilder(10**6, 1, check_size)
    root = builder.root(0, b"", new=False)
    builder.add(root, ClassifiedEntries(existing=[Existing(b"f", Tally(1, 0, 0, 0, 50), (1, 1), None)]))
    builder.close(root)
    assert [(batch.kind, batch.entries, batch.amount) for batch in builder.out] == [(Kind.CHECK, 1, amount)]


@pytest.mark.parametrize("named", ["once", "twice"])
def test_a_sparse_file_weighs_its_data_and_counts_its_size(named: str) -> None:
    builder = UnitBuilder(1000, 1, None, split_size=10**6)
    root = builder.root(0, b"", new=True)
    (folder,) = builder.add(root, ClassifiedEntries(folders=[(b"d", True, False)]))
    for name, size in ((b"f", 10**5), (b"big", 10**7)):
        once = [(name, one_file(size), size - 50)] if named == "once" or name == b"big" else []
        linked = [] if once else [Linked(name, one_file(size), (1, 1), 2, False, None, size - 50)]
        builder.add(folder if name == b"f" else root, ClassifiedEntries(sparse=once, linked=linked))
    builder.close(folder)
    builder.close(root)
    found = {batch.kind: (batch.units.names, batch.amount) for batch in builder.out}
    assert found == {Kind.COPY: ([b"d"], 50), Kind.START_FILE: ([b"big"], 0)}, "a directory that cp copies whole"
    assert builder.scanned == Tally(2, 2, 0, 0, 10**5 + 10**7) and builder.holes == 10**5 + 10**7 - 100


@pytest.mark.parametrize("check_size, amount", [(None, 50), (10, 10), (0, 0), (1000, 50)])
def test_of_files_that_are_equal_as_far_as_lstat_shows_no_more_than_the_tails_are_read(
    check_size: int | None, amount: int
) -> None:
    builder = UnitBuilder(10**6, 1, check_size)
    root = builder.root(0, b"", new=False)
    builder.add(root, ClassifiedEntries(equal=([b"f"], [50])))
    builder.close(root)
    assert [(batch.kind, batch.equal, batch.entries, batch.amount) for batch in builder.out] == [
        (Kind.CHECK, True, 1, amount)
    ]


def test_a_leader_in_a_directory_whose_name_only_begins_alike_is_outside() -> None:
    builder = UnitBuilder(10**6, 1, None)
    root = builder.root(0, b"", new=False)
    longer, shorter = builder.add(root, ClassifiedEntries(folders=[(b"data2", True, False), (b"data", True, False)]))
    builder.add(longer, ClassifiedEntries(linked=[Linked(b"leader", Tally(1), (1, 1), 2, False, None)]))
    builder.add(shorter, ClassifiedEntries(linked=[Linked(b"follower", Tally(1), (1, 1), 2, False, None)]))
    for folder in (longer, shorter, root):
        builder.close(folder)
    assert links(builder) == [(b"data/follower", b"data2/leader")]


def test_a_directory_that_is_left_to_others_is_the_last_that_is_handed_out() -> None:
    """Its parent, which is new and holds nothing else, is made before."""
    builder = UnitBuilder(10**6, 1, None)
    root = builder.root(0, b"", new=True)
    (huge,) = builder.add(root, ClassifiedEntries(folders=[(b"huge", True, False)]))
    builder.close(root)
    builder.hand_over([huge])
    assert [batch.kind for batch in builder.out] == [Kind.MKDIR, Kind.LIST]


def test_a_root_that_is_left_to_others_is_counted_by_them() -> None:
    builder = UnitBuilder(10**6, 1, None)
    builder.hand_over([builder.root(0, b"", new=True)])
    assert builder.scanned == Tally()
