"""Rank 0's decisions one by one, told by the messages it sends."""

from __future__ import annotations

import pytest

from hpcp_mpi.plan.backlog import Backlog
from hpcp_mpi.plan.weights import FIRST, Weights
from hpcp_mpi.stealing.messages import Done, GaveBack, GiveBack, Grant, Hello, Leave, Message
from hpcp_mpi.stealing.planner import Planner
from hpcp_mpi.vocab.report import Outcome
from tests.stealing.simulation import batch_of

ALL = 64 * FIRST  # a chunk size at which 64 units of one byte are one of the first chunks


def planner_with(*slots: int) -> Planner:
    weights = Weights(1.0, 10**9, ALL)
    planner = Planner(Backlog(weights), weights, 1.0)
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
    assert sent(planner) == [(1, GiveBack())]


def test_what_is_given_back_goes_to_the_idle_and_not_to_the_giver_who_has_more_slots() -> None:
    """The giver has one chunk on eight slots, all at work; the thief one chunk on two, and one of them is idle."""
    planner = planner_with(8, 2)
    planner.receive(2, Done((), 0, 0, True))
    planner.add([batch_of(list(range(64)), [1] * 64), batch_of([99], [1])])
    grants = dict(sent(planner))
    assert set(grants) == {1, 2}
    planner.receive(2, Done((), 0, 2, True))
    assert sent(planner) == [(1, GiveBack())]
    tail = batch_of(list(range(36, 64)), [1] * 28)
    planner.receive(1, GaveBack(((1, (tail,)),), 28, 1, False))
    ((rank, message),) = sent(planner)
    assert rank == 2 and isinstance(message, Grant)
    assert [batch.units for batch in message.chunks[0].batches] == [tail.units]


def test_a_grant_that_crosses_a_report_is_not_forgotten() -> None:
    """The worker had not got its second chunk when it wrote that it had nothing unstarted."""
    planner = planner_with(1)
    planner.add([batch_of([0], [64])])
    planner.add([batch_of(list(range(1, 65)), [1] * 64)])
    assert [len(message.chunks) for _, message in sent(planner) if isinstance(message, Grant)] == [2]
    planner.receive(1, Done(((1, Outcome()),), 0, 1, True))
    planner.receive(2, Hello("idle", 1))
    assert sent(planner) == [(1, GiveBack())]


def test_a_rank_is_asked_once_until_it_answers() -> None:
    planner = planner_with(1)
    planner.add([batch_of(list(range(64)), [1] * 64)])
    planner.receive(2, Hello("idle", 1))
    planner.receive(3, Hello("idle", 1))
    assert [message for _, message in sent(planner)].count(GiveBack()) == 1
    planner.receive(1, GaveBack((), 0, 1, False))
    assert sent(planner) == [], "it has started everything"


def test_a_message_that_is_not_for_rank_0_is_refused() -> None:
    with pytest.raises(TypeError, match="not a message for the planner"):
        planner_with(1).receive(1, Leave())
