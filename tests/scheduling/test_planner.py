"""The planner's decisions one by one, seen in the messages it sends."""

from __future__ import annotations

import pytest

from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import FIRST, CostModel
from hpcp_mpi.scheduling.messages import Grant, Hello, Message, Progress, Reclaim, Reclaimed, Shutdown
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.vocab.outcome import Outcome
from tests.scheduling.simulation import batch_of

ALL = 64 * FIRST  # a chunk size at which 64 units of one byte are one of the first chunks
SECONDS = FIRST / 64  # that a chunk of that size takes


def planner_with(*slots: int) -> Planner:
    weights = CostModel(SECONDS, 10**9, ALL)
    planner = Planner(Backlog(weights), weights, SECONDS)
    for rank, count in enumerate(slots, 1):
        planner.receive(rank, Hello(f"node{rank}", count))
    return planner


def sent(planner: Planner) -> list[tuple[int, Message]]:
    messages = list(planner.outbox)
    planner.outbox.clear()
    return messages


def test_a_rank_that_comes_when_all_is_granted_has_the_others_give_back() -> None:
    planner = planner_with(8)
    planner.add([batch_of(list(range(64)), [1] * 64)])
    ((rank, grant),) = sent(planner)
    assert rank == 1 and isinstance(grant, Grant) and grant.chunks[0].amount == 64
    planner.receive(2, Hello("late", 2))
    assert sent(planner) == [(1, Reclaim())]


def test_what_is_given_back_goes_to_the_idle_and_not_to_the_giver_who_has_more_slots() -> None:
    """The giver has one chunk on eight busy slots; the thief one chunk on two slots, one of them idle."""
    planner = planner_with(8, 2)
    planner.receive(2, Progress((), 0, 0, True))
    planner.add([batch_of(list(range(64)), [1] * 64), batch_of([99], [1])])
    grants = dict(sent(planner))
    assert set(grants) == {1, 2}
    planner.receive(2, Progress((), 0, 2, True))
    assert sent(planner) == [(1, Reclaim())]
    tail = batch_of(list(range(36, 64)), [1] * 28)
    planner.receive(1, Reclaimed(((1, (tail,)),), 28, 1, False))
    ((rank, message),) = sent(planner)
    assert rank == 2 and isinstance(message, Grant)
    assert [batch.units for batch in message.chunks[0].batches] == [tail.units]


def test_a_grant_that_crosses_a_report_is_not_forgotten() -> None:
    """The worker had not got its second chunk when it wrote that it had nothing unstarted."""
    planner = planner_with(1)
    planner.add([batch_of([0], [64])])
    planner.add([batch_of(list(range(1, 65)), [1] * 64)])
    assert [len(message.chunks) for _, message in sent(planner) if isinstance(message, Grant)] == [2]
    planner.receive(1, Progress(((1, Outcome()),), 0, 1, True))
    planner.receive(2, Hello("idle", 1))
    assert sent(planner) == [(1, Reclaim())]


def test_a_rank_is_asked_once_until_it_answers() -> None:
    planner = planner_with(1)
    planner.add([batch_of(list(range(64)), [1] * 64)])
    planner.receive(2, Hello("idle", 1))
    planner.receive(3, Hello("idle", 1))
    assert [message for _, message in sent(planner)].count(Reclaim()) == 1
    planner.receive(1, Reclaimed((), 0, 1, False))
    assert sent(planner) == [], "it has started everything"


def test_as_many_are_asked_as_are_idle_each_once() -> None:
    planner = planner_with(1, 1, 1)
    planner.add([batch_of(list(range(192)), [1] * 192)])
    assert [rank for rank, _ in sent(planner)] == [1, 2, 3]
    for rank in (4, 5):
        planner.receive(rank, Hello("idle", 1))
    asked = [rank for rank, message in sent(planner) if message == Reclaim()]
    assert len(asked) == len(set(asked)) == 2


def test_an_idle_rank_gets_what_is_given_back_also_when_its_queue_seems_full() -> None:
    """Rank 1's chunk was given back whole, and it has not said yet that it is done; it has said that it is idle."""
    planner = planner_with(1, 8)
    planner.add([batch_of([0], [64]), batch_of(list(range(1, 65)), [1] * 64), batch_of([65], [64])])
    granted = {rank: [chunk.number for chunk in message.chunks] for rank, message in sent(planner)}  # type: ignore[union-attr]
    planner.add([batch_of(list(range(100, 164)), [1] * 64)])
    latest = max(granted[1] + [c.number for _, m in sent(planner) if isinstance(m, Grant) for c in m.chunks])
    planner.receive(1, Progress((), 0, latest, True))
    assert (2, Reclaim()) in sent(planner)
    tail = batch_of([163], [1])
    planner.receive(2, Reclaimed(((latest, (tail,)),), 0, latest, False))
    assert [rank for rank, message in sent(planner) if isinstance(message, Grant)] == [1]


def test_a_slow_rank_gets_lighter_chunks_that_are_to_take_as_long() -> None:
    planner = planner_with(1, 1, 1, 1, 1)
    planner.add([batch_of(list(range(640 * at, 640 * at + 640)), [64] * 640) for at in range(100)])
    last: dict[int, Grant] = {}
    seconds = {1: 10.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}  # for what is thought to take 1 at first
    for _ in range(20):
        for rank, message in sent(planner):
            if not isinstance(message, Grant):
                continue
            last[rank] = message
            for chunk in message.chunks:
                outcome = Outcome(seconds=seconds[rank] * SECONDS * chunk.amount / ALL)
                planner.receive(rank, Progress(((chunk.number, outcome),), 0.0, chunk.number, False))
    assert last[1].chunks[-1].amount < 0.3 * last[2].chunks[-1].amount
    assert 0.2 < last[1].seconds[-1] / last[2].seconds[-1] < 5


def test_work_that_was_found_is_granted_and_news_are_handed_on() -> None:
    planner = planner_with(1)
    planner.add([batch_of([0], [1])])
    ((_, grant),) = sent(planner)
    assert isinstance(grant, Grant)
    early, late = batch_of([1], [1]), batch_of([2], [1])
    outcome = Outcome(new_work=[late], findings=["late"])
    planner.receive(1, Progress(((grant.chunks[0].number, outcome),), 0, 1, True, (early,), ("early",)))
    names = [
        name
        for _, message in sent(planner)
        if isinstance(message, Grant)
        for chunk in message.chunks
        for batch in chunk.batches
        for name in batch.units.names
    ]
    assert sorted(names) == [b"1", b"2"]
    assert sorted(planner.news) == ["early", "late"]
    assert (planner.outcome.new_work, planner.outcome.findings) == ([], [])


def test_rank_0_is_not_idle_until_everything_is_back() -> None:
    planner = planner_with(1)
    assert planner.idle and planner.active == 0
    planner.add([batch_of([0], [1])])
    assert not planner.idle and planner.active == 1
    planner.receive(1, Progress(((1, Outcome()),), 0, 1, True))
    assert planner.idle and planner.active == 0


def test_a_message_that_is_not_for_rank_0_is_refused() -> None:
    with pytest.raises(TypeError, match="not a message for the planner"):
        planner_with(1).receive(1, Shutdown())
