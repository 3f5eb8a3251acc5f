"""Signals that end a run, on every rank: noted in a handler, acted on by the rank's loop.

Most of them request an orderly stop: nothing more is started, and running work has a while to end. Ctrl-C, and any
signal that comes again, ends the run at once.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hpcp_mpi.vocab.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE

SOON = 5.0  # seconds for running work to end after SIGTERM: Slurm and others kill some seconds later
WELL = 60.0  # seconds after an early warning: SIGUSR1, or the job's time is nearly over

_CODES = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_RESUMABLE,
    signal.SIGHUP: EXIT_RESUMABLE,
    signal.SIGUSR1: EXIT_RESUMABLE,
}
ORDERLY = frozenset(_CODES) - {signal.SIGINT}  # those that request an orderly stop


class StopRequest:
    """A request to end the run, and how soon.

    code:     the exit code of the run; 0: no request yet
    name:     of the signal, or of what else requested it
    patience: seconds for running work to end
    urgent:   the run must end at once
    """

    def __init__(self) -> None:
        self.code = 0
        self.name = ""
        self.patience = 0.0
        self.urgent = False
        self._wake: list[Callable[[], None]] = []

    def notify(self, wake: Callable[[], None]) -> None:
        """Register wake to be called when a signal comes."""
        self._wake.append(wake)

    def ask(self, number: int) -> None:
        """Request the stop that a signal's number stands for."""
        which = signal.Signals(number)
        if self.code or which == signal.SIGINT:
            self.urgent = True
        self.note(_CODES[which], which.name, WELL if which == signal.SIGUSR1 else SOON)

    def note(self, code: int, name: str, patience: float) -> None:
        """Request a stop, for another rank or as the job's time is nearly over; an earlier request stands."""
        if not self.code:
            self.code, self.name, self.patience = code, name, patience
        for wake in self._wake:
            wake()


@contextmanager
def watched(stop: StopRequest) -> Iterator[StopRequest]:
    """Turn signals into requests to stop. A second Ctrl-C is Python's own: it ends this process where it is."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.ask(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in _CODES}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def noted(stop: StopRequest) -> Iterator[None]:
    """Turn signals into requests to stop, also one that comes again: another process decides when this one ends."""
    before = {number: signal.signal(number, lambda number, frame: stop.ask(number)) for number in _CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(stop: StopRequest) -> Iterator[Callable[[], int]]:
    """Turn Ctrl-C, and the SIGTERM of a launcher or service manager, into a request to stop at once, where what Python
    starts with would get them: it gets the next ones.

    Yield a function that returns the number of the one that came, or 0. A program's own handlers stay, and a thread
    that is not the main one can set none.
    """
    came: list[int] = []
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        came.append(number)
        stop.urgent = True
        stop.ask(number)

    def restore() -> None:
        for number, handler in usual.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)

    try:
        for number, handler in usual.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, handle)
    except ValueError:
        pass
    try:
        yield lambda: came[0] if came else 0
    finally:
        restore()


class StoppedEarly(Exception):
    """The run ended before all was done. code: its exit code; name: of the signal, or of what else ended it."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(code, name)
        self.code = code
        self.name = name
