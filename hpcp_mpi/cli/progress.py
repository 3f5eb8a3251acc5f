"""Progress of a run, shown by rank 0: a live bar on a terminal, else a log line at intervals."""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from hpcp_mpi.cli.amounts import duration, size
from hpcp_mpi.engine.frontend import Status
from hpcp_mpi.vocab.paths import in_one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REDRAW = 0.2  # seconds
_PATIENCE = 0.5  # seconds of a run before a bar is worth its import
_OF_ENTRIES = ("removing", "counting", "listing", "comparing")  # phases that move no content
_ANEW = ("removing", "counting", "verifying")  # phases that count from 0; others continue the copy's counts


@dataclass(frozen=True, slots=True)
class Amount:
    """The amount of a phase that is done, and its total."""

    done: int = 0  # entries
    bytes: int = 0
    files: int = 0  # the number behind `files/s`
    total: int = 0  # entries; as far as is known
    total_bytes: int = 0
    seconds: float = 0.0  # since the run began


NONE = Amount()


def amount(status: Status) -> Amount:
    """Return how much of status' phase is done."""
    outcome, found = status.outcome, status.scanned
    if status.phase in ("removing", "counting"):
        removed = outcome.removed
        return Amount(removed.entries, 0, removed.files, found.entries, 0, status.seconds)
    if status.phase == "listing":
        return Amount(found.entries, 0, 0, found.entries, 0, status.seconds)
    if status.phase == "verifying":
        read, copied = outcome.verified, outcome.copied
        return Amount(read.entries, read.bytes, read.files, copied.entries, copied.bytes, status.seconds)
    copied = outcome.copied
    done = copied.entries + outcome.updated.entries + outcome.skipped.entries + len(outcome.failures)
    known = outcome.skipped.bytes + outcome.updated.bytes
    return Amount(done, copied.bytes + known, copied.files, found.entries, found.bytes, status.seconds)


def remaining(status: Status, since: Amount = NONE) -> float | None:
    """Return the seconds that the rest of the phase will take at its rate; None while its size is unknown.

    since: as it was when the phase began
    """
    now = amount(status)
    done = now.done - since.done
    if not status.scan_done or done <= 0:
        return None
    entries = max(0, now.total - now.done) / done
    read = now.bytes - since.bytes
    left = max(0, now.total_bytes - now.bytes)
    return (now.seconds - since.seconds) * max(entries, left / read if read > 0 else entries)


class Since:
    """The amount that was done when the current phase began, if that counts from 0: its rates are its own."""

    def __init__(self) -> None:
        self._phase = ""
        self._amount = NONE

    def of(self, status: Status) -> Amount:
        if status.phase != self._phase:
            self._phase = status.phase
            self._amount = amount(status) if status.phase in _ANEW else NONE
        return self._amount


class Lines:
    """A watcher for logs, which writes one timestamped line every interval seconds."""

    def __init__(self, interval: float, stream: TextIO | None = None) -> None:
        self._interval = interval
        self._stream = stream or sys.stderr
        self._since = Since()
        self._next = time.monotonic() + interval

    def due(self) -> bool:
        return self._interval > 0 and time.monotonic() >= self._next

    def show(self, status: Status) -> None:
        self._next = time.monotonic() + self._interval
        # In one piece: launchers forward what they get, and print() would write each of its parts.
        self._stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line(status, self._since.of(status))}\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: there is no bar to clear."""


def line(status: Status, since: Amount = NONE) -> str:
    """Return status as one line. since: as it was when the phase began."""
    outcome, now = status.outcome, amount(status)
    left = remaining(status, since)
    parts = [f"{status.phase}: {_of(now, status)} entries", _speed(status, now, since)]
    if outcome.skipped and status.phase not in ("removing", "counting", "verifying", "listing"):
        parts.append(f"{outcome.skipped.entries:,} identical")
    parts.append(f"{status.active} of {status.ranks} ranks busy")
    if outcome.failures:
        parts.append(f"{len(outcome.failures):,} failed")
    parts.append(f"{duration(left)} left" if left is not None else "scanning")
    return in_one_line(", ".join(parts))


def words(status: Status, since: Amount = NONE) -> str:
    """Return status in few words, which fit beside a bar. since: as it was when the phase began."""
    now, left = amount(status), remaining(status, since)
    parts = [
        status.phase,
        f"{now.done:,}/{now.total:,}{'' if status.scan_done else '+'}",
        *_rates(status, now, since),
        f"{status.active}/{status.ranks} ranks",
        f"{duration(left)} left" if left is not None else "scanning",
    ]
    if status.outcome.failures:
        parts.insert(0, f"{len(status.outcome.failures):,} failed")
    return in_one_line("  ".join(parts))


def _of(now: Amount, status: Status) -> str:
    if now.total == now.done and not status.scan_done:
        return f"{now.done:,}"  # all that is found is done
    return f"{now.done:,} of {now.total:,}{'' if status.scan_done else '+'}"


def _speed(status: Status, now: Amount, since: Amount) -> str:
    rates = ", ".join(_rates(status, now, since))
    if status.phase in _OF_ENTRIES:
        return rates
    if status.phase == "verifying":
        return f"{size(now.bytes)} read again ({rates})"
    return f"{size(status.outcome.copied.bytes)} copied ({rates})"


def _rates(status: Status, now: Amount, since: Amount) -> tuple[str, ...]:
    """Return bytes/s and files/s as text; entries/s where no content is moved."""
    seconds = max(now.seconds - since.seconds, 0.001)
    if status.phase in _OF_ENTRIES:
        return (f"{(now.done - since.done) / seconds:,.0f} entries/s",)
    moved = now.bytes - since.bytes if status.phase == "verifying" else status.outcome.copied.bytes
    return (f"{size(moved / seconds)}/s", f"{(now.files - since.files) / seconds:,.0f} files/s")


class Bar:
    """A watcher for terminals: a bar that is redrawn in place."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PATIENCE
        self._since = Since()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def show(self, status: Status) -> None:
        self._next = time.monotonic() + _REDRAW
        if self._progress is None:
            self._open()
        assert self._progress is not None and self._task is not None
        now = amount(status)
        total = now.total if status.scan_done else None
        text = words(status, self._since.of(status))
        self._progress.update(self._task, total=total, completed=now.done, words=text)
        self._progress.refresh()

    def _open(self) -> None:
        # Imported here: only rank 0 needs it, and only on a terminal.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        one_line = Column(no_wrap=True, overflow="ellipsis")
        text = TextColumn("{task.fields[words]}", markup=False, table_column=one_line)
        columns = (BarColumn(20), TaskProgressColumn(), text)
        self._progress = Progress(*columns, console=Console(file=sys.stderr), auto_refresh=False, transient=True)
        self._progress.start()
        self._task = self._progress.add_task("", total=None, words="")

    def close(self) -> None:
        """Remove the bar; show() draws a new one."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def watcher_for(interval: float) -> Bar | Lines:
    """Return the watcher for stderr: a bar on a terminal, else lines. interval: seconds between these; 0: none"""
    return Bar() if sys.stderr.isatty() else Lines(interval)
