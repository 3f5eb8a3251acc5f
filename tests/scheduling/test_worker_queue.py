"""The worker queue's decisions one by one: its bites, what it gives back, what it reports."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.scheduling.worker_queue import BITES, WorkerQueue
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, Chunk, Kind
from tests.scheduling.simulation import batch_of

MUCH = 10**12  # a bite weight that is no limit
SIZES = st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=40), min_size=1, max_size=5)


def worker_with(batches: list[Batch], seconds: float = 2.0, slots: int = 1, bite_weight: int = MUCH) -> WorkerQueue:
    worker = WorkerQueue(bite_weight, 1, slots)
    worker.grant((Chunk(1, tuple(batches)),), (seconds,))
    return worker


def names(batches: list[Batch]) -> list[bytes]:
    return [name for batch in batches for name in batch.units.names]


def bites_of(worker: WorkerQueue) -> list[list[bytes]]:
    found = []
    while (bite := worker.take()) is not None:
        found.append(names(bite[1]))
        worker.finish(bite[0], Outcome())
    return found


def test_a_bite_is_a_quarter_of_its_chunk() -> None:
    assert [len(bite) for bite in bites_of(worker_with([batch_of(list(range(100)), [9] * 100)]))] == [25] * BITES


def test_a_chunk_that_is_soon_done_is_not_divided() -> None:
    assert len(bites_of(worker_with([batch_of(list(range(100)), [9] * 100)], seconds=0.05))) == 1


def test_a_bite_is_no_heavier_than_the_bite_weight() -> None:
    worker = worker_with([batch_of(list(range(100)), [9] * 100)], bite_weight=100)
    assert [len(bite) for bite in bites_of(worker)] == [10] * 10


def test_a_bite_of_directories_to_remove_is_as_long_as_any_whatever_they_are_said_to_weigh() -> None:
    worker = worker_with([batch_of(list(range(100)), [9] * 100, Kind.REMOVE)], bite_weight=100)
    assert [len(bite) for bite in bites_of(worker)] == [25] * BITES


@given(SIZES)
def test_bites_keep_the_order_of_ranges(sizes: list[list[int]]) -> None:
    batches, first = [], 0
    for each in sizes:
        batches.append(batch_of(list(range(first, first + len(each))), each, Kind.RANGE))
        first += len(each)
    bites = bites_of(worker_with(batches))
    assert [name for bite in bites for name in bite] == names(batches)
    assert len(bites) <= 2 * BITES + len(batches)


@given(SIZES, st.integers(1, 4))
def test_about_half_is_given_back_and_the_rest_is_done(sizes: list[list[int]], slots: int) -> None:
    batches = [batch_of([100 * at + n for n in range(len(each))], each) for at, each in enumerate(sizes)]
    worker = worker_with(batches, slots=slots)
    before = worker.unstarted
    back = worker.give_back()
    given_back = [name for _, part in back.parts for name in names(list(part))]
    heaviest = max(size + 1 for each in sizes for size in each)
    pace = 2.0 / sum(size + 1 for each in sizes for size in each)
    assert back.unstarted == worker.unstarted
    assert before / 2 - heaviest * pace - 1e-9 <= back.unstarted <= before / 2 + 1e-9
    done = [name for bite in bites_of(worker) for name in bite]
    assert sorted(given_back + done) == sorted(names(batches))


def test_the_seconds_that_rank_0_expects_are_what_is_left() -> None:
    worker = worker_with([batch_of(list(range(100)), [9] * 100)], seconds=8.0)
    assert worker.unstarted == 6.0


def test_what_a_bite_found_is_told_before_its_chunk_is_done() -> None:
    worker = worker_with([batch_of(list(range(100)), [9] * 100)])
    number, _ = worker.take() or (0, [])
    found = batch_of([1000], [1])
    worker.finish(number, Outcome(new_work=[found], findings=["news"], linked=1))
    done = worker.results()
    assert done is not None and done.results == ()
    assert (done.new_work, done.findings) == ((found,), ("news",))
    assert worker.results() is None
    bites_of(worker)
    done = worker.results()
    assert done is not None and (done.new_work, done.findings) == ((), ())
    ((_, outcome),) = done.results
    assert (outcome.linked, outcome.new_work, outcome.findings) == (1, [], [])


def test_kinds_are_not_mixed_in_a_bite() -> None:
    worker = worker_with([batch_of([1], [1], Kind.CHECK), batch_of([2], [1], Kind.COPY)], seconds=0.01)
    assert bites_of(worker) == [[b"1"], [b"2"]]


def test_big_files_that_are_only_to_be_finished_go_first_and_are_finished_when_the_run_ends() -> None:
    """Until then all of one may be lost."""
    worker = worker_with([batch_of([1, 2], [50, 50], Kind.RANGE)])
    running = worker.take()
    worker.grant((Chunk(2, (batch_of([3], [50], Kind.RANGE),)),), (1.0,))
    worker.grant((Chunk(3, (batch_of([4, 5], [0, 0], Kind.FINISH_FILE),)),), (0.01,))
    assert running is not None
    worker.finish(running[0], Outcome())
    first = worker.take()
    assert first is not None and first[1][0].kind is Kind.FINISH_FILE
    worker.finish(first[0], Outcome())
    worker.grant((Chunk(4, (batch_of([6], [0], Kind.FINISH_FILE),)),), (0.01,))
    given = worker.drain()
    assert [name for _, part in given.parts for name in names(list(part))] == [b"2", b"3"]
    assert bites_of(worker) == [[b"6"]]
