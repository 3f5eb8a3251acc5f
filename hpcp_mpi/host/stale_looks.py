"""Repeated look-ups while this node may still see old state after another node's change.

A client of a network file system caches names and attributes for a while (a second with FUSE's usual settings), and no
call makes it drop them. So an entry that looks wrong, where this run knows that it is right, is looked up again until
that while is over. All threads in doubt wait together. Nothing waits where all ranks share one kernel's file system, or
where nothing looks wrong; where much is really wrong, waiting takes at most half of the time.
"""

import threading
import time
from collections.abc import Callable, Iterator

_FIRST_PAUSE = 0.05  # seconds


class StaleLooks:
    """The time during which look-ups of what other nodes wrote may be stale. Thread-safe."""

    def __init__(self, seconds: float, stopped: Callable[[], bool]) -> None:
        """seconds: of a client's cache; 0: no cache. stopped: returns whether the run is ending, to stop waiting."""
        self._seconds = seconds
        self._stopped = stopped
        self._guard = threading.Lock()
        self._phase: object = None
        self._began = time.monotonic()
        self._over = float("-inf")  # when the threads in doubt now have waited long enough

    def begin(self, phase: object) -> None:
        """Record that a phase has begun: waits during earlier phases do not cover all that these wrote."""
        if phase != self._phase:
            with self._guard:
                self._phase, self._over = phase, float("-inf")

    def each(self) -> Iterator[None]:
        """Yield for each look: the first one, and then further ones."""
        yield
        yield from self.further()

    def further(self) -> Iterator[None]:
        """Yield, after pauses, for each look that is worth it because the one before may have been stale."""
        if not self._seconds:
            return
        with self._guard:
            now = time.monotonic()
            if now > self._over + self._seconds:
                self._over = now + self._seconds
            over = self._over
        pause = _FIRST_PAUSE
        while (left := over - time.monotonic()) > 0 and not self._stopped():
            self._sleep(min(pause, left))
            pause *= 2
            yield

    def wait_for_earlier_runs(self) -> None:
        """Wait until every node sees what was written before this job began."""
        if self._seconds:
            self._sleep(self._began + self._seconds - time.monotonic())

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
