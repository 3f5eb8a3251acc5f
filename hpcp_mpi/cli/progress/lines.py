"""Progress as lines of a log, each with the time."""

import time
from collections.abc import Callable

from hpcp_mpi.cli.progress.words import line
from hpcp_mpi.vocab.progress import Progress

FIRST = 1.0  # seconds until it is said that the run is under way, however long the interval
_WIDTH = 80 - len("2000-01-01 00:00:00 ")


class AtIntervals:
    """A watcher that writes progress soon, and then every interval seconds. An interval of 0 is silence."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = time.monotonic() + min(FIRST, interval)

    def due(self) -> bool:
        return self._interval > 0 and time.monotonic() >= self._next

    def show(self, progress: Progress) -> None:
        self._next = time.monotonic() + self._interval
        self.write(progress)

    def write(self, progress: Progress) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing: a line stays."""


class Lines(AtIntervals):
    """A watcher that writes lines of text."""

    def __init__(self, interval: float, write: Callable[[str], None]) -> None:
        """write: adds the time"""
        super().__init__(interval)
        self._write = write

    def write(self, progress: Progress) -> None:
        self._write(line(progress, _WIDTH))
