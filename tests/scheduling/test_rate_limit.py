"""The rate limiter never grants more than time allows, whatever is requested, and whenever."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.messages import Grant, Hello, Progress, Reclaimed
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.scheduling.rate_limit import OUT, SHARE, RateLimiter
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import NOTHING, one_file
from hpcp_mpi.vocab.units import Batch, BigFile, Chunk, Kind, Unit, Units
from tests.scheduling.simulation import batch_of

RATE = 1000.0  # bytes a second

times = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2000), st.booleans()), max_size=50)


@given(times)
def test_never_more_than_the_rate_but_for_one_grant(steps: list[tuple[float, int, bool]]) -> None:
    """All grants but the last are paid by the time since the beginning, at any moment."""
    bucket, now, granted, last = RateLimiter(RATE, 0), 0.0, 0, 0
    bucket.advance(now)
    for pause, amount, done in steps:
        now += pause
        bucket.advance(now)
        if Kind.COPY not in bucket.closed:
            bucket.grant(Kind.COPY, 1, amount)
            granted, last = granted + amount, amount
            if done:
                bucket.done(Kind.COPY, 1, amount)
        assert granted - last <= RATE * now + 1e-6


def test_time_in_which_nobody_asked_is_not_made_up_for() -> None:
    bucket = RateLimiter(RATE, 0)
    bucket.advance(0)
    bucket.advance(1000)
    granted = 0
    while Kind.COPY not in bucket.closed:
        bucket.grant(Kind.COPY, 1, 1)
        bucket.done(Kind.COPY, 1, 1)
        granted += 1
    assert granted == RATE * SHARE


def test_workers_that_are_held_up_are_not_given_ever_more() -> None:
    bucket, granted = RateLimiter(RATE, 0), 0
    for tick in range(10_000):
        bucket.advance(tick / 100)
        if Kind.COPY not in bucket.closed:
            bucket.grant(Kind.COPY, 1, 100)
            granted += 100
    assert granted <= OUT * RATE + 100


def test_a_big_file_leaves_a_debt_that_time_pays() -> None:
    bucket = RateLimiter(RATE, 0)
    bucket.advance(0)
    bucket.advance(0.1)
    bucket.grant(Kind.COPY, 1, 10_000)
    bucket.done(Kind.COPY, 1, 10_000)
    bucket.advance(9.9)
    assert Kind.COPY in bucket.closed
    bucket.advance(10.2)
    assert not bucket.closed


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = RateLimiter(RATE, 0)
    for now in (5.0, 0.0, 5.0):
        bucket.advance(now)
    assert Kind.COPY in bucket.closed


def test_what_is_given_back_can_be_granted_again() -> None:
    bucket = RateLimiter(RATE, 10)
    bucket.advance(0)
    bucket.advance(0.1)
    batch = batch_of([1, 2], [5000, 5000])
    bucket.grant(Kind.COPY, 2, 10_000)
    assert bucket.closed
    bucket.give_back([batch])
    assert not bucket.closed


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.CHECK, Kind.SET_DIR_METADATA, Kind.FINISH_FILE, Kind.LINK])
def test_what_copies_nothing_is_free(kind: Kind) -> None:
    bucket = RateLimiter(RATE, 1)
    bucket.advance(0)
    assert kind not in bucket.closed
    bucket.grant(kind, 1000, 10**9)
    bucket.advance(0.1)
    assert not bucket.closed


def test_a_file_in_ranges_counts_once() -> None:
    bucket = RateLimiter(0, 1)
    bucket.advance(0)
    bucket.advance(0.2)
    bucket.grant(Kind.START_FILE, 1, 0)
    assert bucket.closed == {Kind.COPY, Kind.START_FILE}, "its ranges go on"
    bucket.done(Kind.START_FILE, 1, 0)
    bucket.advance(2)
    assert not bucket.closed
    bucket.grant(Kind.RANGE, 100, 10**9)
    bucket.grant(Kind.FINISH_FILE, 1, 0)
    assert not bucket.closed


def test_its_bytes_count_with_its_ranges_and_when_there_are_none_left_it_is_finished_nevertheless() -> None:
    bucket = RateLimiter(RATE, 0)
    bucket.advance(0)
    bucket.advance(0.1)
    bucket.grant(Kind.RANGE, 1, 10**6)
    assert bucket.closed == {Kind.COPY, Kind.RANGE}


# --- with the planner


def limited(bytes_per_second: float, files_per_second: float, slots: int = 4) -> Planner:
    weights = CostModel(1.0, 10**6, 10**9)
    planner = Planner(Backlog(weights), weights, 1.0, limiter=RateLimiter(bytes_per_second, files_per_second))
    planner.receive(1, Hello("here", slots))
    return planner


def granted(planner: Planner) -> list[Chunk]:
    chunks = [chunk for _, message in planner.outbox if isinstance(message, Grant) for chunk in message.chunks]
    planner.outbox.clear()
    return chunks


def finish(planner: Planner, chunks: list[Chunk]) -> None:
    results = tuple((chunk.number, Outcome(seconds=0.001)) for chunk in chunks)
    planner.receive(1, Progress(results, 0.0, chunks[-1].number, True))


@given(
    st.floats(1000, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(1, 100),
    st.floats(0.001, 0.5),
)  # fmt: skip
def test_a_planner_grants_everything_once_and_no_faster(rate: float, sizes: list[int], slots: int, step: float) -> None:
    planner, now, done, names = limited(rate, 0, slots), 0.0, 0, []
    planner.tick(now)
    planner.add([batch_of(list(range(len(sizes))), sizes)])
    for _ in range(100_000):
        chunks = granted(planner)
        if chunks:
            amount = sum(chunk.amount for chunk in chunks)
            done += amount
            assert done - max(size for size in sizes) - rate * SHARE <= rate * now + 1e-3
            names += [unit.name for chunk in chunks for batch in chunk.batches for unit in batch.units]
            finish(planner, chunks)
        elif planner.idle:
            break
        now += max(step, sum(sizes) / rate / 1000)
        planner.tick(now)
    assert sorted(names) == sorted(b"%d" % number for number in range(len(sizes)))


def test_checks_go_on_while_copies_wait() -> None:
    planner = limited(1, 0)
    planner.tick(0)
    planner.add([batch_of([1], [10**6])])
    planner.tick(1)
    first = granted(planner)
    assert [batch.kind for chunk in first for batch in chunk.batches] == [Kind.COPY]
    planner.add(
        [
            batch_of([2], [10**6]),
            batch_of([3], [10], Kind.CHECK),
            Batch(Kind.LIST, 0, b"", b"", first[0].batches[0].units),
        ]
    )
    assert {batch.kind for chunk in granted(planner) for batch in chunk.batches} == {Kind.CHECK, Kind.LIST}
    finish(planner, first)
    assert granted(planner) == [] and not planner.idle
    planner.tick(10**7)
    assert [batch.kind for chunk in granted(planner) for batch in chunk.batches] == [Kind.COPY]


def big_file(name: bytes, ranges: int, kind: Kind = Kind.RANGE, size: int = 1000) -> Batch:
    starts = [Unit(b"%d" % (at * size), NOTHING, size) for at in range(ranges)]
    units = starts if kind is Kind.RANGE else [Unit(name, one_file(ranges * size))]
    return Batch(kind, 0, b"", b"", Units.of(units), big=BigFile(name, name, ranges * size, b"stage." + name, ()))


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 3), st.randoms(use_true_random=False),
    st.sampled_from([0.0, 500.0, 2000.0]),
)  # fmt: skip
def test_big_files_get_their_names_one_after_the_other_and_none_waits_for_another_ones_bytes(
    files: list[int], slots: int, chance: Random, rate: float
) -> None:
    """Whatever sizes they have and whenever they come: no range is granted while a file begun before has others."""
    planner = limited(rate, 0, slots)
    coming = [big_file(b"%d" % number, ranges) for number, ranges in enumerate(files)]
    whole = dict(enumerate(files))
    ungranted, left, named = dict(whole), dict(whole), []
    out: list[Chunk] = []

    def take() -> None:
        for chunk in granted(planner):
            out.append(chunk)
            for number, batch in ((int(batch.big.name), batch) for batch in chunk.batches if batch.big is not None):
                if batch.kind is Kind.RANGE:
                    begun = [each for each, count in ungranted.items() if 0 < count < whole[each]]
                    assert begun in ([], [number])
                    ungranted[number] -= len(batch.units)

    def end(chunk: Chunk) -> None:
        finish(planner, [chunk])
        take()
        for number, batch in ((int(batch.big.name), batch) for batch in chunk.batches if batch.big is not None):
            if batch.kind is Kind.FINISH_FILE:
                named.append(number)
                continue
            left[number] -= len(batch.units)
            if not left[number]:
                room = len(out) < 2 * slots
                planner.add([big_file(b"%d" % number, whole[number], Kind.FINISH_FILE)])
                take()
                assert not room or out[-1].batches[0].kind is Kind.FINISH_FILE, "it waits for bytes of other files"

    for step in range(10_000):
        planner.tick(step / 20)
        if coming and chance.random() < 0.3:
            planner.add([coming.pop()])
        take()
        if out and chance.random() < 0.5:
            end(out.pop(chance.randrange(len(out))))
        if len(named) == len(files):
            break
    assert sorted(named) == sorted(whole)


def test_what_a_rank_gives_back_is_not_paid_twice() -> None:
    planner = limited(10**6, 0)
    planner.tick(0)
    planner.tick(0.1)
    planner.add([batch_of([1, 2], [10**5, 10**5])])
    chunks = granted(planner)
    batches = tuple(batch for chunk in chunks for batch in chunk.batches)
    planner.receive(2, Hello("there", 4))
    planner.receive(1, Reclaimed(((chunks[0].number, batches[:1]),), 0.0, chunks[-1].number, False))
    # It had all been paid: it is dealt out again at once.
    assert sum(chunk.amount for chunk in granted(planner)) == batches[0].amount


def test_chunks_are_a_fraction_of_a_second_each() -> None:
    planner = limited(10**6, 0, slots=1)
    planner.tick(0)
    planner.add([batch_of(list(range(1000)), [10_000] * 1000)])
    sizes = []
    for tick in range(1, 2000):
        planner.tick(tick / 100)
        for chunk in granted(planner):
            sizes.append(chunk.amount)
            finish(planner, [chunk])
    assert sum(sizes) == 10**7 and max(sizes) <= SHARE * 10**6 + 10_000
