"""What is looked at again covers all that is not known to be done, and nothing is looked at twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.plan.resuming import least
from hpcp_mpi.vocab.saved import Todo

# Names that sort before and after `/`, and beginnings of each other.
NAMES = [b"a", b"a!", b"a0", b"aa", b"b"]
PATHS = st.lists(st.sampled_from(NAMES), max_size=3).map(b"/".join)


@st.composite
def todos(draw: st.DrawFn) -> Todo:
    path, deep = draw(PATHS), draw(st.booleans())
    seen = b"".join(name + b"\0" for name in draw(st.sets(st.sampled_from(NAMES), max_size=2))) if deep else b""
    return Todo(draw(st.integers(0, 1)), path, path, deep, seen)


def covered(todo: list[Todo], single: frozenset[int] = frozenset()) -> list[tuple[int, bytes, str]]:
    """What is looked at, each as often as it is: the files of directories that are there, all but infinitely deep."""
    found = []
    for each in todo:
        parts = each.source_dir.split(b"/") if each.source_dir else []
        found.append((each.source, each.source_dir, "files"))
        if not each.deep:
            continue
        seen = each.seen.split(b"\0")[:-1]
        for path in _below(parts, 4 - len(parts)):
            if path[len(parts)] not in seen:
                found.append((each.source, b"/".join(path), "files"))
    return found


def _below(parts: list[bytes], levels: int) -> list[list[bytes]]:
    if not levels:
        return []
    return [deeper for name in NAMES for deeper in ([*parts, name], *_below([*parts, name], levels - 1))]


@given(st.lists(todos(), max_size=12))
def test_the_least_covers_all_that_was_to_be_looked_at(todo: list[Todo]) -> None:
    assert set(covered(todo)) <= set(covered(least(todo)))
    assert {each[:3] for each in least(todo)} <= {each[:3] for each in todo}


@given(st.lists(todos().map(lambda each: each._replace(seen=b"")), max_size=12))
def test_nothing_is_looked_at_twice(todo: list[Todo]) -> None:
    found = covered(least(todo))
    assert len(found) == len(set(found))


@given(st.lists(todos(), max_size=12))
def test_a_source_of_one_entry_is_looked_at_whole(todo: list[Todo]) -> None:
    found = least(todo, single=[1])
    assert [each for each in found if each.source == 1] == [Todo(1, b"", b"", True)] * any(t.source == 1 for t in todo)


@given(st.lists(todos(), max_size=12))
def test_the_least_of_the_least_is_the_same(todo: list[Todo]) -> None:
    assert least(least(todo)) == least(todo) == least(iter(todo))
