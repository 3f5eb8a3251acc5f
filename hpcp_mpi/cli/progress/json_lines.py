"""Progress as JSON for programs: one object a line, with the fields of vocab.progress.Progress."""

from collections.abc import Callable
from typing import Any

from hpcp_mpi.cli.progress.lines import AtIntervals
from hpcp_mpi.vocab.progress import Progress


class JsonLines(AtIntervals):
    """A watcher that writes objects."""

    def __init__(self, interval: float, write: Callable[[str, dict[str, Any]], None]) -> None:
        """write: gets the event, "progress", and its fields"""
        super().__init__(interval)
        self._write = write

    def write(self, progress: Progress) -> None:
        fraction = progress.fraction
        self._write("progress", {**progress.as_dict(), "fraction": None if fraction is None else round(fraction, 6)})
