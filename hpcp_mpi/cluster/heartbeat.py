"""Heartbeats between ranks, sent and watched on every rank; a rank that is silent for long is lost.

MPI libraries do not report lost ranks: neither MPICH nor srun does. A thread sends the heartbeats, so a rank may be
busy for as long as it likes; a process that is stopped, or a node that is cut off, is silent.

A worker that gets nothing from rank 0 leaves before rank 0 takes it for lost: then another rank gets its work.
"""

import threading
import time
from collections.abc import Callable, Iterable

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.scheduling.messages import Heartbeat

DEFAULT = 60.0  # seconds of silence, until rank 0 has sent the run's own timeout
EARLIER = 0.8  # share of the timeout after which a worker leaves
_BEATS = 6  # heartbeats within the timeout
_LOOK = 0.02  # share of the timeout between two checks for silent ranks, if there are more than _FEW
_FEW = 16
_STEP = 0.2  # seconds between two looks at the clock
_LISTENING = 1.0  # seconds between two checks that count at most: in a longer time this rank did not listen


class FailureDetector:
    """The time of each rank's last message. It counts only while this rank receives: other messages wait unread."""

    def __init__(self, timeout: float, ranks: Iterable[int], now: float) -> None:
        """timeout: seconds of silence; 0: no rank is ever lost. now: seconds of any clock"""
        self._timeout = timeout
        self._listened = 0.0
        self._now = now
        self._last_message = dict.fromkeys(ranks, 0.0)
        self._looked = 0.0
        self.quiet: frozenset[int] = frozenset()  # silent for half of the timeout: they will hardly receive, either

    def record_alive(self, rank: int) -> None:
        """Record that a rank is alive."""
        if rank in self._last_message:
            self._last_message[rank] = self._listened

    def silent(self, now: float) -> list[int]:
        """Return the ranks silent for too long, each once. Called often; there may be a thousand ranks."""
        passed, self._now = now - self._now, now
        self._listened += min(passed, _LISTENING)
        if not self._timeout or (
            len(self._last_message) > _FEW and self._listened - self._looked < self._timeout * _LOOK
        ):
            return []
        self._looked = self._listened
        since = {rank: self._listened - last for rank, last in self._last_message.items()}
        self.quiet = frozenset(rank for rank, seconds in since.items() if seconds > self._timeout / 2)
        silent = [rank for rank, seconds in since.items() if seconds > self._timeout]
        for rank in silent:
            del self._last_message[rank]
        return silent


class HeartbeatSender:
    """A thread that sends heartbeats to other ranks. stalled: this process was stopped for too long itself."""

    def __init__(self, wire: Wire, others: Callable[[], Iterable[int]]) -> None:
        """others: returns the ranks to send to"""
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
        sent = began = time.monotonic()
        # In short steps: rank 0 sends the timeout some time after this thread was started.
        while not self._ended.wait(_STEP):
            timeout, before, began = self._wire.heartbeat, began, time.monotonic()
            if timeout and began - before > EARLIER * timeout:
                self.stalled = True
                self._wire.wake()
            if timeout and began - sent > timeout / _BEATS:
                sent = began
                for rank in self._others():
                    self._wire.send(rank, Heartbeat())
