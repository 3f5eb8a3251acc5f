"""The loop of rank 0, the coordinator; the other ranks run `cluster.worker_loop`.

Both poll with a growing pause and are woken by their own threads, so an idle rank costs next to nothing and a slot that
becomes free waits for no other rank.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from hpcp_mpi.cluster.feed import Feed
from hpcp_mpi.cluster.heartbeat import FailureDetector
from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.cluster.transport import FIRST_PAUSE, LAST_PAUSE, Wire
from hpcp_mpi.scheduling.messages import Heartbeat, Hello, Shutdown, StartJob, StopRequested, WorkerFailed
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.vocab.errors import EXIT_FATAL, EXIT_RESUMABLE, FatalError

_WORDS = 500  # messages a second of what is under way, from all ranks together; from one of them one, at most
_LASTS = 0.1  # seconds after which a job with work in the backlog is one that lasts
_ENDED = "has ended before its work was done"  # a process of this machine: it was killed, or crashed
_FULL = 64 << 20  # bytes of memory of the backlog at which the feed is paused; it resumes at half of them


class CoordinatorLoop:
    """The message loop with which rank 0 runs one job on the workers."""

    def __init__(
        self,
        wire: Wire,
        planner: Planner,
        backlog_memory: Callable[[], int],
        stop: StopRequest,
        watch: Callable[[], None],
        heartbeat: float = 0.0,
        lost: Callable[[int, str], None] = lambda rank, why: None,
        watched: bool = True,
    ) -> None:
        """backlog_memory: returns the backlog's size in bytes. watch: called often, to show progress.

        watched: somebody wants to know how far work is that takes long

        heartbeat: seconds of silence after which a rank is lost; 0: never. lost: called with each lost rank and why
        """
        self._wire = wire
        self._heartbeat = heartbeat if wire.fallible else 0.0
        self._lost = lost
        self._pulse = FailureDetector(self._heartbeat, self._others(), time.monotonic())
        self._drained_by = 0.0  # when running work must have ended, after a request to stop; 0.0: no request
        self._planner = planner
        self._backlog_memory = backlog_memory
        self._stop = stop
        self._watch = watch
        self._watched = max(1.0, wire.size / _WORDS) if watched else 0.0
        self._ready: set[int] = set()  # ranks that said Hello
        self._together = False
        self._start = StartJob(None)
        self._told = 1  # ranks below this one were given the job
        self._lasts = math.inf  # when the job is one that lasts, if it is not done by then
        self.messages = 0

    def begin(self, job: Any, together: bool = False) -> None:
        """Send the job to every worker. Each loop runs one job; several may run one after the other.

        together: no work is granted before all workers are ready.
        """
        self._together = together
        self._wire.heartbeat = self._heartbeat
        self._pulse = FailureDetector(self._heartbeat, self._others(), time.monotonic())
        self._start = StartJob(job, self._heartbeat, self._watched)
        self._lasts = time.monotonic() + _LASTS
        self._told = 1
        self._tell_new()

    def _tell_new(self) -> None:
        """Give the job to workers that do not have it."""
        for rank in range(self._told, self._wire.size):
            if rank not in self._wire.lost:
                self._wire.send(rank, self._start)
        self._told = self._wire.size

    def _others(self) -> list[int]:
        """Return the workers that are not lost."""
        return [rank for rank in range(1, self._wire.size) if rank not in self._wire.lost]

    def drive(self, feed: Feed) -> None:
        """Run until all work of feed is done. Raises StoppedEarly, FatalError."""
        try:
            self._drive(feed)
        except StoppedEarly:
            # The last checkpoint has to contain all findings that workers reported.
            feed.on_findings(self._planner.news)
            self._planner.news = []
            raise

    def _drive(self, feed: Feed) -> None:
        pause = FIRST_PAUSE
        held = False
        while True:
            now = time.monotonic()
            moved = self._receive_all()
            self._tell_new()
            self._look_for_lost(now)
            if self._planner.news:
                feed.on_findings(self._planner.news)
                self._planner.news = []
            ready = all(rank in self._ready for rank in self._others())
            batches = [] if self._drained_by or (self._together and not ready) else feed.next_batches()
            if batches:
                self._planner.add(batches)
            self._planner.tick(now)
            if now > self._lasts and self._planner.behind:
                self._lasts = math.inf
                self._wire.recruit(self._planner.slots)
            self._stop_if_asked(now)
            self._send_all()
            held = self._drained_by > 0 or self._backlog_memory() > (_FULL // 2 if held else _FULL)
            feed.pause(held)
            self._watch()
            if ready and feed.done and self._planner.idle:
                return
            if moved or batches:
                pause = FIRST_PAUSE
                continue
            self._wire.wait(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _stop_if_asked(self, now: float) -> None:
        """Stop the run on request: start nothing more, give running work a while to end. Raises StoppedEarly."""
        stop = self._stop
        if not stop.code:
            return
        if not self._drained_by and not stop.urgent:
            self._drained_by = now + stop.patience
            self._planner.drain()
        if stop.urgent or now > self._drained_by or self._planner.drained:
            raise StoppedEarly(stop.code, stop.name)

    def _look_for_lost(self, now: float) -> None:
        """Give the work of lost ranks to other ranks. Raises StoppedEarly when none is left."""
        silent = self._pulse.silent(now)
        self._wire.quiet = self._pulse.quiet
        gone = {rank: f"sent no heartbeat for {self._heartbeat:g} s" for rank in silent}
        gone |= dict.fromkeys(self._wire.suspects, _ENDED if self._wire.united else "is unreachable")
        for rank in self._wire.lost.intersection(gone):
            del gone[rank]
        for rank, why in gone.items():
            self._wire.lose(rank)
            # If it is alive after all, it should leave now and not wait for its own timeout.
            self._wire.send_farewell(rank, Shutdown(lost=True))
            self._ready.discard(rank)
            self._planner.lose(rank, why)
            self._lost(rank, why)
        if gone and not self._others():
            raise StoppedEarly(EXIT_RESUMABLE, "no worker is left")

    def _receive_all(self) -> bool:
        moved = False
        while (received := self._wire.receive()) is not None:
            moved = True
            self.messages += 1
            sender, message = received
            if sender in self._wire.lost:
                self._wire.send_farewell(sender, Shutdown(lost=True))
                continue
            self._pulse.record_alive(sender)
            if isinstance(message, Heartbeat):
                continue
            if isinstance(message, StopRequested):
                if message.urgent:
                    raise StoppedEarly(message.code, message.signal)
                self._stop.note(message.code, message.signal, message.patience)
                continue
            if isinstance(message, WorkerFailed):
                if message.code == EXIT_FATAL:
                    raise FatalError(message.message)
                raise StoppedEarly(message.code, message.message)
            if isinstance(message, Hello):
                self._ready.add(sender)
            if sender in self._ready:  # otherwise the message is about the job before this one
                self._planner.receive(sender, message)
        return moved

    def _send_all(self) -> None:
        for rank, message in self._planner.outbox:
            self.messages += 1
            self._wire.send(rank, message)
        self._planner.outbox.clear()
