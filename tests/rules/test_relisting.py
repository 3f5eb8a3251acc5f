"""The directories to list again cover all that was not done, and none is listed twice."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcp_mpi.rules.relisting import least, todo_of
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Unit, Units
from tests.support.effort import many

NAMES = (b"a", b"b", b"a-", b"a0")  # "-" sorts before "/", "0" behind it
PATHS = st.lists(st.sampled_from(NAMES), max_size=4).map(b"/".join)
SEEN = st.lists(st.sampled_from(NAMES), unique=True, max_size=2).map(lambda names: b"".join(n + b"\0" for n in names))
TODO = st.builds(
    lambda source, path, deep, seen: Relist(source, path, path, deep, seen if deep else b""),
    st.integers(0, 2),
    PATHS,
    st.booleans(),
    SEEN,
)


def is_within(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")


def looked_at(todo: list[Relist], source: int, directory: bytes) -> int:
    """The number of times that the entries of a directory are listed."""
    count = 0
    for each in todo:
        if each.source != source or not is_within(directory, each.source_dir):
            continue
        if directory == each.source_dir:
            count += 1
        elif each.recursive:
            child = directory[len(each.source_dir) :].lstrip(b"/").split(b"/")[0]
            count += child not in each.seen.split(b"\0")[:-1]
    return count


@settings(max_examples=many(1000), deadline=None)
@given(st.lists(TODO, max_size=12), PATHS, st.integers(0, 2))
@example([Relist(0, b"", b"", True, b"a\0"), Relist(0, b"", b"", True, b"b\0")], b"a", 0)
def test_nothing_is_left_out(todo: list[Relist], directory: bytes, source: int) -> None:
    found = least(todo)
    assert {each[:4] for each in found} <= {each[:4] for each in todo}
    assert bool(looked_at(found, source, directory)) is bool(looked_at(todo, source, directory))


@settings(max_examples=many(500), deadline=None)
@given(st.lists(TODO.map(lambda each: each._replace(seen=b"")), max_size=12), PATHS, st.integers(0, 2))
def test_and_nothing_is_looked_at_twice(todo: list[Relist], directory: bytes, source: int) -> None:
    assert looked_at(least(todo), source, directory) <= 1


@given(st.lists(TODO, max_size=12), st.sets(st.integers(0, 2)))
def test_of_a_source_that_is_one_entry_there_is_only_that(todo: list[Relist], single: set[int]) -> None:
    found = least(todo, single)
    for source in range(3):
        of_source = [each for each in found if each.source == source]
        if source in single:
            assert of_source == [Relist(source, b"", b"", True)] * any(each.source == source for each in todo)
        else:
            assert of_source == [each for each in least(todo) if each.source == source]


def test_the_order_is_that_of_the_walk() -> None:
    paths = [b"a/b", b"a-", b"a", b"a0", b"a-/b", b"b"]
    found = least([Relist(0, path, path, False) for path in paths])
    assert [each.source_dir for each in found] == [b"a", b"a/b", b"a-", b"a-/b", b"a0", b"b"]


def batch(kind: Kind, units: list[Unit], source: int = 0) -> Batch:
    return Batch(kind, source, b"s", b"d", Units.of(units))


def test_files_are_found_in_their_directory_and_subtrees_are_trees() -> None:
    tree = Unit(b"tree", Tally(3, 2, 0, 0, 9), 9, b"renamed")
    flat = Relist(0, b"s", b"d", False)
    for kind in (Kind.COPY, Kind.CHECK):
        found = list(todo_of(batch(kind, [Unit(b"f", one_file(3), 3), tree])))
        assert found == [Relist(0, b"s/tree", b"d/renamed", True), flat]
        assert list(todo_of(Batch(kind, 0, b"s", b"d", Units([b"f"], [3])))) == [flat]
    for kind in (Kind.START_FILE, Kind.RANGE, Kind.FINISH_FILE, Kind.CLEAN_STAGE):
        assert list(todo_of(batch(kind, [Unit(b"f", one_file(3))]))) == [flat]


def test_directories_that_nobody_listed_are_trees_and_of_those_to_be_made_the_rest_is_work_of_its_own() -> None:
    for kind in (Kind.LIST, Kind.MKDIR):
        some = Batch(kind, 1, b"", b"", Units.of([Unit(b"s/x", NOTHING, 0, b"d/y")]))
        assert list(todo_of(some)) == [Relist(1, b"s/x", b"d/y", kind is Kind.LIST)]


def test_what_records_tell_of_is_not_looked_for() -> None:
    for kind in (
        Kind.LINK,
        Kind.SET_DIR_METADATA,
        Kind.REMOVE,
        Kind.COUNT,
        Kind.REMOVE_COPIED,
        Kind.RMDIR,
        Kind.VERIFY,
    ):
        assert list(todo_of(batch(kind, [Unit(b"f", one_file(3))]))) == []
    assert list(todo_of(batch(Kind.COPY, [Unit(b"f", one_file(3))], DEST))) == []
