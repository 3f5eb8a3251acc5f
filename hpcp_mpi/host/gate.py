"""How many threads of this process may make system calls at once, and gain by it?

On a fast file system one thread does as much as the interpreter can, and more of them only fight for its lock. On a
slow one every call waits, and sixty threads wait for sixty calls at once. The process's own CPU time tells which it is.
"""

import threading
import time
from types import TracebackType

_BUSY = 0.75  # of a core: beyond that another thread gains nothing
_AT_FIRST = 8  # threads
_LOOK = 0.02  # seconds between looks at the CPU time


class CpuWatch:
    """Tells now and then whether this process waits or computes."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new look."""
        self._looked = (time.monotonic(), time.process_time())

    def waiting(self) -> bool | None:
        """Return whether the process mostly waited since the last look; None when that is too short ago."""
        now, cpu = time.monotonic(), time.process_time()
        elapsed = now - self._looked[0]
        if elapsed < _LOOK:
            return None
        waited = (cpu - self._looked[1]) / elapsed < _BUSY
        self._looked = (now, cpu)
        return waited


class Gate:
    """Lets as many threads in at once as gain by it: twice as many while the process waits, half while it computes."""

    def __init__(self, most: int, at_first: int = _AT_FIRST) -> None:
        self._most = most
        self._limit = min(most, at_first)
        self._inside = 0
        self._outside = 0  # threads that want to come in
        self._changed = threading.Condition()
        self._watch = CpuWatch()

    def __enter__(self) -> None:
        with self._changed:
            self._outside += 1
            while self._inside >= self._limit:
                # Not for ever: that the one inside waits can only be seen from out here.
                self._changed.wait(_LOOK)
                self._adapt()
            self._outside -= 1
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._inside -= 1
            self._adapt()
            self._changed.notify_all()

    def _adapt(self) -> None:
        if not self._outside:
            self._watch.restart()
            return
        waiting = self._watch.waiting()
        if waiting is None:
            return
        self._limit = min(self._most, 2 * self._limit) if waiting else max(1, self._limit // 2)
        self._changed.notify_all()
