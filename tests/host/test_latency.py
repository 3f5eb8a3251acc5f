"""The gate for threads: it lets in as many at once as gain by it."""

import threading

from hpcp_mpi.host.latency import SLOW, AdaptiveGate, Latency


class Crowd:
    """Threads that enter a gate and stay until they are let out."""

    def __init__(self, gate: AdaptiveGate, count: int) -> None:
        self.inside = 0
        self.most = 0
        self.changed = threading.Condition()
        self.out = threading.Event()
        self._gate = gate
        self.threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _visit(self) -> None:
        with self._gate:
            with self.changed:
                self.inside += 1
                self.most = max(self.most, self.inside)
                self.changed.notify_all()
            self.out.wait(30)
            with self.changed:
                self.inside -= 1

    def join(self) -> None:
        self.out.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


def slow() -> bool:
    return True


def fast() -> bool:
    return False


def test_where_calls_take_long_all_who_want_to_come_in_get_in() -> None:
    crowd = Crowd(AdaptiveGate(8, slow), 8)
    with crowd.changed:
        assert crowd.changed.wait_for(lambda: crowd.inside == 8, 30)
    crowd.join()


def test_never_more_than_the_most_are_inside_and_everyone_gets_in_at_last() -> None:
    crowd = Crowd(AdaptiveGate(3, slow), 9)
    with crowd.changed:
        assert crowd.changed.wait_for(lambda: crowd.inside == 3, 30)
    crowd.join()
    assert crowd.most == 3


def test_where_calls_are_fast_one_at_a_time_is_inside() -> None:
    crowd = Crowd(AdaptiveGate(8, fast), 6)
    with crowd.changed:
        assert crowd.changed.wait_for(lambda: crowd.inside == 1, 30)
    crowd.join()
    assert crowd.most == 1


def test_a_thread_that_raises_inside_makes_room_for_the_next() -> None:
    gate = AdaptiveGate(1, slow)
    for _ in range(3):
        try:
            with gate:
                raise ValueError
        except ValueError:
            pass
    with gate:
        pass


def test_calls_are_slow_when_even_the_shortest_of_the_last_few_is() -> None:
    latency = Latency()
    assert not latency.slow  # nothing is known
    for seconds in (9.0, 9.0, SLOW):
        latency.note(seconds)
        assert latency.slow
    with latency.noted():
        pass
    assert not latency.slow
    for seconds in (9.0, 9.0, SLOW, 9.0):
        assert not latency.slow
        latency.note(seconds)
    assert latency.slow
