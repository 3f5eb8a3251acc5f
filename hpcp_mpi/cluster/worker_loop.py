"""The loop of a worker, on every rank but 0; a worker leaves when rank 0 is silent for too long.

Other ranks get the work of a rank that is cut off. So it ends its programs and starts nothing: what they wrote is in
stages, and none of it gets a name.
"""

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from hpcp_mpi.cluster.heartbeat import DEFAULT, EARLIER, FailureDetector, HeartbeatSender
from hpcp_mpi.cluster.signals import ORDERLY, StopRequest
from hpcp_mpi.cluster.transport import FIRST_PAUSE, LAST_PAUSE, LONG_PAUSE, Wire, complain
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
    UnderWay,
    WorkerFailed,
)
from hpcp_mpi.scheduling.worker_queue import WorkerQueue
from hpcp_mpi.vocab.errors import EXIT_FATAL, FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join, printable
from hpcp_mpi.vocab.tally import NOTHING
from hpcp_mpi.vocab.units import Batch

_LAST_WORD = 1.0  # seconds in which a last message may still be found, when rank 0 is gone
_LEAVING = 10.0  # seconds for a slot to end after its programs were killed


class CutOff(Exception):
    """Rank 0 is gone, or takes this rank for lost."""


class JobRunner(Protocol):
    """The object that does the work of one job on a worker; the operation provides it."""

    slots: int
    bite_weight: int
    file_cost: int

    def work(self, batches: list[Batch]) -> Outcome | None:
        """Do one bite and return its outcome; None when stop() interrupted it."""

    def moved(self) -> int:
        """Return about how many bytes of their bites all slots have done."""

    def counted(self) -> None:
        """Record that the outcome of the calling slot's bite counts from now on, and not what moved() says of it."""

    def release(self) -> None:
        """Close the files that the calling slot has open."""

    def stop(self) -> None:
        """End running work at once."""

    def drain(self) -> None:
        """Stop in good order: work that can end between two steps ends there."""

    def set_deadline(self, moment: float) -> None:
        """Do nothing more from a moment of time.monotonic() on: another rank may have the work then."""

    def close(self) -> None:
        """Clean up after the slots, which have ended."""


def follow(wire: Wire, make_runner: Callable[[Any, Wire], JobRunner], stop: StopRequest) -> Any:
    """Run a worker until rank 0 shuts it down; return the report that rank 0 sends then.

    make_runner: returns the runner of a job; its FatalError ends the run. Raises CutOff, and what a slot raised.
    """
    heart = HeartbeatSender(wire, lambda: (0,))
    follower = Follower(wire, make_runner, heart)
    pause, longest = FIRST_PAUSE, LONG_PAUSE if wire.united else LAST_PAUSE
    sent = 0  # 1: rank 0 knows that a signal asks to stop, 2: at once
    try:
        while True:
            received = wire.receive()
            if received is not None:
                follower.record_alive()
                if isinstance(received[1], Shutdown):
                    if received[1].lost:
                        raise CutOff("rank 0 considers it lost")
                    follower.leave(received[1].stop)
                    if received[1].alone:
                        wire.lose(0)
                    return received[1].report
                follower.receive(received[1])
            moved = follower.report()
            follower.tell()
            follower.check_liveness()
            if stop.code and sent < 1 + stop.urgent:
                sent = 1 + stop.urgent
                if stop.urgent:
                    follower.halt()
                wire.send(0, StopRequested(stop.name, stop.code, stop.patience, stop.urgent))
            if received is not None or moved:
                pause = FIRST_PAUSE
            else:
                follower.wait(pause)
                pause = min(2 * pause, longest)
    except CutOff:
        follower.leave_cut_off()
        raise
    except BaseException:
        follower.halt()
        raise
    finally:
        heart.end()


class Follower:
    """A worker's queue of chunks and its slots, each a thread."""

    def __init__(self, wire: Wire, make_runner: Callable[[Any, Wire], JobRunner], heart: HeartbeatSender) -> None:
        self._wire = wire
        self._heart = heart
        self._silence = 0.0  # seconds of rank 0's silence after which this rank leaves; 0: never
        self._expires = math.inf
        self._missed = 0.0  # when rank 0 was found to be gone; 0.0: it was not
        self._watched = 0.0  # seconds between two messages of what is under way; 0: nobody asks
        self._told = NOTHING  # what rank 0 was told of it
        self._next_word = 0.0
        self._listen(DEFAULT)
        self._make_runner = make_runner
        self._runner: JobRunner | None = None
        self._queue = WorkerQueue(1, 1, 1)
        self._changed = threading.Condition()
        self._errors: deque[BaseException] = deque()
        self._ended = False
        self._slots: list[threading.Thread] = []  # started when there is work for them
        self._most = 1  # of them
        self._idle = 0  # those that wait for work, or were just started
        self._at: dict[str, Batch] = {}  # by slot: the batch it works on, or worked on last

    def receive(self, message: Message) -> None:
        """Handle a message from rank 0."""
        if isinstance(message, StartJob):
            self._listen(message.heartbeat)
            self._watched, self._told = message.watched, NOTHING
            self._begin(message.job)
            return
        if isinstance(message, Heartbeat):
            return
        with self._changed:
            if isinstance(message, Grant):
                self._queue.grant(message.chunks, message.seconds)
                self._call_slots()
            elif isinstance(message, Reclaim):
                self._wire.send(0, self._queue.give_back())
            elif isinstance(message, Drain):
                self._wire.send(0, self._queue.drain())
                if self._runner is not None:
                    self._runner.drain()
            else:
                raise TypeError(f"not a message for a worker: {message!r}")

    def _listen(self, heartbeat: float) -> None:
        """Set after how many seconds of silence rank 0 is gone: somewhat earlier than heartbeat; 0: never."""
        self._wire.heartbeat = heartbeat
        self._silence = heartbeat * EARLIER if self._wire.fallible else 0.0
        self._pulse = FailureDetector(self._silence, (0,), time.monotonic())

    def _begin(self, job: Any) -> None:
        """Start the slots of a job, after ending those of the job before."""
        self.leave(stop=False)
        self._expires = math.inf
        try:
            runner = self._make_runner(job, self._wire)
        except FatalError as error:
            self._wire.send(0, WorkerFailed(str(error), EXIT_FATAL))
            return
        self._runner = runner
        self.record_alive()
        self._queue = WorkerQueue(runner.bite_weight, runner.file_cost, runner.slots)
        self._slots, self._ended, self._most, self._idle = [], False, runner.slots, 0
        try:
            self._start_slot(runner)
        except RuntimeError as error:
            where = f"rank {self._wire.rank} on {self._wire.node} cannot start a thread: {error}"
            remedy = "Look at the limits of processes: ulimit -u, pids.max of its control group."
            self._wire.send(0, WorkerFailed(f"{where}\n  {remedy}", EXIT_FATAL))
            return
        self._wire.send(0, Hello(self._wire.node, runner.slots))

    def _start_slot(self, runner: JobRunner) -> None:
        """Start a slot, which counts as idle until it has looked for work. Raises RuntimeError where none can be."""
        slot = threading.Thread(target=self._slot, args=(runner,), name=f"slot-{len(self._slots)}", daemon=True)
        self._idle += 1
        try:
            slot.start()
        except RuntimeError:
            self._idle -= 1
            raise
        self._slots.append(slot)

    def _call_slots(self) -> None:
        """Have what is set aside taken, by slots that wait or new ones; the lock is held."""
        self._changed.notify(self._queue.ready)
        while (
            self._runner is not None
            and not self._ended
            and self._queue.ready > self._idle
            and len(self._slots) < self._most
        ):
            try:
                self._start_slot(self._runner)
            except RuntimeError:  # no more threads than these: they do all of it
                self._queue.remove_slots(self._most - len(self._slots))
                self._most = len(self._slots)

    def record_alive(self) -> None:
        """Record that rank 0 is alive."""
        self._pulse.record_alive(0)
        if self._runner is None or not self._silence:
            return
        now = time.monotonic()
        if now > self._expires:
            # This message was sent long ago: another rank may have the work by now.
            self._heart.stalled = True
            return
        self._expires = now + self._silence
        self._runner.set_deadline(self._expires)

    def check_liveness(self) -> None:
        """Raise CutOff when rank 0 is gone, or takes this rank for lost."""
        if self._pulse.silent(time.monotonic()):
            raise CutOff(f"rank 0 sent no heartbeat for {self._silence:.0f} s")
        if 0 in self._wire.suspects:
            now = time.monotonic()
            self._missed = self._missed or now
            if now - self._missed > (0.0 if self._wire.united else _LAST_WORD):
                raise CutOff("rank 0 is unreachable")
        if self._heart.stalled:
            raise CutOff("this process was stopped, and rank 0 considers it lost")

    def wait(self, seconds: float) -> None:
        """Sleep until a message may have come; record a sleep so long that rank 0 takes this rank for lost."""
        began = time.monotonic()
        self._wire.wait(seconds)
        if self._silence and time.monotonic() - began > seconds + self._silence:
            self._heart.stalled = True

    def report(self) -> bool:
        """Send finished work to rank 0; return whether there was any. Raises what a slot raised."""
        if self._errors:
            raise self._errors[0]
        with self._changed:
            done = self._queue.results(self._runner.moved() if self._runner is not None else 0)
        if done is not None:
            self._told = done.under_way
            self._next_word = time.monotonic() + self._watched
            self._wire.send(0, done)
        return done is not None

    def tell(self) -> None:
        """Tell rank 0 now and then what is under way, if that has changed: a bite may take long."""
        if not self._watched or time.monotonic() < self._next_word or self._runner is None:
            return
        self._next_word = time.monotonic() + self._watched
        with self._changed:
            tally = self._queue.under_way(self._runner.moved())
        if tally != self._told:
            self._told = tally
            self._wire.send(0, UnderWay(tally))

    def halt(self) -> None:
        """End running work and start nothing more."""
        self._end()
        if self._runner is not None:
            self._runner.stop()

    def leave(self, stop: bool) -> None:
        """End the slots and wait for them, as they remove half-done work. stop: end running work at once"""
        if stop:
            self.halt()
        self._end()
        # Storage that does not answer a slot would not answer this thread either.
        if self._join() and self._runner is not None:
            self._runner.close()

    def leave_cut_off(self) -> None:
        """End the slots at once, but leave big files that were begun here: other ranks may be writing them."""
        self.halt()
        self._join()

    def _join(self) -> bool:
        """Wait for the slots to end; return whether all did. Others are named: nothing can end their system call."""
        deadline = time.monotonic() + _LEAVING
        for slot in self._slots:
            slot.join(max(0.0, deadline - time.monotonic()))
        stuck = [self._at[slot.name] for slot in self._slots if slot.is_alive() and slot.name in self._at]
        for batch in stuck:
            says = f"waits for storage that does not answer, at `{batch.kind.value}` of {_first_of(batch)}"
            complain(f"hpcp-mpi: rank {self._wire.rank} on {self._wire.node} {says}")
        return not stuck

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _slot(self, runner: JobRunner) -> None:
        # Programs inherit this. Batch systems and launchers signal them, too, but they should finish their work.
        signal.pthread_sigmask(signal.SIG_BLOCK, ORDERLY)
        try:
            new = True
            while (bite := self._next(new)) is not None:
                new = False
                self._at[threading.current_thread().name] = bite[1][0]
                outcome = runner.work(bite[1])
                if outcome is None:
                    if not self._ended:  # otherwise its work would never be reported
                        self._heart.stalled = True
                        self._wire.wake()
                    return
                with self._changed:
                    self._queue.finish(bite[0], outcome, bite[1])
                    runner.counted()
                    if self._queue.ready > 1:  # one is for this slot
                        self._call_slots()
                self._wire.wake()
        except BaseException as error:
            self._errors.append(error)
            self._wire.wake()
        finally:
            runner.release()

    def _next(self, new: bool) -> tuple[int, list[Batch]] | None:
        """Return the next bite; None when the job ends. new: the slot was just started"""
        with self._changed:
            self._idle -= new
            while not self._ended:
                bite = self._queue.take()
                if bite is not None:
                    return bite
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
        return None


def _first_of(batch: Batch) -> str:
    """Return the path of the first entry of a batch, below the destination."""
    name = batch.big.target if batch.big is not None else next((unit.target for unit in batch.units), b"")
    return printable(join(batch.dest_dir, name))
