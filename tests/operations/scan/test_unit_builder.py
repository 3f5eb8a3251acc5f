"""From listings to units: nothing is lost, nothing is done twice, and links stay whole, whatever the tree.

Whether one UnitBuilder sees it all, or many see a part each and what they say is put together at the end.
"""

from __future__ import annotations

from collections import Counter
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.scan import link_groups, unit_builder
from hpcp_mpi.operations.scan.deferred import link_batches, separation_batches, settle_batches
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally
from hpcp_mpi.vocab.units import Batch, Kind, link_paths
from tests.operations.scan import forest
from tests.operations.scan.delivery import deliver
from tests.operations.scan.forest import Dir, Path, forests, joined

FILE_COST = 5
MAX_INNER = 30  # bytes, in these tests


class Built:
    """A forest, and what UnitBuilders made of it, in terms of the forest's paths."""

    def __init__(self, data: st.DataObject) -> None:
        self.forest = data.draw(forests())
        self.limit = data.draw(st.sampled_from([1, 20, 60, 100, 10**6]), label="limit")
        self.collapse = data.draw(st.integers(0, 4), label="collapse") > 0
        self.split = data.draw(st.sampled_from([0, 10, 30]), label="split_size")
        listed = data.draw(st.sampled_from(["by rank 0", "by all", "shared"]), label="listed")
        self.parallel = listed != "by rank 0"
        most = data.draw(st.sampled_from([50_000, 50_000, 1, 2]), label="most leaders")
        self.whole_view = not self.parallel and most > 2
        check_size = data.draw(st.sampled_from([None, 0, 10]), label="check_size")

        def make() -> UnitBuilder:
            return UnitBuilder(self.limit, FILE_COST, check_size, self.collapse, self.split)

        with (
            mock.patch.object(unit_builder, "MAX_INNER_PATH", MAX_INNER),
            mock.patch.object(link_groups, "_MOST_LEADERS", most),
        ):
            self.found = deliver(self.forest, make, data, listed == "by all", listed == "shared")
        self.streamed = self.found.batches
        self.links = list(link_batches(sorted(set(self.found.linked))))
        self.parted = list(separation_batches(sorted(set(self.found.shared)), self.split))
        self.settled = list(settle_batches(sorted(set(self.found.settled))))
        self.dirs = self.forest.dirs()
        self.collapsed: dict[Path, Tally] = {}  # whole subtrees
        self.how: list[tuple[Path, Kind, bytes]] = []  # (entry, what is done, LINK's leader or the unit it is in)
        self.counted: list[Path] = []  # entries each time that they are
        self.opened = set(self.dirs)
        for batch in [*self.streamed, *self.links]:
            self._read(batch)

    def _read(self, batch: Batch) -> None:
        for unit in batch.units:
            path = (batch.source, joined(batch.source_dir, unit.name))
            if batch.kind is Kind.LINK:
                target, leader = link_paths(unit)
                assert target == self.forest.dest(path)
                self.how.append((path, Kind.LINK, leader))
                self.counted += [path] if unit.tally else []
            elif batch.kind in (Kind.COPY, Kind.CHECK, Kind.START_FILE):
                assert joined(batch.dest_dir, unit.target) == self.forest.dest(path)
                if path in self.dirs:
                    self._whole(path, batch.kind)
                    self.collapsed[path] = unit.tally
                else:
                    self.how.append((path, batch.kind, self.forest.dest(path)))
                    self.counted.append(path)

    def _whole(self, top: Path, kind: Kind) -> None:
        assert kind is Kind.COPY
        for path, directory in self.dirs[top].walk(top[1]):
            self.opened.remove((top[0], path))  # not twice
            inside = [(top[0], joined(path, item.name)) for item in directory.items]
            self.how += [(each, kind, self.forest.dest(top)) for each in inside]
            self.counted += inside


def entries(tally: Tally) -> Tally:
    return tally._replace(bytes=0)


def total_of(batches: list[Batch]) -> Tally:
    total = NOTHING
    for batch in batches:
        for unit in batch.units:
            total = total.plus(unit.tally)
    return total


@given(st.data())
def test_every_entry_ends_up_once_and_excluded_ones_nowhere(data: st.DataObject) -> None:
    found = Built(data)
    assert Counter(found.counted) == Counter(found.forest.wanted().keys())


@given(st.data())
def test_units_and_opened_directories_add_up_to_what_was_scanned(data: st.DataObject) -> None:
    found = Built(data)
    wanted, scanned = found.forest.tally(), found.found.scanned
    done = total_of([*found.streamed, *found.links]).plus(Tally(directories=len(found.opened)))
    assert entries(scanned) == entries(done) == entries(wanted)
    # Whoever sees only some names of a file counts its bytes.
    assert scanned.bytes == done.bytes >= wanted.bytes
    assert scanned.bytes == wanted.bytes or not found.whole_view


@given(st.data())
def test_only_a_new_directory_that_cp_may_copy_whole_is_one_unit(data: st.DataObject) -> None:
    found = Built(data)
    for top in found.collapsed:
        assert found.collapse and top[1] != b""
        for _, directory in found.dirs[top].walk(top[1]):
            assert directory.new and not directory.refused
            assert not any(item.excluded for item in directory.items)


def directories_of(batch: Batch, found: Built) -> list[Dir]:
    """Return the directories in which cp looks up names for a batch."""
    inside = [found.dirs[batch.source, batch.source_dir]]
    for unit in batch.units:
        top = (batch.source, joined(batch.source_dir, unit.name))
        if top in found.collapsed:
            inside += [directory for _, directory in found.dirs[top].walk(top[1])]
    return inside


@given(st.data())
def test_what_another_user_may_exchange_is_never_said_to_be_ours(data: st.DataObject) -> None:
    found = Built(data)
    for batch in found.streamed:
        if batch.kind is Kind.COPY and batch.ours:
            assert all(directory.ours for directory in directories_of(batch, found))


@given(st.data())
def test_what_nobody_else_may_exchange_is_said_to_be_ours(data: st.DataObject) -> None:
    """Else it would be copied with more care than it needs."""
    with mock.patch.object(forest, "MOSTLY", st.just(True)):
        found = Built(data)
    for batch in found.streamed:
        if batch.kind is Kind.COPY:
            assert batch.ours


@given(st.data())
def test_all_names_of_an_inode_are_linked_together_by_one_unit_or_by_links(data: st.DataObject) -> None:
    found = Built(data)
    wanted = found.forest.wanted()
    by_dest = {found.forest.dest(path): path for path in wanted}
    pieces = {path: path for path in wanted}  # union by pointers

    def root(path: Path) -> Path:
        while pieces[path] != path:
            path = pieces[path]
        return path

    in_unit: dict[tuple[bytes, object], Path] = {}
    followers = {path for path, kind, _ in found.how if kind is Kind.LINK}
    copied = {path for path, kind, _ in found.how if kind is not Kind.LINK}
    leaders: dict[object, set[Path]] = {}
    for path, kind, where in found.how:
        inode = wanted[path].inode
        if kind is Kind.LINK:
            leader = by_dest[where]
            assert wanted[leader].inode == inode and leader not in followers and leader in copied
            leaders.setdefault(inode, set()).add(leader)
            pieces[root(path)] = root(leader)
        else:  # one cp keeps the links among what it copies
            pieces[root(path)] = root(in_unit.setdefault((where, inode), path))
    components: dict[object, set[Path]] = {}
    for path, item in wanted.items():
        components.setdefault(item.inode, set()).add(root(path))
    assert all(len(parts) == 1 for parts in components.values())
    assert all(len(some) == 1 for some in leaders.values())


@given(st.data())
def test_a_file_of_the_destination_stays_the_copy_of_one_source_file_at_most(data: st.DataObject) -> None:
    found = Built(data)
    wanted = found.forest.wanted()
    parted = {(batch.source, joined(batch.source_dir, unit.name)) for batch in found.parted for unit in batch.units}
    linked = {path for path, kind, _ in found.how if kind is Kind.LINK}
    kept: dict[object, set[object]] = {}
    for path, kind, _ in found.how:
        item = wanted[path]
        assert kind is not Kind.CHECK or item.existing
        if kind is Kind.CHECK and item.dest_inode is not None and path not in parted | linked:
            kept.setdefault(item.dest_inode, set()).add(item.inode)
    assert all(len(inodes) == 1 for inodes in kept.values())
    assert all(wanted[path].dest_inode is not None for path in parted)


@given(st.data())
def test_what_may_be_identical_is_checked_and_nothing_else(data: st.DataObject) -> None:
    found = Built(data)
    wanted = found.forest.wanted()
    for path, kind, _ in found.how:
        if kind is not Kind.LINK:
            assert wanted[path].existing == (kind is Kind.CHECK)
    for batch in found.streamed:
        if batch.equal:
            assert batch.kind is Kind.CHECK and batch.units.plain
            assert all(wanted[batch.source, joined(batch.source_dir, unit.name)].equal for unit in batch.units)


@given(st.data())
def test_big_files_and_no_others_are_copied_in_ranges(data: st.DataObject) -> None:
    found = Built(data)
    wanted = found.forest.wanted()
    for path, kind, _ in found.how:
        item = wanted[path]
        if kind in (Kind.COPY, Kind.START_FILE):
            big = item.kind == "file" and 0 < found.split <= item.size
            assert big == (kind is Kind.START_FILE)


@given(st.data())
def test_directories_that_are_made_or_differ_are_settled_once_and_others_only_restored(data: st.DataObject) -> None:
    found = Built(data)
    made, differed, restored = Counter[Path](), Counter[Path](), Counter[Path]()
    for batch in found.settled:
        for unit in batch.units:
            path = (batch.source, unit.name)
            assert unit.target == found.forest.dest(path)
            assert unit.tally == (NOTHING if batch.restore else ONE_DIRECTORY)
            (made if batch.new else restored if batch.restore else differed)[path] += 1
            assert not (batch.restore and batch.new)
    assert made == Counter(path for path in found.opened if found.dirs[path].new)
    assert differed == Counter(path for path in found.opened if found.dirs[path].differs)
    assert all(not found.dirs[path].new and times == 1 for path, times in restored.items())


@given(st.data())
def test_new_directories_that_nothing_is_copied_into_are_made(data: st.DataObject) -> None:
    found = Built(data)
    new = {path for path in found.opened if found.dirs[path].new}
    filled = {batch.dest_dir for batch in found.streamed if batch.kind in (Kind.COPY, Kind.START_FILE)}
    made = Counter(
        (batch.source, unit.name, unit.target, batch.over)
        for batch in found.streamed
        if batch.kind is Kind.MKDIR
        for unit in batch.units
    )
    expected = {(*path, found.forest.dest(path), replaces(found, path)) for path in new}
    empty = {each for each in expected if each[2] not in filled}
    assert made.keys() <= expected and set(made.values()) <= {1}
    # What somebody else copies into it is not known to whoever lists it.
    assert made.keys() >= empty if found.parallel else made.keys() == empty


def replaces(found: Built, path: Path) -> bool:
    """Return whether a non-directory is on the way to a directory of the destination, or at its place."""
    parts = path[1].split(b"/")
    return any(found.dirs[path[0], b"/".join(parts[:count])].over for count in range(len(parts) + 1))


@given(st.data())
def test_batches_say_when_a_non_directory_is_in_the_way(data: st.DataObject) -> None:
    found = Built(data)
    for batch in found.streamed:
        if batch.kind in (Kind.COPY, Kind.CHECK, Kind.START_FILE):
            assert batch.over == replaces(found, (batch.source, batch.source_dir))


@given(st.data())
def test_no_unit_and_no_batch_is_heavier_than_a_bite_and_no_path_in_a_unit_too_long_for_cp(data: st.DataObject) -> None:
    found = Built(data)
    for batch in found.streamed:
        loads = [count * FILE_COST + amount for count, amount in batch.units.loads()]
        assert sum(loads[:-1]) < found.limit * unit_builder.BATCH
        for unit in batch.units:
            top = (batch.source, joined(batch.source_dir, unit.name))
            if batch.kind is Kind.COPY and top in found.collapsed:
                weight = FILE_COST * unit.tally.entries + unit.tally.bytes
                assert weight == loads[list(batch.units).index(unit)]
                assert weight < found.limit or unit.tally.entries == 1
                assert all(len(path) <= MAX_INNER for path in inner_paths(found.dirs[top]))


def inner_paths(directory: Dir) -> list[bytes]:
    return [joined(path, item.name) for path, each in directory.walk() for item in [*each.items, *each.dirs]]
