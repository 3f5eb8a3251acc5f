"""How many threads of this process may make system calls at once, and gain by it?

On a fast file system one thread does as much as the interpreter can, and more of them only fight for its lock. On a
slow one every call waits, and sixty threads wait for sixty calls at once. How long calls take tells which it is. CPU
time does not: a process that shares its CPUs with other ranks looks as if it waited for a file system. (It was tried:
on two cores with four busy ranks, rank 0 had 130 threads and listed half as fast.)
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

SLOW = 0.0003  # seconds of a call from which on threads gain
_LAST = 4  # calls that are remembered
_AGAIN = 0.02  # seconds after which whoever waits asks again


class Latency:
    """Whether calls take long: the shortest of the last few, as any of them may have waited for a CPU."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_LAST)

    @property
    def slow(self) -> bool:
        return bool(self._last) and min(self._last) >= SLOW

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take note of how long what is done meanwhile takes."""
        began = time.perf_counter()
        yield
        self._last.append(time.perf_counter() - began)


class Gate:
    """Lets one thread in at a time, and many where the file system is slow."""

    def __init__(self, most: int, slow: Callable[[], bool]) -> None:
        """slow: tells whether calls take long."""
        self._most = most
        self._slow = slow
        self._inside = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            while self._inside >= (self._most if self._slow() else 1):
                # Not for ever: that calls take long is found out inside.
                self._changed.wait(_AGAIN)
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()
