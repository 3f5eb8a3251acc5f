"""Signals that end a run: noted in a handler, acted on by the rank's loop.

Most of them ask it to end in good order: nothing is begun any more, and what is begun has a while to end. Ctrl-C, and
any signal that comes again, ends it at once.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hpcp_mpi.vocab.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE

SOON = 5.0  # seconds that what is begun has after SIGTERM: Slurm and others kill some seconds later
WELL = 60.0  # after what comes well before the end: SIGUSR1, and the end of the job's time

_CODES = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_RESUMABLE,
    signal.SIGHUP: EXIT_RESUMABLE,
    signal.SIGUSR1: EXIT_RESUMABLE,
}
ORDERLY = frozenset(_CODES) - {signal.SIGINT}  # those that ask for an end in good order


class StopRequest:
    """Whether the run is to end.

    code:     the exit code that was asked for, 0 before
    name:     of the signal, or what else asked
    patience: seconds that what is begun has to end
    urgent:   it is to end at once
    """

    def __init__(self) -> None:
        self.code = 0
        self.name = ""
        self.patience = 0.0
        self.urgent = False
        self._wake: list[Callable[[], None]] = []

    def notify(self, wake: Callable[[], None]) -> None:
        """Have wake called when a signal comes."""
        self._wake.append(wake)

    def ask(self, number: int) -> None:
        """Ask to stop as signal number does."""
        which = signal.Signals(number)
        if self.code or which == signal.SIGINT:
            self.urgent = True
        self.note(_CODES[which], which.name, WELL if which == signal.SIGUSR1 else SOON)

    def note(self, code: int, name: str, patience: float) -> None:
        """Ask to stop, unless somebody has: another rank was asked, or the job's time is over soon."""
        if not self.code:
            self.code, self.name, self.patience = code, name, patience
        for wake in self._wake:
            wake()


@contextmanager
def watched(stop: StopRequest) -> Iterator[StopRequest]:
    """Have signals ask stop. A second Ctrl-C is Python's own: it ends this process where it is."""

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


class StoppedEarly(Exception):
    """The run was ended before all was done. code: its exit code; name: of the signal, or what else ended it."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(code, name)
        self.code = code
        self.name = name
