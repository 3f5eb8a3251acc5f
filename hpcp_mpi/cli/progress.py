"""How far it is: a live bar on a terminal, a line now and then anywhere else."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from hpcp_mpi.cli.sizes import duration, size
from hpcp_mpi.operations.crew import Status

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REDRAW = 0.2  # seconds
_PATIENCE = 0.5  # seconds that pass before a bar is worth its import


def done_entries(status: Status) -> int:
    """Return how many of the scanned entries are dealt with."""
    outcome = status.outcome
    return outcome.copied.entries + outcome.updated.entries + outcome.skipped.entries + len(outcome.failures)


def remaining(status: Status) -> float | None:
    """Return the seconds that the rest will take at this rate; None while the scan is not done."""
    done = done_entries(status)
    if not status.scan_done or not done:
        return None
    files = max(0, status.scanned.entries - done) / done
    bytes_done = status.outcome.copied.bytes + status.outcome.skipped.bytes + status.outcome.updated.bytes
    left = max(0, status.scanned.bytes - bytes_done)
    return status.seconds * max(files, left / bytes_done if bytes_done else files)


class Lines:
    """For logs: one timestamped line every interval seconds."""

    def __init__(self, interval: float, stream: TextIO = sys.stderr) -> None:
        self._interval = interval
        self._stream = stream
        self._next = time.monotonic() + interval

    def due(self) -> bool:
        return self._interval > 0 and time.monotonic() >= self._next

    def show(self, status: Status) -> None:
        self._next = time.monotonic() + self._interval
        print(time.strftime("%Y-%m-%d %H:%M:%S"), line(status), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to clear."""


def line(status: Status) -> str:
    """Return status as one line."""
    outcome, seconds = status.outcome, max(status.seconds, 0.001)
    copied = outcome.copied
    more = "" if status.scan_done else "+"
    left = remaining(status)
    parts = [
        f"{status.phase}: {done_entries(status):,} of {status.scanned.entries:,}{more} entries",
        f"{size(copied.bytes)} copied ({size(copied.bytes / seconds)}/s, {copied.files / seconds:,.0f} files/s)",
        f"{outcome.skipped.entries:,} identical",
        f"{status.active} of {status.ranks} ranks busy",
    ]
    if outcome.failures:
        parts.append(f"{len(outcome.failures):,} failed")
    parts.append(f"{duration(left)} left" if left is not None else "scanning")
    return ", ".join(parts)


def words(status: Status) -> str:
    """Return status in so few words that a bar fits beside them."""
    copied, seconds = status.outcome.copied, max(status.seconds, 0.001)
    left = remaining(status)
    parts = [
        f"{done_entries(status):,}/{status.scanned.entries:,}{'' if status.scan_done else '+'}",
        size(copied.bytes),
        f"{size(copied.bytes / seconds)}/s",
        f"{copied.files / seconds:,.0f} files/s",
        f"{status.active}/{status.ranks} ranks",
        f"{duration(left)} left" if left is not None else "scanning",
    ]
    if status.outcome.failures:
        parts.insert(0, f"{len(status.outcome.failures):,} failed")
    return "  ".join(parts)


class Bar:
    """For terminals: a bar that is redrawn in place."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PATIENCE
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def show(self, status: Status) -> None:
        self._next = time.monotonic() + _REDRAW
        if self._progress is None:
            self._open()
        assert self._progress is not None and self._task is not None
        total = status.scanned.entries if status.scan_done else None
        self._progress.update(self._task, total=total, completed=done_entries(status), words=words(status))
        self._progress.refresh()

    def _open(self) -> None:
        # Imported here: rank 0 alone needs it, and only when there is somebody to look at it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        one_line = Column(no_wrap=True, overflow="ellipsis")
        text = TextColumn("{task.fields[words]}", markup=False, table_column=one_line)
        columns = (BarColumn(20), TaskProgressColumn(), text)
        self._progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
        self._progress.start()
        self._task = self._progress.add_task("", total=None, words="")

    def close(self) -> None:
        """Take the bar away; show() draws a new one."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def watcher_for(interval: float) -> Bar | Lines:
    """Return what suits where stderr goes."""
    return Bar() if sys.stderr.isatty() else Lines(interval)
