"""The meter of a run's progress: it makes a Progress of what rank 0 has counted. Pure.

Rates are those of the last seconds, beside the average of the phase: a phase that counts from 0 has rates of its own.
"""

from collections import deque
from dataclasses import dataclass, replace

from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.progress import Progress
from hpcp_mpi.vocab.tally import Tally

WINDOW = 10.0  # seconds: a rate is of so many last ones
_ANEW = ("removing", "counting", "verifying")  # phases that count from 0; others continue the copy's counts


@dataclass(frozen=True, slots=True)
class Counted:
    """What rank 0 has counted at one moment."""

    phase: str  # copying, linking, settling
    scanned: Tally
    scan_done: bool
    outcome: Outcome
    active: int  # ranks that have work
    ranks: int  # that work
    seconds: float  # since the run began


def amounts(counted: Counted) -> Progress:
    """Return how much of the phase is done, without rates."""
    outcome, found = counted.outcome, counted.scanned
    progress = Progress(
        phase=counted.phase,
        seconds=counted.seconds,
        total_known=counted.scan_done,
        identical=outcome.skipped.entries,
        failed=len(outcome.failures),
        active=counted.active,
        ranks=counted.ranks,
    )
    if counted.phase in ("removing", "counting"):
        removed = outcome.removed
        return replace(progress, entries=removed.entries, entries_total=found.entries, files=removed.files)
    if counted.phase == "listing":
        return replace(progress, entries=found.entries, entries_total=found.entries)
    if counted.phase == "verifying":
        read, copied = outcome.verified, outcome.copied
        return replace(
            progress,
            entries=read.entries,
            entries_total=copied.entries,
            bytes=read.bytes,
            bytes_total=copied.bytes,
            bytes_moved=read.bytes,
            files=read.files,
        )
    copied = outcome.copied
    return replace(
        progress,
        entries=copied.entries + outcome.updated.entries + outcome.skipped.entries + len(outcome.failures),
        entries_total=found.entries,
        bytes=copied.bytes + outcome.skipped.bytes + outcome.updated.bytes,
        bytes_total=found.bytes,
        bytes_moved=copied.bytes,
        files=copied.files,
    )


class ProgressMeter:
    """A meter that remembers the last seconds and when the phase began."""

    def __init__(self) -> None:
        self._phase = ""
        self._began = Progress("")  # when the phase began, if that counts from 0
        self._last: deque[Progress] = deque()  # of the last seconds, the oldest first

    def read(self, counted: Counted) -> Progress:
        """Return the progress, of the moments that this was called at before."""
        now = amounts(counted)
        if now.phase != self._phase:
            self._phase = now.phase
            self._began = now if now.phase in _ANEW else Progress("")
            self._last.clear()
        self._last.append(now)
        while len(self._last) > 2 and now.seconds - self._last[1].seconds >= WINDOW:
            self._last.popleft()
        since = self._last[0] if len(self._last) > 1 else self._began
        lately, average = _rates(now, since), _rates(now, self._began)
        return replace(
            now,
            entries_per_second=lately[0],
            files_per_second=lately[1],
            bytes_per_second=lately[2],
            average_entries=average[0],
            average_files=average[1],
            average_bytes=average[2],
            remaining=self._remaining(now),
        )

    def _remaining(self, now: Progress) -> float | None:
        """Return the seconds that the rest of the phase will take at its rate; None while its size is unknown."""
        done = now.entries - self._began.entries
        if not now.total_known or done <= 0:
            return None
        entries = max(0, now.entries_total - now.entries) / done
        read = now.bytes - self._began.bytes
        left = max(0, now.bytes_total - now.bytes)
        return (now.seconds - self._began.seconds) * max(entries, left / read if read > 0 else entries)


def _rates(now: Progress, since: Progress) -> tuple[float, float, float]:
    """Return entries, files and bytes per second."""
    seconds = max(now.seconds - since.seconds, 0.001)
    return (
        (now.entries - since.entries) / seconds,
        (now.files - since.files) / seconds,
        (now.bytes_moved - since.bytes_moved) / seconds,
    )
