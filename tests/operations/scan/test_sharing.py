"""Who lists: rank 0 until ranks run dry, then all, until there is enough to do again. No directory is lost by that."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.scan.sharing import ALONE_SECONDS, ENOUGH_SECONDS, Sharing
from hpcp_mpi.scheduling.supply import Supply
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

DRY = Supply(ranks=4, idle=3, slots=8)
BUSY = Supply(ranks=4, idle=0, slots=8, seconds=0.5)
ENOUGH = Supply(ranks=4, idle=0, slots=8, seconds=ENOUGH_SECONDS)
WAITING = 100


def lists(count: int, first: int = 0) -> list[Batch]:
    return [Batch(Kind.LIST, 0, b"", b"", Units.of(Unit(b"%d" % (first + at)) for at in range(count)), new=True)]


def looked(supply: Supply, *more: Supply, always: bool = False, never: bool = False) -> Sharing:
    """Return how it is after a second of one supply, and then of others for a tenth of a second each."""
    sharing = Sharing(always, never)
    for tenth in range(11):
        sharing.look(50 + tenth / 10, supply)
    for number, each in enumerate(more, 1):
        sharing.look(51 + number / 10, each)
    return sharing


def test_a_small_tree_is_not_shared_though_all_ranks_are_idle() -> None:
    sharing = Sharing(False)
    for moment in (0.0, 0.05, 0.1, ALONE_SECONDS - 0.01):
        sharing.look(7 + moment, DRY)
        assert sharing.wanted(WAITING) == 0
    sharing.add(lists(3))
    assert sharing.take() == [] and sharing.since is None


def test_ranks_that_run_dry_are_to_list_all_but_one_slots_share() -> None:
    assert looked(DRY).wanted(90) == 80
    many = looked(DRY._replace(ranks=1024, slots=2048))
    assert many.wanted(90) == 89, "who keeps none has nothing to go on with"
    assert many.wanted(1) == many.wanted(0) == 0


def test_a_moment_without_work_is_no_drought() -> None:
    sharing = looked(BUSY, DRY._replace(idle=1), BUSY)
    assert sharing.wanted(WAITING) == 0


def test_ranks_that_have_directories_to_list_get_no_more() -> None:
    sharing = looked(DRY)
    sharing.add(lists(8))
    assert sharing.wanted(WAITING) == 0
    assert sum(len(batch.units) for batch in sharing.take()) == sharing.asked == 8
    assert sharing.wanted(WAITING) == 0


def test_rank_0_lists_alone_again_when_there_is_enough_to_do() -> None:
    sharing = looked(DRY)
    sharing.add(lists(5))
    assert sharing.back()[0].entries == 1, "few ranks: it lists with them"
    sharing.look(51.1, BUSY)
    assert sharing.take(), "less than enough"
    sharing.add(lists(5))
    sharing.look(51.2, ENOUGH)
    assert sharing.wanted(WAITING) == 0 and sharing.take() == []
    assert sum(batch.entries for batch in sharing.back()) == 5
    sharing.add(lists(5))
    for tenth in range(3, 10):
        sharing.look(51 + tenth / 10, DRY)
    assert sharing.take(), "they are dry again"
    assert sharing.since is not None and abs(sharing.since - 1) < 0.01


def test_one_worker_only_takes_turns_with_rank_0() -> None:
    assert looked(Supply(ranks=1, idle=1, slots=4)).wanted(WAITING) == 0


def test_what_must_not_be_shared_is_not_and_from_the_start_means_at_once() -> None:
    assert looked(DRY, never=True).wanted(WAITING) == 0
    sharing = Sharing(True)
    sharing.add(lists(3))
    sharing.look(9.0, Supply())
    assert sharing.take() and sharing.since == 0.0
    sharing.look(9.1, ENOUGH)
    sharing.add(lists(3))
    assert sharing.take() and sharing.back() == [] and sharing.wanted(WAITING) == 0


def test_what_is_found_is_copied_at_once_only_where_directories_are_plenty() -> None:
    for count, deep in ((15, False), (16, True)):
        sharing = looked(DRY)
        sharing.add(lists(count))
        assert {batch.deep for batch in sharing.take()} == {deep}


supplies = st.builds(Supply, st.integers(0, 4), st.integers(0, 4), st.integers(0, 9), st.floats(0, 9))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("look"), supplies),
        st.tuples(st.just("add"), st.integers(1, 300)),
        st.tuples(st.sampled_from(["take", "back", "done"]), st.none()),
    ),
    max_size=40,
)


@given(steps, st.sampled_from([(False, False), (True, False), (False, True)]))
def test_each_directory_is_listed_once_whoever_lists(steps: list[tuple[str, object]], how: tuple[bool, bool]) -> None:
    sharing = Sharing(*how)
    sharing.look(0.0, Supply())
    found, given_out = 0, Counter[bytes]()
    for number, (step, value) in enumerate(steps):
        got: list[Batch] = []
        if isinstance(value, Supply):
            sharing.look(number / 10, value)
        elif isinstance(value, int):
            sharing.add(lists(value, found))
            found += value
        elif step == "take":
            before = sharing.asked
            got = sharing.take()
            assert sharing.asked == before + sum(len(batch.units) for batch in got)
        elif step == "back":
            got = sharing.back()
        else:
            sharing.asked = 0
        given_out.update(name for batch in got for name in batch.units.names)
    given_out.update(name for batch in sharing.lists for name in batch.units.names)
    assert given_out == Counter(b"%d" % at for at in range(found))
