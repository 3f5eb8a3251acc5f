"""The cost model learns from results, and no results make nonsense of it."""

from __future__ import annotations

import subprocess
import sys
from math import exp, isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.scheduling.cost_model import ENOUGH, FIRST, GROWTH, LEAST_BYTE, LEAST_ENTRY, WINDOW, CostModel, fitted
from hpcp_mpi.vocab.units import Kind

MIB = 1 << 20
ENTRY, BYTE = 0.003, 1e-9  # the real seconds: 12 times the guess, and a quarter of it


def guessed() -> CostModel:
    return CostModel(2.0, 8000, 512 * MIB)


def entry_cost(weights: CostModel, kind: Kind = Kind.COPY) -> float:
    return weights.seconds(kind, 1, 0)


def byte_cost(weights: CostModel, kind: Kind = Kind.COPY) -> float:
    return weights.seconds(kind, 0, 1)


def chunk(chance: Random, noise: float = 0.2) -> tuple[int, int, float]:
    """A chunk of files of one size, and the seconds it took."""
    size = int(exp(chance.uniform(5, 20)))
    count = max(1, int(2.0 / (ENTRY + size * BYTE)))
    return count, count * size, count * (ENTRY + size * BYTE) * exp(chance.gauss(0, noise))


def test_the_first_guess_is_a_chunk_of_files_or_of_bytes() -> None:
    weights = guessed()
    assert weights.seconds(Kind.COPY, 8000, 0) == pytest.approx(2)
    assert weights.seconds(Kind.COPY, 0, 512 * MIB) == pytest.approx(2)
    assert weights.seconds(Kind.COPY, 1, 256 * MIB) == pytest.approx(1, abs=0.01)


def test_the_first_results_scale_the_guess() -> None:
    weights = guessed()
    for _ in range(5):
        weights.learn(Kind.COPY, 800, 0, 2.0)
    assert weights.seconds(Kind.COPY, 800, 0) == pytest.approx(2, rel=0.05)
    assert byte_cost(weights) == pytest.approx(10 * 2 / 512 / MIB, rel=0.05)


def test_one_tiny_chunk_that_took_long_scales_it_only_a_little() -> None:
    weights = guessed()
    weights.learn(Kind.COPY, 1, 0, 0.1)  # 400 times as long as guessed
    assert weights.seconds(Kind.COPY, 8000, 0) < 80


def test_costs_are_learnt_by_least_squares() -> None:
    weights, chance = guessed(), Random(1)
    for _ in range(WINDOW):
        weights.learn(Kind.COPY, *chunk(chance))
    assert entry_cost(weights) == pytest.approx(ENTRY, rel=0.1)
    assert byte_cost(weights) == pytest.approx(BYTE, rel=0.1)


def test_kinds_are_learnt_by_themselves() -> None:
    weights, chance = guessed(), Random(1)
    for _ in range(WINDOW):
        weights.learn(Kind.COPY, *chunk(chance))
    assert entry_cost(weights, Kind.CHECK) == entry_cost(guessed(), Kind.CHECK)


def test_a_storage_that_gets_slower_is_followed() -> None:
    weights, chance = guessed(), Random(1)
    for factor in (1, 5):
        for _ in range(2 * WINDOW):
            count, size, seconds = chunk(chance)
            weights.learn(Kind.COPY, count, size, factor * seconds)
    assert entry_cost(weights) == pytest.approx(5 * ENTRY, rel=0.1)


def test_outliers_are_tolerated() -> None:
    weights, chance = guessed(), Random(1)
    for at in range(WINDOW):
        count, size, seconds = chunk(chance)
        weights.learn(Kind.COPY, count, size, seconds * (30 if at % 20 == 0 else 1))
    assert entry_cost(weights) == pytest.approx(ENTRY, rel=0.3)
    assert byte_cost(weights) == pytest.approx(BYTE, rel=0.3)


def test_files_of_one_size_teach_their_sum_and_leave_the_ratio_as_it_was() -> None:
    weights, chance = guessed(), Random(1)
    for _ in range(WINDOW):
        weights.learn(Kind.COPY, 1000, 1000 * 64 * 1024, 6.0 * exp(chance.gauss(0, 0.2)))
    assert weights.seconds(Kind.COPY, 1000, 1000 * 64 * 1024) == pytest.approx(6, rel=0.1)
    ratio = entry_cost(weights) / byte_cost(weights)
    assert ratio == pytest.approx(512 * MIB / 8000, rel=0.3)


def test_a_cost_is_never_negative_and_can_grow_again() -> None:
    weights, chance = guessed(), Random(1)
    for _ in range(WINDOW):  # bytes cost nothing; big chunks are even a little faster
        count, size = chance.randrange(100, 1000), chance.randrange(10**9)
        weights.learn(Kind.COPY, count, size, count * 0.01 * (1 - size / 3e9))
    assert 0 < byte_cost(weights) <= 1e-10, "a fiftieth of the seconds, at most"
    for _ in range(3 * WINDOW):
        weights.learn(Kind.COPY, *chunk(chance))
    assert byte_cost(weights) == pytest.approx(BYTE, rel=0.2)


RESULTS = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**13), st.floats(1e-6, 1e6)), min_size=1, max_size=WINDOW
)


@given(RESULTS, st.floats(LEAST_ENTRY, 10), st.floats(LEAST_BYTE, 1e-3))
def test_whatever_the_results_are_costs_are_finite_and_positive(
    results: list[tuple[int, int, float]], entry: float, byte: float
) -> None:
    now = fitted(results, (entry, byte), (LEAST_ENTRY, LEAST_BYTE))
    assert all(isfinite(cost) for cost in now)
    assert now[0] >= LEAST_ENTRY and now[1] >= LEAST_BYTE


@given(RESULTS)
def test_what_is_learnt_stays_within_what_the_results_say(results: list[tuple[int, int, float]]) -> None:
    weights = guessed()
    for result in results:
        weights.learn(Kind.COPY, *result)
    ratios = [seconds / guessed().seconds(Kind.COPY, entries, amount) for entries, amount, seconds in results]
    now = [seconds / weights.seconds(Kind.COPY, entries, amount) for entries, amount, seconds in results]
    assert min(now) <= max(2.0, *ratios)
    assert entry_cost(weights) > 0


def test_chunks_get_longer_as_results_come() -> None:
    weights = guessed()
    assert weights.longest(Kind.COPY) == 2.0 / FIRST
    weights.learn(Kind.COPY, 100, 0, 0.03)
    assert weights.longest(Kind.COPY) == pytest.approx(0.03 * GROWTH)
    weights.learn(Kind.COPY, 100, 0, 1.0)
    assert weights.longest(Kind.COPY) == 2.0


def test_a_short_run_does_not_load_numpy() -> None:
    script = (
        "import sys; from hpcp_mpi.scheduling.cost_model import *; weights = CostModel(2.0, 8000, 2**29)\n"
        f"for _ in range({10 * ENOUGH}): weights.learn(Kind.COPY, 100, 0, 0.03)\n"
        "assert 'numpy' not in sys.modules\n"
        f"for _ in range({ENOUGH}): weights.learn(Kind.COPY, 100, 0, 1.0)\n"
        "assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
