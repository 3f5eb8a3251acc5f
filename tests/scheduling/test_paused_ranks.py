"""Paused ranks get no work, and the others do all of it, once."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.scheduling.messages import Grant, Reclaim
from tests.scheduling.simulation import batch_of
from tests.scheduling.test_any_interleaving import CHANCE, MANY, Setting, clusters, happen, play, units_of
from tests.scheduling.test_planner import planner_with, sent


@MANY
@given(clusters(), st.data(), CHANCE)
def test_phase_after_phase_all_is_done_once_and_by_nobody_on_the_bench(
    setting: Setting, data: st.DataObject, chance: Random
) -> None:
    cluster, arrivals = setting
    play(cluster, chance)
    numbers = [rank.number for rank in cluster.ranks]
    done = units_of(arrivals)
    for phase in range(data.draw(st.integers(1, 3))):
        benched = data.draw(st.sets(st.sampled_from(numbers), max_size=len(numbers) - 1))
        before = {rank.number: len(rank.did) for rank in cluster.ranks}
        cluster.planner.pause(benched)
        first = 10**6 * (phase + 1)
        sizes = data.draw(st.lists(st.integers(1, 200), max_size=30))
        work = [batch_of([first + at], [size]) for at, size in enumerate(sizes)]
        cluster.arrivals.extend([work[:10], work[10:]])
        play(cluster, chance)
        assert cluster.ended
        done += Counter(unit.name for batch in work for unit in batch.units)
        assert cluster.executed() == done
        assert all(len(rank.did) == before[rank.number] for rank in cluster.ranks if rank.number in benched)


@MANY
@given(clusters(), st.data(), CHANCE)
def test_who_is_benched_in_the_middle_does_no_more_than_what_it_had(
    setting: Setting, data: st.DataObject, chance: Random
) -> None:
    cluster, arrivals = setting
    while len(cluster.planner.shares) < len(cluster.ranks):
        happen(cluster, chance)
    for _ in range(data.draw(st.integers(0, 30))):
        happen(cluster, chance)
    numbers = [rank.number for rank in cluster.ranks]
    benched = data.draw(st.sets(st.sampled_from(numbers), max_size=len(numbers) - 1))
    cluster.planner.pause(benched)
    assert not [
        number for number, message in cluster.planner.outbox if number in benched and isinstance(message, Grant)
    ]
    cluster._post()
    granted = {rank.number: rank.machine._latest for rank in cluster.ranks}
    coming = {rank.number: [m for m in rank.inbox if isinstance(m, Grant)] for rank in cluster.ranks}
    play(cluster, chance)
    assert cluster.ended
    assert cluster.executed() == units_of(arrivals)
    for rank in cluster.ranks:
        if rank.number in benched:
            latest = max([granted[rank.number], *(c.number for m in coming[rank.number] for c in m.chunks)])
            assert rank.machine._latest <= latest


def test_nobody_has_to_give_back_for_a_rank_on_the_bench() -> None:
    planner = planner_with(1, 1)
    planner.pause([2])
    planner.add([batch_of(list(range(64)), [1] * 64)])
    assert [number for number, _ in sent(planner)] == [1]
    planner.pause([])
    assert (1, Reclaim()) in sent(planner)


def test_what_was_held_back_is_granted_when_the_bench_is_empty() -> None:
    planner = planner_with(1, 1)
    planner.pause([1])
    planner.add([batch_of([at], [64]) for at in range(8)])
    assert {number for number, _ in sent(planner)} == {2}
    planner.pause([])
    assert 1 in {number for number, message in sent(planner) if isinstance(message, Grant)}


def test_not_all_can_be_benched() -> None:
    planner = planner_with(1, 1)
    with pytest.raises(ValueError, match="all"):
        planner.pause([1, 2])
    assert planner.slots == 2


def test_slots_are_those_that_can_get_work() -> None:
    planner = planner_with(3, 4)
    planner.pause([1])
    assert planner.slots == 4
    planner.pause([2])
    assert planner.slots == 3
    planner.pause([])
    assert planner.slots == 7
