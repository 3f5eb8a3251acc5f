"""Threads for system calls, used only where calls are slow enough to gain by them.

On a fast file system one thread does as much as the interpreter can, and more of them only fight for its lock. On a
slow one every call waits, and sixty threads wait for sixty calls at once. The time of a call shows which it is. CPU
time does not: a process that shares its CPUs with other ranks looks as if it waited for a file system. (It was tried:
on two cores with four busy ranks, rank 0 had 130 threads and listed half as fast.)

AdaptiveGate limits threads that exist anyway; ParallelCalls has its own threads for many short calls, and measures
the first two of these.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

SLOW = 0.0003  # seconds of a call from which threads gain
_LAST = 4  # calls of which one that is fast counts
_AGAIN = 0.02  # seconds between two checks of a waiting thread


class Latency:
    """The times of the last few calls. The shortest counts, as any of them may have waited for a CPU."""

    def __init__(self) -> None:
        self.slow = False
        self._more = 1  # slow calls that are to come until all of the last few were slow

    def note(self, seconds: float) -> None:
        """Record how long a call took."""
        if seconds < SLOW:
            self.slow, self._more = False, _LAST
        elif not self.slow:
            self._more -= 1
            self.slow = not self._more

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record how long the `with` block takes."""
        began = time.perf_counter()
        yield
        self.note(time.perf_counter() - began)


class AdaptiveGate:
    """A gate that lets in one thread at a time, and many where the file system is slow.

    The one has a plain lock: who waits for it sleeps in the kernel, and need not run to learn that another was faster.
    """

    def __init__(self, most: int, slow: Callable[[], bool]) -> None:
        """most: threads inside. slow: returns whether calls take long."""
        self._slow = slow
        self._first = threading.Lock()  # of the thread that always may be inside
        self._others = threading.Semaphore(most - 1)
        self._owner = 0  # the thread that has the lock

    def __enter__(self) -> None:
        while not self._first.acquire(blocking=False):
            # Not for ever: the threads inside find out that calls take long.
            if self._slow():
                if self._others.acquire(timeout=_AGAIN):
                    return
            elif self._first.acquire(timeout=_AGAIN):
                break
        self._owner = threading.get_ident()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._owner == threading.get_ident():
            self._owner = 0
            self._first.release()
        else:
            self._others.release()


_PROBES = 2  # calls that are measured; one alone may have waited for a CPU


_FEW = 5  # with fewer calls, threads do not gain


_THREADS = 64


_START = 0.00005  # seconds of CPU to start a thread


T = TypeVar("T")


class ParallelCalls:
    """A pool of threads for short calls, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def gains(self, call: Callable[[T], object], probes: Sequence[T]) -> float:
        """Return the seconds that call takes, if each of the probes takes so long that threads would gain; else 0.

        call: raises nothing
        """
        shortest = math.inf if probes else 0.0
        for probe in probes:
            began = time.perf_counter()
            call(probe)
            shortest = min(shortest, time.perf_counter() - began)
            if shortest < SLOW:
                return 0.0
        return shortest

    def each(self, call: Callable[[T], object], items: Sequence[T]) -> bool:
        """Call for each item, many at once and in any order, if that gains; return whether it did. call raises nothing.

        If it does not gain, call may have been called for the first items, and the caller does the work.
        """
        if len(items) < _FEW or not (seconds := self.gains(call, items[:_PROBES])):
            return False
        self.all(call, items[_PROBES:], seconds)
        return True

    def all(self, call: Callable[[T], object], items: Sequence[T], seconds: float) -> None:
        """Call for each item, many at once and in any order. seconds: about what one call takes; it raises nothing"""
        rest = iter(items)  # shared by all threads: the interpreter hands out each item once

        def some() -> None:
            for item in rest:
                call(item)

        # More threads wait less and take longer to start: this number minimises the sum.
        enough = math.ceil(math.sqrt(len(items) * seconds / _START))
        for each in [self._threads().submit(some) for _ in range(min(_THREADS, len(items), enough))]:
            each.result()

    def _threads(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor  # most runs never need it

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "crowd")
            return self._pool

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
