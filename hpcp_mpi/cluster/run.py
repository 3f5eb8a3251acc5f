"""The loops that drive the state machines: rank 0 leads, the others follow.

Both poll with a growing pause and are woken by their own threads, so an idle rank costs next to nothing and a slot that
gets free waits for nobody.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Protocol

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.cluster.wire import Wire
from hpcp_mpi.stealing.messages import Begin, Broken, GiveBack, Grant, Hello, Leave, Message
from hpcp_mpi.stealing.planner import Planner
from hpcp_mpi.stealing.worker import Worker
from hpcp_mpi.vocab.errors import EXIT_FATAL, FatalError
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch

_FIRST_PAUSE = 0.0002  # seconds
_LAST_PAUSE = 0.005
_FULL = 64 << 20  # bytes of memory that the backlog takes at which the feed is held; it goes on at half of them
_TAKEN = 100  # batches that are taken at once of those that are known
_LEAVING = 10.0  # seconds a slot has to end after its programs were killed


class Feed(Protocol):
    """Where rank 0's work comes from."""

    @property
    def exhausted(self) -> bool: ...
    def take(self) -> list[Batch]: ...
    def hear(self, news: list[Any]) -> None: ...
    def hold(self, held: bool) -> None: ...


class Stream:
    """A feed of work that is known already; it is taken as it is needed."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._held = False
        self.exhausted = False

    def take(self) -> list[Batch]:
        if self._held or self.exhausted:
            return []
        taken = list(islice(self._batches, _TAKEN))
        self.exhausted = not taken
        return taken

    def hear(self, news: list[Any]) -> None:
        """Nobody asks."""

    def hold(self, held: bool) -> None:
        self._held = held


class Workshop(Protocol):
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

    def close(self) -> None:
        """Clear away what no slot works on any more. The slots have ended."""


class StoppedEarly(Exception):
    """A signal ended the run. code: its exit code; name: the signal's."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(code, name)
        self.code = code
        self.name = name


class Lead:
    """Rank 0's loop."""

    def __init__(
        self,
        wire: Wire,
        planner: Planner,
        backlog_memory: Callable[[], int],
        stop: StopRequest,
        watch: Callable[[], None],
    ) -> None:
        """backlog_memory: tells how many bytes of memory it takes. watch: called often, to show progress."""
        self._wire = wire
        self._planner = planner
        self._backlog_memory = backlog_memory
        self._stop = stop
        self._watch = watch
        self._ready: set[int] = set()  # ranks that said Hello
        self._together = False
        self.messages = 0

    def begin(self, job: Any, together: bool = False) -> None:
        """Give every worker the job. Each Lead has one; there may be several, one after the other.

        together: nothing of it is done before all workers have begun it.
        """
        self._together = together
        for rank in range(1, self._wire.size):
            self._wire.send(rank, Begin(job))

    def drive(self, feed: Feed) -> None:
        """Have all of feed's work done. Raises StoppedEarly, FatalError."""
        pause = _FIRST_PAUSE
        held = False
        while True:
            moved = self._receive_all()
            if self._planner.news:
                feed.hear(self._planner.news)
                self._planner.news = []
            ready = len(self._ready) == self._wire.size - 1
            batches = feed.take() if ready or not self._together else []
            if batches:
                self._planner.add(batches)
            self._planner.tick(time.monotonic())
            self._send_all()
            held = self._backlog_memory() > (_FULL // 2 if held else _FULL)
            feed.hold(held)
            if self._stop.code:
                raise StoppedEarly(self._stop.code, self._stop.name)
            self._watch()
            if ready and feed.exhausted and self._planner.idle:
                return
            if moved or batches:
                pause = _FIRST_PAUSE
                continue
            self._wire.wait(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    def _receive_all(self) -> bool:
        moved = False
        while (received := self._wire.receive()) is not None:
            moved = True
            self.messages += 1
            sender, message = received
            if isinstance(message, Broken):
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


def follow(wire: Wire, open_workshop: Callable[[Any, Wire], Workshop], stop: StopRequest) -> Any:
    """A worker's life; return what rank 0 sends at the end.

    open_workshop: makes what the job of Begin is done with; its FatalError ends the run. Raises what a slot raised.
    """
    follower = Follower(wire, open_workshop)
    pause = _FIRST_PAUSE
    told = False
    try:
        while True:
            received = wire.receive()
            if received is not None:
                if isinstance(received[1], Leave):
                    follower.leave(received[1].stop)
                    return received[1].report
                follower.receive(received[1])
            moved = follower.report()
            if stop.code and not told:
                told = True
                follower.halt()
                wire.send(0, Broken(stop.name, stop.code))
            if received is not None or moved:
                pause = _FIRST_PAUSE
            else:
                wire.wait(pause)
                pause = min(2 * pause, _LAST_PAUSE)
    except BaseException:
        follower.halt()
        raise


class Follower:
    """A worker's queue and its slots, each a thread."""

    def __init__(self, wire: Wire, open_workshop: Callable[[Any, Wire], Workshop]) -> None:
        self._wire = wire
        self._open_workshop = open_workshop
        self._workshop: Workshop | None = None
        self._machine = Worker(1, 1, 1)
        self._changed = threading.Condition()
        self._errors: deque[BaseException] = deque()
        self._ended = False
        self._slots: list[threading.Thread] = []

    def receive(self, message: Message) -> None:
        """Take a message of rank 0's."""
        if isinstance(message, Begin):
            self._begin(message.job)
            return
        with self._changed:
            if isinstance(message, Grant):
                self._machine.grant(message.chunks, message.seconds)
                self._changed.notify_all()
            elif isinstance(message, GiveBack):
                self._wire.send(0, self._machine.give_back())
            else:
                raise TypeError(f"not a message for a worker: {message!r}")

    def _begin(self, job: Any) -> None:
        """Begin a job; the one before, if there was one, is done."""
        self.leave(stop=False)
        try:
            workshop = self._open_workshop(job, self._wire)
        except FatalError as error:
            self._wire.send(0, Broken(str(error), EXIT_FATAL))
            return
        self._workshop = workshop
        self._machine = Worker(workshop.bite_weight, workshop.file_cost, workshop.slots)
        self._slots, self._ended = [], False
        for number in range(workshop.slots):
            slot = threading.Thread(target=self._slot, args=(workshop,), name=f"slot-{number}", daemon=True)
            self._slots.append(slot)
            slot.start()
        self._wire.send(0, Hello(self._wire.node, workshop.slots))

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
        for slot in self._slots:
            slot.join(_LEAVING)
        if self._workshop is not None:
            self._workshop.close()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _slot(self, workshop: Workshop) -> None:
        try:
            while (bite := self._next()) is not None:
                outcome = workshop.work(bite[1])
                if outcome is None:
                    return
                with self._changed:
                    self._machine.finish(bite[0], outcome)
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
