"""Who lives: ranks tell each other now and then, and whoever is silent for long is taken for lost.

MPI libraries do not tell: with MPICH and under srun nobody is told of a rank that is gone. Whoever tells is a thread,
so a rank may be busy for as long as it likes; a process that is stopped, or a node that is cut off, is silent.

A rank that does not hear rank 0 leaves before rank 0 takes it for lost: what it was doing is somebody else's then.
"""

import threading
import time
from collections.abc import Callable, Iterable

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.scheduling.messages import Heartbeat

DEFAULT = 60.0  # seconds of silence, as long as rank 0 has named no others
EARLIER = 0.8  # of those, after which a worker leaves
_BEATS = 6  # in that time
_LOOK = 0.02  # of it between two looks at who is silent, where they are many
_FEW = 16
_STEP = 0.2  # seconds between two looks at the clock
_LISTENING = 1.0  # seconds between two looks; in a longer time nobody has listened


class FailureDetector:
    """Who was heard of when. Time counts only while somebody listens: what has come meanwhile waits to be read."""

    def __init__(self, timeout: float, ranks: Iterable[int], now: float) -> None:
        """timeout: seconds of silence; 0: nobody is ever taken for lost. now: seconds of any clock"""
        self._timeout = timeout
        self._listened = 0.0
        self._now = now
        self._heard = dict.fromkeys(ranks, 0.0)
        self._looked = 0.0
        self.quiet: frozenset[int] = frozenset()  # who was silent for half of the time: they will hardly hear, either

    def heard(self, rank: int) -> None:
        """Take note that a rank lives."""
        if rank in self._heard:
            self._heard[rank] = self._listened

    def silent(self, now: float) -> list[int]:
        """Return who has been silent for too long, each once. Called often; there may be a thousand ranks."""
        passed, self._now = now - self._now, now
        self._listened += min(passed, _LISTENING)
        if not self._timeout or (len(self._heard) > _FEW and self._listened - self._looked < self._timeout * _LOOK):
            return []
        self._looked = self._listened
        since = {rank: self._listened - heard for rank, heard in self._heard.items()}
        self.quiet = frozenset(rank for rank, seconds in since.items() if seconds > self._timeout / 2)
        silent = [rank for rank, seconds in since.items() if seconds > self._timeout]
        for rank in silent:
            del self._heard[rank]
        return silent


class HeartbeatSender:
    """A thread that tells other ranks that this one lives. stalled: this process was stopped for too long itself."""

    def __init__(self, wire: Wire, others: Callable[[], Iterable[int]]) -> None:
        """others: who is told"""
        self._wire = wire
        self._others = others
        self._ended = threading.Event()
        self.stalled = False
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)
        if wire.fallible:
            self._thread.start()

    def end(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        told = began = time.monotonic()
        # In short steps: how long silence may last is told by rank 0, some time after this thread was started.
        while not self._ended.wait(_STEP):
            timeout, before, began = self._wire.heartbeat, began, time.monotonic()
            if timeout and began - before > EARLIER * timeout:
                self.stalled = True
                self._wire.wake()
            if timeout and began - told > timeout / _BEATS:
                told = began
                for rank in self._others():
                    self._wire.send(rank, Heartbeat())
