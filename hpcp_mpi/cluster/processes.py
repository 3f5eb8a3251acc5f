"""The transport of a run without MPI whose workers are processes: rank 0 asks for them when the run is a long one.

Until then, and where there can be none, a thread of rank 0's process is the worker (`threads`). Once there are others
it gets no more work, as rank 0 and it would wait for each other's interpreter lock.
"""

import os
import select
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from hpcp_mpi.cluster.channel import Channel
from hpcp_mpi.cluster.fork_server import ForkServer, alone
from hpcp_mpi.cluster.threads import ThreadWire, thread_cluster
from hpcp_mpi.cluster.transport import LocalWire, Wire, complain
from hpcp_mpi.scheduling.messages import Message, StartJob

if TYPE_CHECKING:
    from _socket import socket

_LEAVING = 12.0  # seconds for workers to end: they have 10 to end their slots
_LONG = 3600.0  # seconds; whatever comes ends the sleep
# Workers beside one for each CPU. 200,000 files of 100 B on 2 CPUs take 6.7 s with 2 workers, 5.6 with 3: slots of one
# process wait for each other, and not all are busy all the time.
_MORE = 1
_STAND_IN = 1  # the rank of the thread


class Place(NamedTuple):
    """What a worker is told first: its rank, which part of the slots is its own, and of how many."""

    rank: int
    part: int
    parts: int


class _Bell:
    """A sleep that ends when somebody rings, and when a channel has something or takes something."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._rung = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._events: dict[int, int] = {}  # that are waited for, by descriptor

    def ring(self) -> None:
        """End the sleep, or the next one: by any thread, and by a signal handler."""
        if not self._rung:
            self._rung = True
            os.eventfd_write(self._fd, 1)

    def sleep(self, seconds: float, channels: Collection[Channel]) -> None:
        """Sleep until somebody rings, something has come or can be sent, or so long."""
        for channel in channels:
            wanted = select.POLLIN | (select.POLLOUT if channel.sending else 0)
            if self._events.get(channel.fileno()) != wanted:
                self._events[channel.fileno()] = wanted
                self._poll.register(channel.fileno(), wanted)
        found = self._poll.poll(0 if self._rung else max(0.0, seconds) * 1000)
        # In this order: who rings meanwhile is heard next time, by the one or by the other.
        self._rung = False
        if any(fd == self._fd for fd, _ in found):
            with suppress(BlockingIOError):
                os.eventfd_read(self._fd)

    def forget(self, channel: Channel) -> None:
        """Wait for a channel no longer."""
        if self._events.pop(channel.fileno(), None) is not None:
            self._poll.unregister(channel.fileno())


class GrowingWire(ThreadWire):
    """Rank 0's end."""

    def __init__(self, peers: list[ThreadWire], server: ForkServer, cpus: Callable[[], int], kind: type) -> None:
        """cpus: returns how many this process may use. kind: as for Channel"""
        super().__init__(0, peers)
        self.united = True
        self.stand_in = _STAND_IN
        self._server = server
        self._cpus = cpus
        self._kind = kind
        self._bell: _Bell | None = None  # since workers were asked for
        self._parts = 0  # workers that were asked for
        self._coming: list[Channel] = []  # to workers that did not say yet that they are there
        self._there: dict[int, Channel] = {}  # by rank

    @property
    def size(self) -> int:
        return len(self._peers) + len(self._there)

    def recruit(self, slots: int) -> None:
        if self._bell is not None or slots < 2:
            return
        self._bell = _Bell()
        ends = self._server.fork(min(self._cpus() + _MORE, slots))
        self._coming = [Channel(end, self._kind) for end in ends]
        self._parts = len(ends)

    def send(self, rank: int, message: Message) -> None:
        if rank < len(self._peers):
            super().send(rank, message)
        elif rank not in self.lost:
            self._there[rank].send(message, with_files=isinstance(message, StartJob))

    def receive(self) -> tuple[int, Message] | None:
        if not self._inbox and self._bell is not None:
            self._take_all()
        return super().receive()

    def _take_all(self) -> None:
        for channel in self._coming.copy():
            if channel.receive():
                self._coming.remove(channel)
                rank = self.size
                self._there[rank] = channel
                channel.send(Place(rank, rank - len(self._peers), self._parts))
            elif channel.ended:  # it could not be forked
                self._coming.remove(channel)
                self._close(channel)
        for rank, channel in self._there.items():
            if rank in self.suspects:
                continue
            channel.flush()
            self._inbox.extend((rank, message) for message in channel.receive())
            if channel.ended:
                self._close(channel)
                self.suspects.add(rank)

    def _close(self, channel: Channel) -> None:
        if self._bell is not None:
            self._bell.forget(channel)
        channel.close()

    def _open(self) -> list[Channel]:
        there = [channel for rank, channel in self._there.items() if rank not in self.suspects]
        return self._coming + there

    def wait(self, seconds: float) -> None:
        if self._bell is None:
            super().wait(seconds)
        else:
            self._bell.sleep(seconds, self._open())

    def wake(self) -> None:
        if self._bell is None:
            super().wake()
        else:
            self._bell.ring()

    def send_farewell(self, rank: int, message: Message) -> None:
        if rank < len(self._peers) or rank not in self.suspects:
            self.send(rank, message)

    def close(self) -> None:
        """Wait until the workers have left, for a time, and drop what they still send."""
        deadline = time.monotonic() + _LEAVING
        for channel in self._coming:
            self._close(channel)  # nobody told it to work
        self._coming.clear()
        while (left := self._open()) and time.monotonic() < deadline:
            self.wait(deadline - time.monotonic())
            self._take_all()
        if left:
            complain(f"hpcp-mpi: {len(left)} worker processes did not end")
        for channel in left:
            self._close(channel)
        self._server.end(wait=not left)


class ProcessWire(LocalWire):
    """The end of a worker, in its process."""

    def __init__(self, end: "socket", kind: type) -> None:
        """Wait for a place. Raises EOFError if rank 0 has none, or is gone."""
        self._channel = Channel(end, kind)
        self._bell = _Bell()
        self._inbox: deque[Any] = deque()
        self._channel.send(True)  # it is there
        while not self._inbox:
            if self._channel.ended:
                raise EOFError
            self.wait(_LONG)
            self._take_all()
        place: Place = self._inbox.popleft()
        super().__init__(place.rank)
        self.part = place.part, place.parts
        self.size = place.parts + 1
        self.united = True

    def send(self, rank: int, message: Message) -> None:
        self._channel.send(message)

    def receive(self) -> tuple[int, Message] | None:
        if not self._inbox:
            self._take_all()
            if not self._inbox and self._channel.ended:
                self.suspects.add(0)
        return (0, self._inbox.popleft()) if self._inbox else None

    def _take_all(self) -> None:
        self._channel.flush()
        self._inbox += self._channel.receive()

    def wait(self, seconds: float) -> None:
        self._bell.sleep(seconds, () if self._channel.ended else (self._channel,))

    def wake(self) -> None:
        self._bell.ring()

    def send_farewell(self, rank: int, message: Message) -> None:
        self.send(rank, message)

    def close(self) -> None:
        """Send what is left, and leave."""
        deadline = time.monotonic() + _LEAVING
        while self._channel.sending and not self._channel.ended and time.monotonic() < deadline:
            self._take_all()
            self.wait(0.1)
        self._channel.close()


def growing_cluster(work: Callable[[Wire], None], cpus: Callable[[], int], kind: type) -> list[ThreadWire]:
    """Return the wires of rank 0 and of a thread, as thread_cluster() does; workers may join that are processes.

    work: what one of those does with its wire. cpus: returns how many this process may use. kind: of objects that hold
    an open file, `fd`, and are made from its number
    """

    def begin(end: "socket") -> None:
        with suppress(EOFError):
            work(ProcessWire(end, kind))

    peers = thread_cluster(2)
    if alone():
        with suppress(OSError):
            peers[0] = GrowingWire(peers, ForkServer(begin), cpus, kind)
            peers[1].united = True
    return peers
