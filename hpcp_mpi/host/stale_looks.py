"""Looking again while this node may still be shown what another one has changed.

A client of a network file system remembers names and attributes for a while (a second with FUSE's usual settings), and
no call makes it forget them. So what looks wrong, where this run knows that it is right, is looked at again until
that while is over. All who doubt meanwhile wait together. Nothing waits where all ranks share one kernel's file system,
or where nothing looks wrong; where much is really wrong, waiting takes at most half of the time.
"""

import threading
import time
from collections.abc import Callable, Iterator

_FIRST_PAUSE = 0.05  # seconds


class StaleLooks:
    """For how long looks at what other nodes wrote may be stale. Thread-safe."""

    def __init__(self, seconds: float, stopped: Callable[[], bool]) -> None:
        """seconds: for how long a client may remember; 0: not at all. stopped: the run is ending, nobody waits."""
        self._seconds = seconds
        self._stopped = stopped
        self._guard = threading.Lock()
        self._phase: object = None
        self._began = time.monotonic()
        self._over = float("-inf")  # when those who doubt now have waited long enough

    def begin(self, phase: object) -> None:
        """Note that a phase has begun: what earlier ones have waited for tells nothing of what they wrote."""
        if phase != self._phase:
            with self._guard:
                self._phase, self._over = phase, float("-inf")

    def each(self) -> Iterator[None]:
        """Yield for a look, and then for further ones."""
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
        """Wait until nothing that was written before this job began is shown, or told to the servers, late."""
        if self._seconds:
            self._sleep(self._began + self._seconds - time.monotonic())

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
