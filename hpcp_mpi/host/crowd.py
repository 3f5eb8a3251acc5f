"""Many calls at once where each of them waits: a directory on a distant file system, asked for entry by entry.

One call tells how long they take. On a local file system it is microseconds, and threads would only be in each other's
way; over a network it is milliseconds, and sixty calls wait as long as one.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_SLOW = 0.0003  # seconds of a call from which on threads gain
_FEW = 4  # calls that are not worth it
_THREADS = 64

T = TypeVar("T")


class Crowd:
    """Threads of this process for short calls. They are started when they are first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def gains(self, call: Callable[[T], object], probes: Sequence[T]) -> bool:
        """Tell whether threads would gain: call takes long for at least one of the probes. It raises nothing."""
        for probe in probes:
            began = time.monotonic()
            call(probe)
            if time.monotonic() - began >= _SLOW:
                return True
        return False

    def each(self, call: Callable[[T], object], items: Sequence[T]) -> bool:
        """Call for each item, many at once and in any order, if that gains; return whether it did. call raises nothing.

        If it does not gain, call may have been called for the first item, and the caller goes its own way.
        """
        if len(items) < _FEW or not self.gains(call, items[:1]):
            return False
        self.all(call, items[1:])
        return True

    def all(self, call: Callable[[T], object], items: Sequence[T]) -> None:
        """Call for each item, many at once and in any order. call raises nothing."""
        for _ in self._threads().map(call, items):
            pass

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
