"""Parallel calls: many short ones at once, where each of them waits."""

from __future__ import annotations

import threading
import time

import pytest

from hpcp_mpi.host.latency import ParallelCalls


@pytest.mark.parametrize("count", [1, 5, 63, 1000])
def test_each_item_is_called_for_once(count: int) -> None:
    crowd, seen = ParallelCalls(), []
    crowd.all(seen.append, range(count), 0.001)
    crowd.close()
    assert sorted(seen) == list(range(count))


def test_calls_that_take_long_are_made_at_once_and_short_ones_are_left_to_the_caller() -> None:
    crowd, threads = ParallelCalls(), set()

    def wait(item: int) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.002)

    assert crowd.each(wait, range(200)) and len(threads) > 8
    assert not crowd.each(lambda item: None, range(200))
    crowd.close()


def test_the_longer_calls_take_the_more_threads_begin() -> None:
    for seconds, least, most in ((0.0004, 2, 32), (1.0, 64, 64)):
        crowd, threads, together = ParallelCalls(), set(), threading.Barrier(least)

        def call(item: int, threads: set[int] = threads, together: threading.Barrier = together) -> None:
            if len(threads) < together.parties and threading.get_ident() not in threads:
                threads.add(threading.get_ident())
                together.wait(30)
            threads.add(threading.get_ident())

        crowd.all(call, range(100), seconds)
        crowd.close()
        assert least <= len(threads) <= most
