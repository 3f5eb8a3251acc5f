"""The pool does every task once, pauses on request, grows only where calls take long, and ends on an error."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from hpcp_mpi.host.walk_pool import Pool

SOON = 30.0  # seconds; nothing here takes one


def slow() -> bool:
    return True


def fast() -> bool:
    return False


class Walk:
    """A walk that counts its tasks and sets an event after a number of them."""

    def __init__(self, children: Callable[[int], list[int]], total: int) -> None:
        self.seen: Counter[int] = Counter()
        self.order: list[int] = []
        self.threads: set[int] = set()
        self.done = threading.Event()
        self._children = children
        self._total = total
        self._lock = threading.Lock()

    def step(self, task: int) -> list[int]:
        with self._lock:
            self.seen[task] += 1
            self.order.append(task)
            self.threads.add(threading.get_ident())
            if self.seen.total() == self._total:
                self.done.set()
        return self._children(task)


def binary(task: int) -> list[int]:
    """A tree of 1023 nodes, as in a heap."""
    return [child for child in (2 * task, 2 * task + 1) if child < 1024]


def unexpected(error: BaseException) -> None:
    raise AssertionError("a step failed") from error


@pytest.mark.parametrize("calls", [slow, fast])
def test_every_task_is_done_once_with_one_thread_or_many(calls: Callable[[], bool]) -> None:
    walk = Walk(binary, 1023)
    pool = Pool(walk.step, unexpected, most=8, slow=calls)
    pool.add([1])
    assert walk.done.wait(SOON)
    assert walk.seen == Counter(range(1, 1024))


def test_the_last_task_found_is_done_first() -> None:
    walk = Walk(lambda task: binary(task) if task < 8 else [], 15)
    pool = Pool(walk.step, unexpected, most=1)
    pool.add([1])
    assert walk.done.wait(SOON)
    assert walk.order == [1, 2, 4, 8, 9, 5, 10, 11, 3, 6, 12, 13, 7, 14, 15]


def test_threads_are_added_where_calls_take_long() -> None:
    together = threading.Barrier(2)
    met = threading.Event()

    def step(task: int) -> list[int]:
        if task:
            together.wait(SOON)  # needs a second thread
            met.set()
            return []
        return list(range(1, 9))

    pool = Pool(step, unexpected, most=2)
    pool.add([0])
    assert met.wait(SOON)


def test_no_thread_is_added_where_calls_are_fast() -> None:
    walk = Walk(binary, 1023)
    pool = Pool(walk.step, unexpected, slow=fast)
    pool.add([1])
    assert walk.done.wait(SOON)
    assert len(walk.threads) == 1


def test_no_more_threads_than_allowed() -> None:
    walk = Walk(binary, 1023)
    pool = Pool(walk.step, unexpected, most=3)
    pool.add([1])
    assert walk.done.wait(SOON)
    assert len(walk.threads) <= 3


def test_a_held_pool_starts_nothing_and_goes_on_when_it_is_let() -> None:
    """The first step holds the pool itself, so nothing can start behind its back."""
    walk = Walk(binary, 1023)
    held = threading.Event()

    def step(task: int) -> list[int]:
        found = walk.step(task)
        if task == 1:
            pool.hold(True)
            held.set()
        return found

    pool = Pool(step, unexpected, most=4)
    pool.add([1])
    assert held.wait(SOON)
    assert not pool.exhausted
    assert walk.seen == Counter([1])
    pool.hold(True)
    pool.hold(False)
    assert walk.done.wait(SOON)
    assert walk.seen == Counter(range(1, 1024))


def test_what_a_step_raises_is_told_and_nothing_more_is_started() -> None:
    walk = Walk(binary, 10**9)
    told: list[BaseException] = []
    ended = threading.Event()

    def failed(error: BaseException) -> None:
        told.append(error)
        ended.set()

    def step(task: int) -> list[int]:
        if task == 8:
            raise ValueError("injected")
        return walk.step(task)

    pool = Pool(step, failed, most=1)
    pool.add([1])
    assert ended.wait(SOON)
    assert [str(error) for error in told] == ["injected"]
    assert walk.order == [1, 2, 4]
    assert not pool.exhausted, "what was not done is not done"


def test_an_ended_pool_starts_nothing_any_more() -> None:
    walk = Walk(binary, 1023)
    first = threading.Event()

    def step(task: int) -> list[int]:
        found = walk.step(task)
        pool.end()
        first.set()
        return found

    pool = Pool(step, unexpected, most=1)
    pool.add([1])
    assert first.wait(SOON)
    for thread in threading.enumerate():
        if thread.name.startswith("scan-"):
            thread.join(SOON)
    assert walk.order == [1]


def test_an_exhausted_pool_says_so() -> None:
    walk = Walk(lambda task: [], 3)
    pool = Pool(walk.step, unexpected)
    pool.add([1, 2, 3])
    assert walk.done.wait(SOON)
    for thread in threading.enumerate():
        if thread.name.startswith("scan-"):
            thread.join(SOON)
    assert pool.exhausted
