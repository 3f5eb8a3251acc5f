"""Planner and workers together, in any order of events: all work is done once, the run ends, no rank starves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.vocab.units import Batch, Kind, Unit
from tests.scheduling.simulation import Cluster, batch_of
from tests.support.effort import many

PATIENCE = 20_000  # steps; the runs below need some hundred
MANY = settings(max_examples=many(60), deadline=None)
Setting = tuple[Cluster, list[list[Batch]]]


@st.composite
def work(draw: st.DrawFn) -> list[list[Batch]]:
    """Batches as a scan finds them, some at a time; units are numbered."""
    names = iter(range(10**6))
    sizes = draw(st.lists(st.lists(st.integers(1, 8), max_size=5), min_size=1, max_size=5))
    weight = st.integers(1, 10) | st.just(200)
    return [
        [
            batch_of(
                [next(names) for _ in range(count)],
                draw(st.lists(weight, min_size=count, max_size=count)),
                draw(st.sampled_from([Kind.COPY, Kind.CHECK])),
            )
            for count in counts
        ]
        for counts in sizes
    ]


@st.composite
def clusters(draw: st.DrawFn, single: bool = False) -> Setting:
    arrivals = draw(work())
    slots = draw(st.lists(st.just(1) if single else st.integers(1, 4), min_size=1, max_size=4))
    chunk_size = draw(st.sampled_from([1, 20, 100, 1000]))
    cluster = Cluster(slots, arrivals, chunk_size, max(1, chunk_size // 4), single)
    cluster.seconds = draw(st.sampled_from([0.0, 0.001, 1.0, 100.0]))
    return cluster, arrivals


def units_of(arrivals: list[list[Batch]]) -> Counter[bytes]:
    return Counter(unit.name for batches in arrivals for batch in batches for unit in batch.units)


# Seeds, not draws: hypothesis shrinks the setting, and thousands of events cost nothing.
CHANCE = st.randoms(use_true_random=True)


def happen(cluster: Cluster, chance: Random) -> bool:
    """Execute one of the possible events; return whether there was one."""
    actions = [*cluster.messages(), *cluster.scans(), *cluster.starts(), *cluster.ends()]
    if actions:
        chance.choice(actions)()
    return bool(actions)


def play(cluster: Cluster, chance: Random) -> None:
    """Execute events in any order until none is possible."""
    for _ in range(PATIENCE):
        if not happen(cluster, chance):
            return
    raise AssertionError("it does not end")


@MANY
@given(clusters(), CHANCE)
def test_every_unit_is_executed_once_and_rank_0_knows_the_end(setting: Setting, chance: Random) -> None:
    cluster, arrivals = setting
    play(cluster, chance)
    assert cluster.ended
    assert cluster.executed() == units_of(arrivals)


@MANY
@given(clusters(), CHANCE)
def test_rank_0_never_takes_a_run_for_ended_while_something_is_out(setting: Setting, chance: Random) -> None:
    cluster, arrivals = setting
    while not cluster.ended:
        assert happen(cluster, chance)
    assert cluster.executed() == units_of(arrivals)
    assert not any(rank.running or rank.machine.unstarted for rank in cluster.ranks)


@MANY
@given(clusters(), CHANCE)
def test_shares_add_up_to_what_the_ranks_did(setting: Setting, chance: Random) -> None:
    cluster, _ = setting
    play(cluster, chance)
    shares = {share.rank: share for share in cluster.planner.shares}
    for rank in cluster.ranks:
        share = shares[rank.number]
        assert (share.copied.files, share.copied.bytes) == (len(rank.did), sum(unit.amount for unit in rank.did))
        assert (share.node, share.slots) == (f"node{rank.number}", rank.slots)
        assert share.stolen <= share.chunks
    assert sum(share.chunks for share in shares.values()) == cluster.planner.chunks
    assert sum(share.copied.bytes for share in shares.values()) == cluster.planner.outcome.copied.bytes


FAIR: dict[str, Callable[[Random], Callable[[int], int]]] = {
    "messages first": lambda chance: lambda count: 0,
    "slots first": lambda chance: lambda count: count - 1,
    "at random": lambda chance: chance.randrange,
}


@pytest.mark.parametrize("order", FAIR)
@MANY
@given(setting=clusters(), chance=CHANCE, events=st.integers(0, 80))
def test_when_all_messages_have_come_no_slot_is_idle_while_others_have_unstarted_work(
    order: str, setting: Setting, chance: Random, events: int
) -> None:
    """Some events in any order, then no slot ends: the messages end too, and every slot that can work does."""
    cluster, _ = setting
    for _ in range(events):
        happen(cluster, chance)
    cluster.settle(FAIR[order](chance))
    idle = [rank.number for rank in cluster.ranks if len(rank.running) < rank.slots]
    unstarted = {rank.number: rank.machine.unstarted for rank in cluster.ranks if rank.machine.unstarted}
    assert not (idle and unstarted), f"idle: {idle}, unstarted: {unstarted}"


@MANY
@given(clusters(), CHANCE)
def test_the_number_of_questions_is_bounded_by_the_work(setting: Setting, chance: Random) -> None:
    """Each time a slot runs dry, each rank may be asked once in vain; the thief starts what is given back."""
    cluster, arrivals = setting
    play(cluster, chance)
    ranks, units = len(cluster.ranks), sum(units_of(arrivals).values())
    assert cluster.asked - cluster.empty == cluster.planner.steals
    assert cluster.planner.steals <= units
    assert cluster.asked <= ranks * (units + ranks + len(arrivals))


@MANY
@given(clusters(single=True), CHANCE)
def test_single_has_one_slot_of_one_rank_do_everything(setting: Setting, chance: Random) -> None:
    cluster, arrivals = setting
    play(cluster, chance)
    assert cluster.ended
    assert cluster.executed() == units_of(arrivals)
    assert sum(bool(rank.did) for rank in cluster.ranks) <= 1
    assert [share.slots for share in cluster.planner.shares] == [1]


@MANY
@given(clusters(), CHANCE)
def test_work_that_is_found_while_working_is_done_too(setting: Setting, chance: Random) -> None:
    """Every unit of one digit finds two more."""
    cluster, arrivals = setting

    def finds(units: list[Unit]) -> list[Batch]:
        found = [unit for unit in units if len(unit.name) == 1]
        return [batch_of([1000 * int(unit.name) + 10**6, 1000 * int(unit.name) + 10**6 + 1], [3, 5]) for unit in found]

    cluster.finds = finds
    play(cluster, chance)
    assert cluster.ended
    done = cluster.executed()
    assert set(done.values()) <= {1}
    few = [name for name in units_of(arrivals) if len(name) == 1]
    assert len(done) == sum(units_of(arrivals).values()) + 2 * len(few)


@pytest.mark.parametrize("seed", [442, 1475, 3027, 5605])
def test_messages_end_when_those_of_one_rank_are_never_delivered(seed: int) -> None:
    """The first rank's messages always come first. An idle rank seemed to be full, and others passed a unit around."""
    chance = Random(seed)
    names = iter(range(10**6))
    arrivals = []
    for _ in range(chance.randint(1, 5)):
        batches = []
        for _ in range(chance.randint(0, 5)):
            count = chance.randint(1, 8)
            sizes = [chance.choice([chance.randint(1, 10), 200]) for _ in range(count)]
            batches.append(batch_of([next(names) for _ in range(count)], sizes, chance.choice([Kind.COPY, Kind.CHECK])))
        arrivals.append(batches)
    slots = [chance.randint(1, 4) for _ in range(chance.randint(1, 4))]
    chunk_size = chance.choice([1, 20, 100, 1000])
    cluster = Cluster(slots, arrivals, chunk_size, max(1, chunk_size // 4))
    cluster.seconds = chance.choice([0.0, 0.001, 1.0, 100.0])
    for _ in range(chance.randint(0, 80)):
        happen(cluster, chance)
    cluster.settle(lambda count: 0)


@pytest.mark.parametrize("slots", [[1, 1], [4, 1], [1, 4], [2, 2, 2, 2]])
def test_a_rank_that_comes_last_steals_from_those_that_have_it_all(slots: list[int]) -> None:
    cluster = Cluster(slots, [[batch_of(list(range(64)), [1] * 64)], [batch_of([99], [1000])]], 10**6, 1)
    late = cluster.ranks[-1]
    hello = late.outbox.pop()
    for _ in range(2):
        cluster.scans()[0]()
        cluster.settle(lambda count: 0)
    before = sum(rank.machine.unstarted for rank in cluster.ranks)
    assert before > 32 * 2e-6, "seconds: a unit of one byte is thought to take 2 us"
    late.outbox.append(hello)
    cluster.settle(lambda count: 0)
    assert len(late.running) == late.slots
