"""Rank 0's loop; the others follow (`cluster.worker_loop`).

Both poll with a growing pause and are woken by their own threads, so an idle rank costs next to nothing and a slot that
gets free waits for nobody.
"""

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

_FULL = 64 << 20  # bytes of memory that the backlog takes at which the feed is held; it goes on at half of them


class CoordinatorLoop:
    """Rank 0's loop."""

    def __init__(
        self,
        wire: Wire,
        planner: Planner,
        backlog_memory: Callable[[], int],
        stop: StopRequest,
        watch: Callable[[], None],
        heartbeat: float = 0.0,
        lost: Callable[[int, str], None] = lambda rank, why: None,
    ) -> None:
        """backlog_memory: tells how many bytes of memory it takes. watch: called often, to show progress.

        heartbeat: seconds after which a silent rank is taken for lost; 0: never. lost: told of each that is
        """
        self._wire = wire
        self._heartbeat = heartbeat if wire.fallible else 0.0
        self._lost = lost
        self._pulse = FailureDetector(self._heartbeat, self._others(), time.monotonic())
        self._drained_by = 0.0  # when what is begun is to have ended, once nothing is begun any more
        self._planner = planner
        self._backlog_memory = backlog_memory
        self._stop = stop
        self._watch = watch
        self._ready: set[int] = set()  # ranks that said Hello
        self._together = False
        self.messages = 0

    def begin(self, job: Any, together: bool = False) -> None:
        """Give every worker the job. Each loop has one; there may be several, one after the other.

        together: nothing of it is done before all workers have begun it.
        """
        self._together = together
        self._wire.heartbeat = self._heartbeat
        self._pulse = FailureDetector(self._heartbeat, self._others(), time.monotonic())
        for rank in self._others():
            self._wire.send(rank, StartJob(job, self._heartbeat))

    def _others(self) -> list[int]:
        """The ranks that are not lost."""
        return [rank for rank in range(1, self._wire.size) if rank not in self._wire.lost]

    def drive(self, feed: Feed) -> None:
        """Have all of feed's work done. Raises StoppedEarly, FatalError."""
        try:
            self._drive(feed)
        except StoppedEarly:
            # Who remembers what is left to do has to know all findings.
            feed.on_findings(self._planner.news)
            self._planner.news = []
            raise

    def _drive(self, feed: Feed) -> None:
        pause = FIRST_PAUSE
        held = False
        while True:
            now = time.monotonic()
            moved = self._receive_all()
            self._look_for_lost(now)
            if self._planner.news:
                feed.on_findings(self._planner.news)
                self._planner.news = []
            ready = all(rank in self._ready for rank in self._others())
            batches = [] if self._drained_by or (self._together and not ready) else feed.next_batches()
            if batches:
                self._planner.add(batches)
            self._planner.tick(now)
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
        """End the run if that is asked for: nothing is begun any more, and what is begun has a while to end."""
        stop = self._stop
        if not stop.code:
            return
        if not self._drained_by and not stop.urgent:
            self._drained_by = now + stop.patience
            self._planner.drain()
        if stop.urgent or now > self._drained_by or self._planner.drained:
            raise StoppedEarly(stop.code, stop.name)

    def _look_for_lost(self, now: float) -> None:
        """Have others do what ranks were at that are not there any more. Raises StoppedEarly when none is left."""
        silent = self._pulse.silent(now)
        self._wire.quiet = self._pulse.quiet
        gone = {rank: f"was not heard of for {self._heartbeat:g} s" for rank in silent}
        gone |= dict.fromkeys(self._wire.suspects, "cannot be reached any more")
        for rank in self._wire.lost.intersection(gone):
            del gone[rank]
        for rank, why in gone.items():
            self._wire.lose(rank)
            # Should it be there nevertheless, it is not to wait until it finds out itself.
            self._wire.send_farewell(rank, Shutdown(lost=True))
            self._ready.discard(rank)
            self._planner.lose(rank, why)
            self._lost(rank, why)
        if gone and not self._others():
            raise StoppedEarly(EXIT_RESUMABLE, "no working rank is left")

    def _receive_all(self) -> bool:
        moved = False
        while (received := self._wire.receive()) is not None:
            moved = True
            self.messages += 1
            sender, message = received
            if sender in self._wire.lost:
                self._wire.send_farewell(sender, Shutdown(lost=True))
                continue
            self._pulse.heard(sender)
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
            if sender in self._ready:  # else it is the last word on the job before this one
                self._planner.receive(sender, message)
        return moved

    def _send_all(self) -> None:
        for rank, message in self._planner.outbox:
            self.messages += 1
            self._wire.send(rank, message)
        self._planner.outbox.clear()
