"""The interface of every rank to its network, which `mpi` and `threads` provide, and the pauses of polling."""

import os
import sys
import threading
from contextlib import suppress
from typing import Protocol

from hpcp_mpi.scheduling.messages import Message


class Wire(Protocol):
    """One rank's end of the network. Only wake() and send() may be called by another thread than the rank's own."""

    rank: int
    node: str
    mates: int  # ranks that share this rank's CPUs, itself included
    part: tuple[int, int]  # which part of one process's slots are this rank's, of how many; (0, 1): it has its own
    united: bool  # all ranks are one program to its user; who is gone is known at once, and what comes ends wait()
    stand_in: int  # a rank that works only until others are there; 0: none
    fallible: bool  # other ranks may be lost, and send() may be called by any thread
    heartbeat: float  # seconds of silence after which a rank is taken for lost; 0: none ever is
    quiet: frozenset[int]  # ranks to which no heartbeats are sent: a call to one that is gone takes long
    suspects: set[int]  # ranks that the network reports as gone
    lost: set[int]  # ranks given to lose(): nothing is sent to them, and close() does not wait for any rank

    @property
    def size(self) -> int: ...

    def send(self, rank: int, message: Message) -> None:
        """Send a message without waiting for its arrival."""

    def receive(self) -> tuple[int, Message] | None:
        """Return (sender, message), or None when nothing has come."""

    def wait(self, seconds: float) -> None:
        """Sleep until wake() is called, or something may have come, or the time is over."""

    def wake(self) -> None:
        """Wake this rank from wait()."""

    def recruit(self, slots: int) -> None:
        """Have more workers join if there can be any, as the work will last. slots: that there are"""

    def abort(self, code: int) -> None:
        """End the whole job now, all ranks. Returns only where there are no other processes."""

    def lose(self, rank: int) -> None:
        """Mark a rank as lost."""

    def send_farewell(self, rank: int, message: Message) -> None:
        """Send a last message to a rank that is marked as lost, but may still be alive."""

    def close(self) -> None:
        """Leave the network: together with all ranks, or alone when some are lost."""


class LocalWire:
    """The part of a rank's end that is the same where all ranks are on one machine: nothing to wait for or to leave."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.node = os.uname().nodename
        self.mates = 1
        self.part = (0, 1)
        self.fallible = False
        self.united = False
        self.stand_in = 0
        self.heartbeat = 0.0
        self.quiet: frozenset[int] = frozenset()
        self.suspects: set[int] = set()
        self.lost: set[int] = set()

    def recruit(self, slots: int) -> None:
        """Do nothing: there are all from the start, or it is rank 0 that has workers."""

    def abort(self, code: int) -> None:
        os._exit(code)

    def lose(self, rank: int) -> None:
        self.lost.add(rank)


def complain(line: str) -> None:
    """Write a line to stderr. Never raises: it may be closed or full, and that ends no rank."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


FIRST_PAUSE = 0.0002  # seconds between two polls of an idle rank, at first; doubled each time
LAST_PAUSE = 0.005  # seconds, at most
LONG_PAUSE = 0.2  # seconds, at most, where whatever comes ends the pause


class Waker:
    """A sleep that ends when it is woken, by any thread and also by a signal handler.

    threading.Event is not for that: a handler runs in the main thread, which may be holding the event's lock just then,
    and waits for itself for ever. Nor is SimpleQueue.get(): on a busy machine its time may be over before it looks at
    the clock for the second time, and then it waits for ever, too. A lock may be released by anybody at any time.
    """

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def wake(self) -> None:
        """End the sleep, or the next one."""
        with suppress(RuntimeError):  # released already: the sleeper is being woken, and looks at everything after that
            self._asleep.release()

    def wait(self, seconds: float) -> None:
        """Sleep until it is woken, or for so long."""
        self._asleep.acquire(timeout=max(0.0, seconds))
