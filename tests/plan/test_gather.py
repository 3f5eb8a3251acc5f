"""From listings to units: nothing is lost, nothing is done twice, and links stay whole, whatever the tree."""

from __future__ import annotations

from collections import Counter
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.plan import gather as gathering
from hpcp_mpi.plan.gather import Gather
from hpcp_mpi.plan.listed import Existing, Linked, Listing
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind
from tests.plan.forest import Dir, Forest, Item, Path, deliver, forests, joined, total_of

FILE_COST = 5
MAX_INNER = 30  # bytes, in these tests


class Gathered:
    """A forest, and what Gather made of it, told in terms of the forest's paths."""

    def __init__(self, forest: Forest, data: st.DataObject) -> None:
        self.forest = forest
        self.limit = data.draw(st.sampled_from([1, 20, 60, 100, 10**6]), label="limit")
        self.collapse = data.draw(st.integers(0, 4), label="collapse") > 0
        self.gather = Gather(self.limit, FILE_COST, data.draw(st.sampled_from([None, 0, 10])), self.collapse)
        with mock.patch.object(gathering, "MAX_INNER_PATH", MAX_INNER):
            self.streamed, self.folders = deliver(forest, self.gather, data)
        self.links = self.gather.link_batches()
        self.dirs = forest.dirs()
        self.collapsed: dict[Path, Tally] = {}  # whole subtrees
        self.how: list[tuple[Path, Kind, bytes]] = []  # (entry, what is done, LINK's leader or the unit it is in)
        self.opened = set(self.dirs)
        for batch in [*self.streamed, *self.links]:
            self._read(batch)

    def _read(self, batch: Batch) -> None:
        for unit in batch.units:
            path = (batch.source, joined(batch.source_dir, unit.name))
            if batch.kind is Kind.LINK:
                assert unit.target == self.forest.dest(path)
                self.how.append((path, Kind.LINK, batch.leader))
            elif batch.kind in (Kind.COPY, Kind.CHECK):
                assert joined(batch.dest_dir, unit.target) == self.forest.dest(path)
                if path in self.dirs:
                    self._whole(path, batch.kind)
                    self.collapsed[path] = unit.tally
                else:
                    self.how.append((path, batch.kind, self.forest.dest(path)))

    def _whole(self, top: Path, kind: Kind) -> None:
        assert kind is Kind.COPY
        for path, directory in self.dirs[top].walk(top[1]):
            self.opened.remove((top[0], path))  # not twice
            self.how += [((top[0], joined(path, item.name)), kind, self.forest.dest(top)) for item in directory.items]


def gathered(data: st.DataObject) -> Gathered:
    return Gathered(data.draw(forests()), data)


@given(st.data())
def test_every_entry_ends_up_once_and_excluded_ones_nowhere(data: st.DataObject) -> None:
    found = gathered(data)
    assert Counter(path for path, _, _ in found.how) == Counter(found.forest.wanted().keys())


@given(st.data())
def test_units_and_opened_directories_add_up_to_what_was_scanned(data: st.DataObject) -> None:
    found = gathered(data)
    assert found.gather.scanned == found.forest.tally()
    done = total_of([*found.streamed, *found.links])
    assert done.plus(Tally(directories=len(found.opened))) == found.forest.tally()


@given(st.data())
def test_only_a_new_directory_that_cp_may_copy_whole_is_one_unit(data: st.DataObject) -> None:
    found = gathered(data)
    for top in found.collapsed:
        assert found.collapse and top[1] != b""
        for _, directory in found.dirs[top].walk(top[1]):
            assert directory.new and not directory.refused
            assert not any(item.excluded for item in directory.items)


@given(st.data())
def test_all_names_of_an_inode_are_linked_together_by_one_unit_or_by_links(data: st.DataObject) -> None:
    found = gathered(data)
    wanted = found.forest.wanted()
    by_dest = {found.forest.dest(path): path for path in wanted}
    pieces = {path: path for path in wanted}  # union by pointers

    def root(path: Path) -> Path:
        while pieces[path] != path:
            path = pieces[path]
        return path

    in_unit: dict[tuple[bytes, object], Path] = {}
    for path, kind, where in found.how:
        inode = wanted[path].inode
        if kind is Kind.LINK:
            leader = by_dest[where]
            assert wanted[leader].inode == inode and leader != path
            assert (leader, Kind.LINK) not in {(each, its) for each, its, _ in found.how}
            pieces[root(path)] = root(leader)
        else:  # one cp keeps the links among what it copies
            pieces[root(path)] = root(in_unit.setdefault((where, inode), path))
    components: dict[object, set[Path]] = {}
    for path, item in wanted.items():
        components.setdefault(item.inode, set()).add(root(path))
    assert all(len(parts) == 1 for parts in components.values())


@given(st.data())
def test_a_file_of_the_destination_stays_the_copy_of_one_source_file_at_most(data: st.DataObject) -> None:
    found = gathered(data)
    wanted = found.forest.wanted()
    kept: dict[object, set[object]] = {}
    for path, kind, _ in found.how:
        item = wanted[path]
        assert kind is not Kind.CHECK or item.existing
        if kind is Kind.CHECK and item.dest_inode is not None:
            kept.setdefault(item.dest_inode, set()).add(item.inode)
    assert all(len(inodes) == 1 for inodes in kept.values())


@given(st.data())
def test_what_may_be_identical_is_checked_before_it_is_copied(data: st.DataObject) -> None:
    found = gathered(data)
    wanted = found.forest.wanted()
    for path, kind, _ in found.how:
        if kind is Kind.COPY:
            assert not wanted[path].existing or wanted[path].dest_inode is not None


@given(st.data())
def test_opened_new_directories_are_settled_and_made_if_nothing_is_copied_into_them(data: st.DataObject) -> None:
    found = gathered(data)
    new = {path for path in found.opened if found.dirs[path].new}
    assert Counter((each.source, each.source_dir) for each in found.gather.settle) == Counter(new)
    settled = [
        (batch.source, unit.name, unit.target) for batch in found.gather.settle_batches([]) for unit in batch.units
    ]
    assert Counter(settled) == Counter((*path, found.forest.dest(path)) for path in new)
    filled = {batch.dest_dir for batch in found.streamed if batch.kind is Kind.COPY}
    made = [
        (batch.source, unit.name, unit.target, batch.over)
        for batch in found.streamed
        if batch.kind is Kind.MAKE
        for unit in batch.units
    ]
    assert Counter(made) == Counter(
        (*path, found.forest.dest(path), replaces(found.forest, path))
        for path in new
        if found.forest.dest(path) not in filled
    )


def replaces(forest: Forest, path: Path) -> bool:
    """Tell whether a non-directory is on the way to a directory of the destination, or at its place."""
    dirs, parts = forest.dirs(), path[1].split(b"/")
    return any(dirs[path[0], b"/".join(parts[:count])].over for count in range(len(parts) + 1))


@given(st.data())
def test_batches_say_when_a_non_directory_is_in_the_way(data: st.DataObject) -> None:
    found = gathered(data)
    for batch in found.streamed:
        if batch.kind in (Kind.COPY, Kind.CHECK):
            assert batch.over == replaces(found.forest, (batch.source, batch.source_dir))


@given(st.data())
def test_no_unit_and_no_batch_is_heavier_than_a_bite_and_no_path_in_a_unit_too_long_for_cp(data: st.DataObject) -> None:
    found = gathered(data)
    for batch in [*found.streamed, *found.links, *found.gather.settle_batches([])]:
        assert batch.units
        if batch.kind is not Kind.LINK:
            assert batch.weight - batch.units[-1].weight < found.limit
        for unit in batch.units:
            assert unit.weight > 0
            top = (batch.source, joined(batch.source_dir, unit.name))
            if batch.kind is Kind.COPY and top in found.collapsed:
                assert unit.weight < found.limit or unit.tally.entries == 1
                weight = FILE_COST * unit.tally.entries + unit.tally.bytes
                assert unit.weight == weight
                assert all(len(path) <= MAX_INNER for path in inner_paths(found.dirs[top]))


def inner_paths(directory: Dir) -> list[bytes]:
    return [joined(path, item.name) for path, each in directory.walk() for item in [*each.items, *each.dirs]]


@settings(max_examples=30)
@given(st.data())
def test_with_no_limits_in_the_way_every_new_directory_is_copied_whole(data: st.DataObject) -> None:
    forest = data.draw(forests())
    for directory in forest.dirs().values():
        directory.refused = False
        directory.items = [item for item in directory.items if not item.linked and not item.excluded]
    gather = Gather(10**9, FILE_COST, None)
    deliver(forest, gather, data)
    assert [folder.source_dir for folder in gather.settle] == [b"" for _, root in forest.roots if root.new]


@pytest.mark.parametrize("follower_below", [0, 3000])
def test_a_tree_deeper_than_the_interpreters_stack_is_gathered(follower_below: int) -> None:
    """A link at the bottom, to a leader outside, opens all above it; without one all is a single unit."""
    item = Item(b"n", "file", 1, False, (1, 1), None, True, False)
    gather = Gather(10**9, 1, None)
    root = gather.root(0, b"", new=False)
    with mock.patch.object(gathering, "MAX_INNER_PATH", 10**6):
        listing = Listing(linked=[Linked(b"leader", Tally(1), item.inode, 2, False, None)])
        listing.folders = [(b"d", True, False)]
        folders = gather.add(root, listing)
        for _ in range(2999):
            folders += gather.add(folders[-1], Listing(folders=[(b"d", True, False)]))
        if follower_below:
            listing = Listing(linked=[Linked(b"n", Tally(1), item.inode, 2, False, None)])
            gather.add(folders[-1], listing)
        for folder in [root, *folders]:
            gather.close(folder)
    assert len(gather.settle) == follower_below
    assert [batch.leader for batch in gather.link_batches()] == ([b"leader"] if follower_below else [])
    assert total_of([*gather.out, *gather.link_batches()]).directories == 3000 - follower_below


def test_stages_of_killed_runs_are_swept_where_they_were_found() -> None:
    gather = Gather(100, 1, None)
    root = gather.root(0, b"in", new=False)
    gather.add(root, Listing(sweeps=[b".hpcp-mpi.a", b".hpcp-mpi.b"]))
    gather.close(root)
    (batch,) = gather.out
    assert (batch.kind, batch.dest_dir, [unit.name for unit in batch.units]) == (
        Kind.SWEEP, b"in", [b".hpcp-mpi.a", b".hpcp-mpi.b"],
    )  # fmt: skip


def test_where_sources_merge_in_a_directory_the_last_one_gives_it_its_metadata() -> None:
    gather = Gather(100, 1, None)
    touched = [(1, b"b", b"d"), (0, b"a", b"d"), (0, b"x", b"x")]
    batches = gather.settle_batches(touched)
    assert {(batch.source, unit.name, unit.target) for batch in batches for unit in batch.units} == {
        (1, b"b", b"d"), (0, b"x", b"x"),
    }  # fmt: skip


def test_a_check_weighs_what_is_read_on_both_sides() -> None:
    for check_size, weight in ((None, 2 * 50 + 1), (10, 2 * 10 + 1), (0, 1), (1000, 2 * 50 + 1)):
        gather = Gather(10**6, 1, check_size)
        root = gather.root(0, b"", new=False)
        gather.add(root, Listing(existing=[Existing(b"f", Tally(1, 0, 0, 0, 50), (1, 1), None)]))
        gather.close(root)
        assert [(batch.kind, batch.weight) for batch in gather.out] == [(Kind.CHECK, weight)]


def test_a_leader_in_a_directory_whose_name_only_begins_alike_is_outside() -> None:
    gather = Gather(10**6, 1, None)
    root = gather.root(0, b"", new=False)
    longer, shorter = gather.add(root, Listing(folders=[(b"data2", True, False), (b"data", True, False)]))
    gather.add(longer, Listing(linked=[Linked(b"leader", Tally(1), (1, 1), 2, False, None)]))
    gather.add(shorter, Listing(linked=[Linked(b"follower", Tally(1), (1, 1), 2, False, None)]))
    for folder in (longer, shorter, root):
        gather.close(folder)
    assert [(batch.leader, batch.units[0].target) for batch in gather.link_batches()] == [
        (b"data2/leader", b"data/follower")
    ]
