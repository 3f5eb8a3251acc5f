"""What patches mean: applied once is applied twice, several are one, and what does not fit is a conflict."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.formats.changes_table import Op
from hpcp_mpi.formats.entry_state import ABSENT, State
from hpcp_mpi.formats.patch_rows import Row, Rows
from hpcp_mpi.operations.imaging.rules.patch import (
    Barrier,
    Chains,
    Damaged,
    NotNext,
    Verdict,
    behind,
    chains_of,
    deepest_first,
    files_of,
    judged,
    must_go,
    same,
)

Tree = dict[bytes, State]
_FILES = [State(b"f", 0o644, 0, 0, size, mtime) for size in (1, 2) for mtime in (10, 20)]
_STATES = [*_FILES, State(b"l", target=b"x"), State(b"l", target=b"y"), State(b"p", 0o600, 0, 0, mtime=5)]
_DIRECTORIES = [State(b"d", mode, 0, 0, mtime=1) for mode in (0o755, 0o700)]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    found: Tree = {}
    for name in (b"a", b"b", b"c"):
        what = draw(st.sampled_from(["nothing", "entry", "directory"]))
        if what == "entry":
            found[name] = draw(st.sampled_from(_STATES))
        elif what == "directory":
            found[name] = draw(st.sampled_from(_DIRECTORIES))
            for below in draw(st.sets(st.sampled_from([b"x", b"y"]))):
                found[name + b"/" + below] = draw(st.sampled_from(_STATES))
    return found


def rows_between(old: Tree, new: Tree) -> Rows:
    rows = []
    for path in old.keys() | new.keys():
        before, after = old.get(path, ABSENT), new.get(path, ABSENT)
        if before == after:
            continue
        if before.there and after.there and before.kind == after.kind:
            rows.append(Row(Op.MODIFIED, path, before, after))
            continue
        if before.there:
            rows.append(Row(Op.DELETED, path, before, ABSENT))
        if after.there:
            rows.append(Row(Op.ADDED, path, ABSENT, after))
    return Rows(tuple(rows))


def applied(chains: Chains, tree: Tree, only: int | None = None) -> Tree:
    """The tree after what is to be applied was, in the order of a run; only: so many steps of it."""
    found = dict(tree)
    todo = [path for path, chain in chains.items() if verdict(chains, tree, path) is Verdict.APPLY]
    gone = [path for path in deepest_first(todo) if must_go(chains[path].end, tree.get(path, ABSENT))]
    made = sorted(path for path in todo if chains[path].end.there)
    for number, path in enumerate([*gone, *made]):
        if number == only:
            break
        if number < len(gone):
            del found[path]
        else:
            found[path] = chains[path].end
    return found


def verdict(chains: Chains, tree: Tree, path: bytes) -> Verdict:
    return judged(chains[path], tree.get(path, ABSENT), False).verdict


@given(old=trees(), new=trees())
def test_a_patch_leads_from_the_old_tree_to_the_new_one_and_then_does_nothing(old: Tree, new: Tree) -> None:
    chains = chains_of([rows_between(old, new)])
    assert applied(chains, old) == new
    assert applied(chains, new) == new
    assert all(verdict(chains, new, path) is Verdict.DONE for path in chains)


@given(old=trees(), new=trees(), steps=st.integers(0, 12))
def test_a_run_that_ended_after_any_step_goes_on(old: Tree, new: Tree, steps: int) -> None:
    chains = chains_of([rows_between(old, new)])
    half = applied(chains, old, steps)
    assert all(verdict(chains, half, path) is not Verdict.CONFLICT for path in chains)
    assert applied(chains, half) == new


@given(several=st.lists(trees(), min_size=2, max_size=4), at=st.integers(0, 3))
def test_several_patches_lead_from_any_tree_between_to_the_last_one(several: list[Tree], at: int) -> None:
    chains = chains_of([rows_between(*pair) for pair in pairwise(several)])
    assert applied(chains, several[min(at, len(several) - 1)]) == several[-1]


@given(old=trees(), new=trees(), data=st.data())
def test_what_no_patch_knows_is_a_conflict(old: Tree, new: Tree, data: st.DataObject) -> None:
    chains = chains_of([rows_between(old, new)])
    if not chains:
        return
    path = data.draw(st.sampled_from(sorted(chains)))
    strange = dict(old) | {path: State(b"f", 0o644, 0, 0, 77, 77)}
    assert judged(chains[path], strange[path], False).verdict is Verdict.CONFLICT
    assert judged(chains[path], strange[path], True).verdict is Verdict.CONFLICT  # other content is never half of it


def test_patches_that_do_not_follow_each_other_are_refused() -> None:
    one, two, three = ({b"a": state} for state in _FILES[:3])
    with pytest.raises(NotNext):
        chains_of([rows_between(two, three), rows_between(one, two)])


@pytest.mark.parametrize(
    "path", [b"/a", b"../a", b"a/../b", b"a//b", b"a/.", b".", b"..", b".hpcp_diff", b".hpcp_diff/manifest", b"a\0b"]
)
def test_rows_that_leave_the_root_are_damage(path: bytes) -> None:
    for row in (Row(Op.ADDED, path, ABSENT, _FILES[0]), Row(Op.DELETED, path, _FILES[0], ABSENT)):
        with pytest.raises(Damaged):
            chains_of([Rows((row,))])


@pytest.mark.parametrize("op", [Op.ADDED, Op.DELETED])
def test_the_root_is_never_added_or_removed(op: Op) -> None:
    states = (ABSENT, _DIRECTORIES[0]) if op is Op.ADDED else (_DIRECTORIES[0], ABSENT)
    with pytest.raises(Damaged):
        chains_of([Rows((Row(op, b"", *states),))])


def test_nothing_stays_in_what_is_no_directory_then() -> None:
    rows = (Row(Op.ADDED, b"a", ABSENT, _STATES[-1]), Row(Op.ADDED, b"a/b", ABSENT, _FILES[0]))
    with pytest.raises(Damaged):
        chains_of([Rows(rows)])


def test_a_symlink_on_the_way_is_damage_unless_a_row_is_of_it() -> None:
    added = Row(Op.ADDED, b"a/b", ABSENT, _FILES[0])
    chains = chains_of([Rows((added,))])
    with pytest.raises(Damaged):
        behind(b"a/b", chains[b"a/b"], Barrier(b"a", b"l"), chains)
    of_it = chains_of([Rows((added, Row(Op.MODIFIED, b"a", *_DIRECTORIES)))])
    assert behind(b"a/b", of_it[b"a/b"], Barrier(b"a", b"l"), of_it) is None


def test_the_time_of_a_directory_is_no_conflict() -> None:
    chains = chains_of([Rows((Row(Op.MODIFIED, b"a", *_DIRECTORIES),))])
    assert judged(chains[b"a"], _DIRECTORIES[0]._replace(mtime=999), False).verdict is Verdict.APPLY
    assert judged(chains[b"a"], _DIRECTORIES[0]._replace(mode=0o711), False).verdict is Verdict.CONFLICT
    assert judged(chains[b"a"], _DIRECTORIES[0]._replace(mode=0o711), True).verdict is Verdict.APPLY


@pytest.mark.parametrize(("stored", "equal"), [(1_234_567_000, True), (1_000_000_000, True), (1_234_567_891, False)])
def test_a_time_that_a_file_system_cannot_store_is_equal_to_what_it_makes_of_it(stored: int, equal: bool) -> None:
    one, other = (State(b"f", 0o644, 0, 0, 1, mtime) for mtime in (1_234_567_890, stored))
    assert same(one, other) is equal and same(other, one) is equal


def test_names_of_one_file_are_those_of_the_last_patch_that_has_rows_of_them() -> None:
    rows = tuple(Row(Op.MODIFIED, name, _FILES[0], _FILES[0]) for name in (b"a", b"b", b"c"))
    first = Rows(rows, ((b"a", b"b"), (b"a", b"c")))
    second = Rows(rows[:2], ())
    chains = chains_of([first, second])
    found = files_of([first, second], chains)
    assert len({found[name] for name in (b"a", b"b", b"c")}) == 3
    assert len(set(files_of([first], chains_of([first])).values())) == 1
    assert files_of([Rows(rows)], chains_of([Rows(rows)])) == {}  # hpcp's say nothing of hard links


def test_a_hard_link_without_a_row_is_damage() -> None:
    patch = Rows((Row(Op.ADDED, b"a", ABSENT, _FILES[0]),), ((b"a", b"../etc/passwd"),))
    with pytest.raises(Damaged):
        files_of([patch], chains_of([patch]))
