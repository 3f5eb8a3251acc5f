"""A worker's loop: it follows rank 0, and leaves when it does not hear of it any more.

Whatever a rank that is cut off was doing is others' then. So it ends its programs and starts nothing: what they wrote
is in stages, and none of it gets a name.
"""

import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from hpcp_mpi.cluster.heartbeat import DEFAULT, EARLIER, FailureDetector, HeartbeatSender
from hpcp_mpi.cluster.signals import ORDERLY, StopRequest
from hpcp_mpi.cluster.transport import FIRST_PAUSE, LAST_PAUSE, Wire
from hpcp_mpi.scheduling.messages import (
    Drain,
    Grant,
    Heartbeat,
    Hello,
    Message,
    Reclaim,
    Shutdown,
    StartJob,
    StopRequested,
    WorkerFailed,
)
from hpcp_mpi.scheduling.worker_queue import Worker
from hpcp_mpi.vocab.errors import EXIT_FATAL, FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join, printable
from hpcp_mpi.vocab.units import Batch

_LAST_WORD = 1.0  # seconds in which rank 0's may still be found, when it is gone
_LEAVING = 10.0  # seconds a slot has to end after its programs were killed


class CutOff(Exception):
    """Rank 0 is not there any more, or takes this rank for lost."""


class JobRunner(Protocol):
    """What a worker does its chunks with; the operation provides it."""

    slots: int
    bite_weight: int
    file_cost: int

    def work(self, batches: list[Batch]) -> Outcome | None:
        """Do one bite; None when stop() came between."""

    def release(self) -> None:
        """Close what the calling slot has open."""

    def stop(self) -> None:
        """End what is running, at once."""

    def drain(self) -> None:
        """End in good order: what may be ended between two steps need not come to its end."""

    def set_deadline(self, moment: float) -> None:
        """Do nothing more from a moment on, by time.monotonic(): somebody else may be doing it then."""

    def close(self) -> None:
        """Clear away what no slot works on any more. The slots have ended."""


def follow(wire: Wire, open_workshop: Callable[[Any, Wire], JobRunner], stop: StopRequest) -> Any:
    """A worker's life; return what rank 0 sends at the end.

    open_workshop: makes what does the job of a StartJob; its FatalError ends the run. Raises CutOff, and what a slot
    raised.
    """
    heart = HeartbeatSender(wire, lambda: (0,))
    follower = Follower(wire, open_workshop, heart)
    pause = FIRST_PAUSE
    told = 0  # 1: that a signal asks to end, 2: at once
    try:
        while True:
            received = wire.receive()
            if received is not None:
                follower.heard()
                if isinstance(received[1], Shutdown):
                    if received[1].lost:
                        raise CutOff("rank 0 considers it lost")
                    follower.leave(received[1].stop)
                    if received[1].alone:
                        wire.lose(0)
                    return received[1].report
                follower.receive(received[1])
            moved = follower.report()
            follower.check_liveness()
            if stop.code and told < 1 + stop.urgent:
                told = 1 + stop.urgent
                if stop.urgent:
                    follower.halt()
                wire.send(0, StopRequested(stop.name, stop.code, stop.patience, stop.urgent))
            if received is not None or moved:
                pause = FIRST_PAUSE
            else:
                follower.wait(pause)
                pause = min(2 * pause, LAST_PAUSE)
    except CutOff:
        follower.leave_cut_off()
        raise
    except BaseException:
        follower.halt()
        raise
    finally:
        heart.end()


class Follower:
    """A worker's queue and its slots, each a thread."""

    def __init__(self, wire: Wire, open_workshop: Callable[[Any, Wire], JobRunner], heart: HeartbeatSender) -> None:
        self._wire = wire
        self._heart = heart
        self._silence = 0.0  # seconds of rank 0's, after which this rank leaves; 0: never
        self._expires = math.inf
        self._missed = 0.0  # when rank 0 was found to be gone
        self._listen(DEFAULT)
        self._open_workshop = open_workshop
        self._workshop: JobRunner | None = None
        self._machine = Worker(1, 1, 1)
        self._changed = threading.Condition()
        self._errors: deque[BaseException] = deque()
        self._ended = False
        self._slots: list[threading.Thread] = []
        self._at: dict[str, Batch] = {}  # what slots are at, or were at last

    def receive(self, message: Message) -> None:
        """Take a message of rank 0's."""
        if isinstance(message, StartJob):
            self._listen(message.heartbeat)
            self._begin(message.job)
            return
        if isinstance(message, Heartbeat):
            return
        with self._changed:
            if isinstance(message, Grant):
                self._machine.grant(message.chunks, message.seconds)
                self._changed.notify_all()
            elif isinstance(message, Reclaim):
                self._wire.send(0, self._machine.give_back())
            elif isinstance(message, Drain):
                self._wire.send(0, self._machine.drain())
                if self._workshop is not None:
                    self._workshop.drain()
            else:
                raise TypeError(f"not a message for a worker: {message!r}")

    def _listen(self, heartbeat: float) -> None:
        """Take rank 0 for gone somewhat earlier than after so many seconds of silence; 0: never."""
        self._wire.heartbeat = heartbeat
        self._silence = heartbeat * EARLIER if self._wire.fallible else 0.0
        self._pulse = FailureDetector(self._silence, (0,), time.monotonic())

    def _begin(self, job: Any) -> None:
        """Begin a job; the one before, if there was one, is done."""
        self.leave(stop=False)
        self._expires = math.inf
        try:
            workshop = self._open_workshop(job, self._wire)
        except FatalError as error:
            self._wire.send(0, WorkerFailed(str(error), EXIT_FATAL))
            return
        self._workshop = workshop
        self.heard()
        self._machine = Worker(workshop.bite_weight, workshop.file_cost, workshop.slots)
        self._slots, self._ended = [], False
        for number in range(workshop.slots):
            slot = threading.Thread(target=self._slot, args=(workshop,), name=f"slot-{number}", daemon=True)
            self._slots.append(slot)
            slot.start()
        self._wire.send(0, Hello(self._wire.node, workshop.slots))

    def heard(self) -> None:
        """Take note that rank 0 lives."""
        self._pulse.heard(0)
        if self._workshop is None or not self._silence:
            return
        now = time.monotonic()
        if now > self._expires:
            # What is read now was sent long ago: it says nothing of who does the work by now.
            self._heart.stalled = True
            return
        self._expires = now + self._silence
        self._workshop.set_deadline(self._expires)

    def check_liveness(self) -> None:
        """Raise CutOff when rank 0 is not there any more, or takes this rank for lost."""
        if self._pulse.silent(time.monotonic()):
            raise CutOff(f"rank 0 sent no heartbeat for {self._silence:.0f} s")
        if 0 in self._wire.suspects:
            now = time.monotonic()
            self._missed = self._missed or now
            if now - self._missed > _LAST_WORD:
                raise CutOff("rank 0 is unreachable")
        if self._heart.stalled:
            raise CutOff("this process was stopped, and rank 0 considers it lost")

    def wait(self, seconds: float) -> None:
        """Sleep until something may have come. Raises CutOff after a sleep from which rank 0 did not wait."""
        began = time.monotonic()
        self._wire.wait(seconds)
        if self._silence and time.monotonic() - began > seconds + self._silence:
            self._heart.stalled = True

    def report(self) -> bool:
        """Send what is finished; tell whether something was. Raises what a slot raised."""
        if self._errors:
            raise self._errors[0]
        with self._changed:
            done = self._machine.results()
        if done is not None:
            self._wire.send(0, done)
        return done is not None

    def halt(self) -> None:
        """End what is running and start nothing."""
        self._end()
        if self._workshop is not None:
            self._workshop.stop()

    def leave(self, stop: bool) -> None:
        """End the slots, and wait for them: they clear away what is half done."""
        if stop:
            self.halt()
        self._end()
        # What does not answer a slot would not answer this thread either.
        if self._join() and self._workshop is not None:
            self._workshop.close()

    def leave_cut_off(self) -> None:
        """The same, but leave what others may be going on with: big files that were begun here."""
        self.halt()
        self._join()

    def _join(self) -> bool:
        """Wait for the slots to end; return whether they did. Those that did not are named: nothing can end a call."""
        deadline = time.monotonic() + _LEAVING
        for slot in self._slots:
            slot.join(max(0.0, deadline - time.monotonic()))
        stuck = [self._at[slot.name] for slot in self._slots if slot.is_alive() and slot.name in self._at]
        for batch in stuck:
            says = f"waits for storage that does not answer, at `{batch.kind.value}` of {_first_of(batch)}"
            print(f"hpcp-mpi: rank {self._wire.rank} on {self._wire.node} {says}", file=sys.stderr, flush=True)
        return not stuck

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _slot(self, workshop: JobRunner) -> None:
        # Programs inherit this. Batch systems and launchers signal them, too, but they are to end what they are at.
        signal.pthread_sigmask(signal.SIG_BLOCK, ORDERLY)
        try:
            while (bite := self._next()) is not None:
                self._at[threading.current_thread().name] = bite[1][0]
                outcome = workshop.work(bite[1])
                if outcome is None:
                    if not self._ended:  # what it was at would never be told of
                        self._heart.stalled = True
                        self._wire.wake()
                    return
                with self._changed:
                    self._machine.finish(bite[0], outcome, bite[1])
                self._wire.wake()
        except BaseException as error:
            self._errors.append(error)
            self._wire.wake()
        finally:
            workshop.release()

    def _next(self) -> tuple[int, list[Batch]] | None:
        with self._changed:
            while not self._ended:
                bite = self._machine.take()
                if bite is not None:
                    return bite
                self._changed.wait()
        return None


def _first_of(batch: Batch) -> str:
    """Return what a batch begins with, as a path below the destination."""
    name = batch.big.target if batch.big is not None else next((unit.target for unit in batch.units), b"")
    return printable(join(batch.dest_dir, name))
