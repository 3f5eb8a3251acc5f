"""The time that is left is about right from a third of a run on, whatever comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from hpcp_mpi.engine.progress_meter import Counted, ProgressMeter
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally

MIB = 1 << 20


def small(count: int, chance: Random) -> list[int]:
    return [int(chance.lognormvariate(9.5, 1.2)) for _ in range(count)]


def big(count: int, chance: Random) -> list[int]:
    return [int(chance.uniform(50, 400) * MIB) for _ in range(count)]


def counted(seconds: float, done: Tally, found: Tally, guess: float, rate: int) -> Counted:
    limits = {"entry_bytes": guess, "rates": (rate, 0)}
    return Counted("copying", found, True, Outcome(copied=done), 1, 1, seconds, **limits)  # type: ignore[arg-type]


ORDERS: dict[str, Callable[[Random], list[list[int]]]] = {
    "many small ones, then big ones": lambda chance: [small(12_000, chance), big(30, chance)],
    "big ones, then many small ones": lambda chance: [big(30, chance), small(12_000, chance)],
    "mixed": lambda chance: [chance.sample([*small(12_000, chance), *big(30, chance)], 12_030)],
    "only small ones": lambda chance: [small(25_000, chance)],
    "only big ones": lambda chance: [big(60, chance)],
}


def played(
    sizes: list[int], entry: float, byte: float, noise: float, chance: Random
) -> Iterator[tuple[float, int, float]]:
    """Yield (seconds, files, bytes) twice a second of a copy; bytes of a file under way count, and it is noisy."""
    now, due, files, done = 0.0, 0.5, 0, 0.0
    for size in sizes:
        took = (entry + size * byte) * chance.lognormvariate(0, noise)
        while due <= now + took:
            yield due, files, done + size * (due - now) / took
            due += 0.5
        now, files, done = now + took, files + 1, done + size
    yield now, files, done


def told(
    order: str, seed: int, entry: float, byte: float, guess: float, rate: int = 0, noise: float = 0.15
) -> list[tuple[float, float]]:
    """Return (seconds, the end as it was estimated then) of a simulated copy."""
    chance = Random(seed)
    sizes = [size for part in ORDERS[order](chance) for size in part]
    found = Tally(len(sizes), bytes=sum(sizes))
    meter, ends = ProgressMeter(), []
    for seconds, files, done in played(sizes, entry, byte, noise, chance):
        now = meter.read(counted(seconds, Tally(files, bytes=int(done)), found, guess, rate))
        ends.append((seconds, seconds + (now.remaining or 0.0)))
    return ends


def near(guess: float, seconds: float, end: float) -> None:
    """Assert that an estimate is within a fifth of what is left. Of the last files each may take somewhat longer."""
    assert guess == pytest.approx(end, abs=max(0.2 * (end - seconds), 0.02 * end)), f"at {seconds} of {end}"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(2))
def test_from_a_third_of_a_run_on_the_time_left_is_within_a_fifth(order: str, seed: int) -> None:
    """Costs of a parallel file system: 4 ms an entry, 100 MB/s, so an entry takes as long as 400,000 bytes.

    Of what no example was seen only the guess tells how long it takes; that it is about right is the cost model's task.
    """
    ends = told(order, seed, 0.004, 1e-8, 370 * 1024)
    end = ends[-1][0]
    for seconds, guess in ends:
        if end / 3 <= seconds:
            near(guess, seconds, end)


@pytest.mark.parametrize("order", ORDERS)
def test_a_limited_rate_is_known(order: str) -> None:
    """Entries are done beside the bytes that have to wait."""
    ends = told(order, 1, 1e-5, 2e-8, 1000.0, rate=50_000_000, noise=0.03)
    end = ends[-1][0]
    for seconds, guess in ends:
        if end / 3 <= seconds:
            near(guess, seconds, end)


def test_a_wrong_guess_is_forgotten_as_soon_as_both_are_seen() -> None:
    ends = told("mixed", 5, 0.004, 1e-8, 4 * MIB)
    end = ends[-1][0]
    for seconds, guess in ends:
        if end / 3 <= seconds:
            near(guess, seconds, end)
