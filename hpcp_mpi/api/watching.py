"""Watching a run from a program, on rank 0: its callbacks, and the log."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from hpcp_mpi.cluster.signals import SOON, StopRequest
from hpcp_mpi.vocab.errors import EXIT_RESUMABLE
from hpcp_mpi.vocab.paths import in_one_line, printable
from hpcp_mpi.vocab.progress import Progress
from hpcp_mpi.vocab.report import Report

LOGGER = "hpcp_mpi"
EVERY = 0.2  # seconds between two calls of a callback
_MOST = 20  # failures and notes that are logged one by one; the report has all of them

_log = logging.getLogger(LOGGER)
_log.addHandler(logging.NullHandler())  # a program that sets up no logging gets no lines


class Callbacks:
    """A watcher that calls what the caller gave, in the thread that leads.

    raised: what a callback raised, which ends the run in good order
    """

    def __init__(
        self,
        progress: Callable[[Progress], object] | None,
        should_stop: Callable[[], object] | None,
        stop: StopRequest,
    ) -> None:
        self._progress = progress
        self._should_stop = should_stop
        self._stop = stop
        self._next = 0.0  # by time.monotonic()
        self.raised: BaseException | None = None

    def due(self) -> bool:
        """Return whether show() is to be called now; ask whether to stop as often."""
        now = time.monotonic()
        if now < self._next or self.raised is not None:
            return False
        self._next = now + EVERY
        self.ask()
        return self._progress is not None and self.raised is None

    def ask(self) -> None:
        """Ask whether to stop, and request it."""
        if self._should_stop is None or self._stop.code:
            return
        try:
            if self._should_stop():
                self._stop.note(EXIT_RESUMABLE, "should_stop", SOON)
        except BaseException as error:
            self._broke(error)

    def show(self, progress: Progress) -> None:
        if self._progress is None or self.raised is not None:
            return
        try:
            self._progress(progress)
        except BaseException as error:
            self._broke(error)

    def _broke(self, error: BaseException) -> None:
        self.raised = error
        self._stop.urgent = True
        self._stop.note(EXIT_RESUMABLE, "an exception of a callback", 0.0)


def say(news: str) -> None:
    """Log what is worth knowing while a run goes on."""
    _log.info("%s", in_one_line(news.removeprefix("hpcp-mpi: ")))


def log_report(function: str, report: Report) -> None:
    """Log how a run ended: failures are errors, notes are warnings."""
    for line in _few((f"{printable(each.path)}: {each.reason}" for each in report.failures), len(report.failures)):
        _log.error("%s", line)
    notes = report.outcome.notes
    for line in _few((f"{printable(path)}: {note}" for path, note in notes), len(notes)):
        _log.warning("%s", line)
    _log.info("%s() ended: %s", function, report)


def _few(lines: Iterable[str], count: int) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == _MOST:
            yield f"... and {count - _MOST:,} more, which are in the report"
            return
        yield in_one_line(line)
