"""Signals that end a run, on every rank: noted in a handler, acted on by the rank's loop.

Most of them request an orderly stop: nothing more is started, and running work has a while to end. Ctrl-C, and any
signal that comes again, ends the run at once.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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
def interruptible(stop: StopRequest) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop, where Python's own handler would get it; the next one is Python's.

    Yield a function that returns whether it came. A program's own handlers stay, and a thread that is not the main one
    can set none.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        came.append(number)
        stop.ask(number)

    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, handle)
    except ValueError:
        pass
    try:
        yield lambda: bool(came)
    finally:
        if signal.getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class StoppedEarly(Exception):
    """The run ended before all was done. code: its exit code; name: of the signal, or of what else ended it."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(code, name)
        self.code = code
        self.name = name
