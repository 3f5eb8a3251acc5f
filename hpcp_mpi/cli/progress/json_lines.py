"""Progress as JSON for programs: one object a line, with the fields of vocab.progress.Progress."""

import time
from collections.abc import Callable
from typing import Any

from hpcp_mpi.cli.progress.lines import FIRST
from hpcp_mpi.vocab.progress import Progress


class JsonLines:
    """A watcher that writes an object soon, and then every interval seconds. An interval of 0 is silence."""

    def __init__(self, interval: float, write: Callable[[str, dict[str, Any]], None]) -> None:
        """write: gets the event, "progress", and its fields"""
        self._interval = interval
        self._write = write
        self._next = time.monotonic() + min(FIRST, interval)

    def due(self) -> bool:
        return self._interval > 0 and time.monotonic() >= self._next

    def show(self, progress: Progress) -> None:
        self._next = time.monotonic() + self._interval
        fraction = progress.fraction
        self._write("progress", {**progress.as_dict(), "fraction": None if fraction is None else round(fraction, 6)})

    def close(self) -> None:
        """Do nothing: a line stays."""
