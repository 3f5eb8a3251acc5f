"""A slow rank is one that is slower than others; if all take longer, none is slow."""

from __future__ import annotations

from math import exp
from random import Random

import pytest

from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.rank_speed import SpeedModel
from hpcp_mpi.scheduling.rank_table import Rank
from hpcp_mpi.vocab.report import RankShare
from hpcp_mpi.vocab.units import Kind

LOAD = Kind.COPY, 1000, 10**6


def run(slowness: list[float], noise: float = 0.2, rounds: int = 60) -> tuple[list[Rank], CostModel]:
    """Let ranks do chunks in turn; slowness: how many times longer than guessed each takes."""
    weights, fleet, chance = CostModel(2.0, 8000, 1 << 29), SpeedModel(), Random(1)
    ranks = [Rank(RankShare(number, "", 1)) for number in range(len(slowness))]
    guess = weights.seconds(*LOAD)
    for _ in range(rounds):
        for rank, factor in zip(ranks, slowness, strict=True):
            seconds = guess * factor * exp(chance.gauss(0, noise))
            before = weights.seconds(*LOAD)
            weights.learn(*LOAD, fleet.usual(rank, Kind.COPY, before, seconds))
            fleet.relearnt(Kind.COPY, before, weights.seconds(*LOAD))
    return ranks, weights


@pytest.mark.parametrize("factor", [0.1, 1.0, 30.0])
def test_when_all_take_longer_it_is_the_weights_that_learn(factor: float) -> None:
    ranks, weights = run([factor] * 20)
    assert weights.seconds(*LOAD) == pytest.approx(factor * CostModel(2.0, 8000, 1 << 29).seconds(*LOAD), rel=0.15)
    assert all(0.6 < rank.slowness < 1.6 for rank in ranks)


def test_a_straggler_is_known_and_ruins_nobodys_estimate() -> None:
    ranks, weights = run([10.0] + [1.0] * 19)
    assert ranks[0].slowness == pytest.approx(10, rel=0.3)
    assert all(0.6 < rank.slowness < 1.6 for rank in ranks[1:])
    assert weights.seconds(*LOAD) == pytest.approx(CostModel(2.0, 8000, 1 << 29).seconds(*LOAD), rel=0.15)


def test_a_straggler_that_reports_first_is_known_in_the_end() -> None:
    ranks, _ = run([10.0, 1.0, 1.0, 1.0], rounds=100)
    assert ranks[0].slowness / ranks[1].slowness == pytest.approx(10, rel=0.3)


def test_one_rank_alone_is_never_slow_for_long() -> None:
    ((rank,), weights) = run([5.0], rounds=200)
    assert 0.6 < rank.slowness < 1.6
    assert weights.seconds(*LOAD) == pytest.approx(5 * CostModel(2.0, 8000, 1 << 29).seconds(*LOAD), rel=0.3)
