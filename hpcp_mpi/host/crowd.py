"""Many calls at once where each of them waits: a directory on a distant file system, asked for entry by entry.

Two calls tell how long they take. On a local file system it is microseconds, and threads would only be in each other's
way; over a network it is milliseconds, and sixty calls wait as long as one.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hpcp_mpi.host.latency import SLOW

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_PROBES = 2  # calls that tell; one alone may have waited for a CPU
_FEW = 5  # calls that are not worth it
_THREADS = 64
_START = 0.00005  # seconds of CPU that it takes to have a thread begin

T = TypeVar("T")


class Crowd:
    """Threads of this process for short calls. They are started when they are first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def gains(self, call: Callable[[T], object], probes: Sequence[T]) -> float:
        """Return how long call takes, if so long for each of the probes that threads would gain; else 0.

        It raises nothing.
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

        If it does not gain, call may have been called for the first items, and the caller goes its own way.
        """
        if len(items) < _FEW or not (seconds := self.gains(call, items[:_PROBES])):
            return False
        self.all(call, items[_PROBES:], seconds)
        return True

    def all(self, call: Callable[[T], object], items: Sequence[T], seconds: float) -> None:
        """Call for each item, many at once and in any order. call raises nothing, and takes about so many seconds."""
        rest = iter(items)  # one for all: the interpreter hands out each item once

        def some() -> None:
            for item in rest:
                call(item)

        # More threads wait less and take longer to begin: both together take least time with so many.
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
