"""Progress of a run, shown by rank 0: a live bar on a terminal, else a log line at intervals."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from hpcp_mpi.cli.amounts import duration, size
from hpcp_mpi.vocab.paths import in_one_line
from hpcp_mpi.vocab.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_REDRAW = 0.2  # seconds
_PATIENCE = 0.5  # seconds of a run before a bar is worth its import
_OF_ENTRIES = ("removing", "counting", "listing", "comparing")  # phases that move no content


class Lines:
    """A watcher for logs, which writes one timestamped line every interval seconds."""

    def __init__(self, interval: float, stream: TextIO | None = None) -> None:
        self._interval = interval
        self._stream = stream or sys.stderr
        self._next = time.monotonic() + interval

    def due(self) -> bool:
        return self._interval > 0 and time.monotonic() >= self._next

    def show(self, progress: Progress) -> None:
        self._next = time.monotonic() + self._interval
        # In one piece: launchers forward what they get, and print() would write each of its parts.
        self._stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line(progress)}\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: there is no bar to clear."""


def line(progress: Progress) -> str:
    """Return progress as one line."""
    left = progress.remaining
    parts = [f"{progress.phase}: {_of(progress)} entries", _speed(progress)]
    if progress.identical and progress.phase not in ("removing", "counting", "verifying", "listing"):
        parts.append(f"{progress.identical:,} identical")
    parts.append(f"{progress.active} of {progress.ranks} ranks busy")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    parts.append(f"{duration(left)} left" if left is not None else "scanning")
    return in_one_line(", ".join(parts))


def words(progress: Progress) -> str:
    """Return progress in few words, which fit beside a bar."""
    left = progress.remaining
    parts = [
        progress.phase,
        f"{progress.entries:,}/{progress.entries_total:,}{'' if progress.total_known else '+'}",
        *_rates(progress),
        f"{progress.active}/{progress.ranks} ranks",
        f"{duration(left)} left" if left is not None else "scanning",
    ]
    if progress.failed:
        parts.insert(0, f"{progress.failed:,} failed")
    return in_one_line("  ".join(parts))


def _of(progress: Progress) -> str:
    if progress.entries_total == progress.entries and not progress.total_known:
        return f"{progress.entries:,}"  # all that is found is done
    return f"{progress.entries:,} of {progress.entries_total:,}{'' if progress.total_known else '+'}"


def _speed(progress: Progress) -> str:
    rates = ", ".join(_rates(progress))
    if progress.phase in _OF_ENTRIES:
        return rates
    done = "read again" if progress.phase == "verifying" else "copied"
    return f"{size(progress.bytes_moved)} {done} ({rates})"


def _rates(progress: Progress) -> tuple[str, ...]:
    """Return bytes/s and files/s as text; entries/s where no content is moved."""
    if progress.phase in _OF_ENTRIES:
        return (f"{progress.entries_per_second:,.0f} entries/s",)
    return (f"{size(progress.bytes_per_second)}/s", f"{progress.files_per_second:,.0f} files/s")


class Bar:
    """A watcher for terminals: a bar that is redrawn in place."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PATIENCE
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def show(self, progress: Progress) -> None:
        self._next = time.monotonic() + _REDRAW
        if self._rich is None:
            self._open()
        assert self._rich is not None and self._task is not None
        total = progress.entries_total if progress.total_known else None
        self._rich.update(self._task, total=total, completed=progress.entries, words=words(progress))
        self._rich.refresh()

    def _open(self) -> None:
        # Imported here: only rank 0 needs it, and only on a terminal.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        one_line = Column(no_wrap=True, overflow="ellipsis")
        text = TextColumn("{task.fields[words]}", markup=False, table_column=one_line)
        columns = (BarColumn(20), TaskProgressColumn(), text)
        self._rich = Progress(*columns, console=Console(file=sys.stderr), auto_refresh=False, transient=True)
        self._rich.start()
        self._task = self._rich.add_task("", total=None, words="")

    def close(self) -> None:
        """Remove the bar; show() draws a new one."""
        if self._rich is not None:
            self._rich.stop()
            self._rich = None


def watcher_for(interval: float) -> Bar | Lines:
    """Return the watcher for stderr: a bar on a terminal, else lines. interval: seconds between these; 0: none"""
    return Bar() if sys.stderr.isatty() else Lines(interval)
