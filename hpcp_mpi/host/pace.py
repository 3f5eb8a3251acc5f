"""A pace: so many a second, for all threads that share it."""

import threading
import time
from collections.abc import Callable

_AHEAD = 0.25  # seconds for which is taken at once, and of idle time that is made up for
_STEP = 0.1  # seconds between checks whether the run is ending


class Pace:
    """Lets so many pass in a second. Thread-safe."""

    def __init__(self, rate: float) -> None:
        """rate: a second, more than 0"""
        self._rate = rate
        self._lock = threading.Lock()
        self._next = time.monotonic()

    @property
    def together(self) -> int:
        """The number that may be taken at once."""
        return max(1, int(self._rate * _AHEAD))

    def take(self, count: int, check: Callable[[], None]) -> None:
        """Wait until so many may pass. check: called while it waits; what it raises ends the waiting"""
        with self._lock:
            begin = max(self._next, time.monotonic() - _AHEAD)
            self._next = begin + count / self._rate
        while (left := begin - time.monotonic()) > 0:
            check()
            time.sleep(min(_STEP, left))
