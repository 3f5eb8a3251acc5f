"""Signals that end a run: noted in a handler, acted on by the rank's loop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hpcp_mpi.vocab.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE

_CODES = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_RESUMABLE,
    signal.SIGHUP: EXIT_RESUMABLE,
    signal.SIGUSR1: EXIT_RESUMABLE,
}


class StopRequest:
    """Whether a signal has asked to stop: `code` is the exit code that it asks for, 0 before."""

    def __init__(self) -> None:
        self.code = 0
        self.name = ""
        self._wake: list[Callable[[], None]] = []

    def notify(self, wake: Callable[[], None]) -> None:
        """Have wake called when a signal comes."""
        self._wake.append(wake)

    def ask(self, number: int) -> None:
        """Ask to stop as signal number does."""
        if not self.code:
            self.code, self.name = _CODES[signal.Signals(number)], signal.Signals(number).name
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
