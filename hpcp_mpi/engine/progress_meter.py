"""The meter of a run's progress: it makes a Progress of what rank 0 has counted. Pure.

Rates are those of the last seconds, beside the average of the phase: a phase that counts from 0 has rates of its own.
What ranks say of work under way is about right, and gone if they are lost: what is shown never goes back in a phase.
"""

from collections import deque
from dataclasses import dataclass, replace

from hpcp_mpi.engine.remaining_time import RemainingTime
from hpcp_mpi.vocab.options import DEFAULT_CHUNK_FILES, DEFAULT_CHUNK_SIZE
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.progress import NONE_IN_RANGES, InRanges, Progress
from hpcp_mpi.vocab.tally import NOTHING, Tally

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
    under_way: Tally = NOTHING  # about how much ranks have done that is in no outcome
    in_ranges: InRanges = NONE_IN_RANGES  # those of an earlier run count when their files are finished
    identical: Tally = NOTHING  # what the scan saw to be identical
    failed: Tally = NOTHING  # what was to be done of what failed
    entry_bytes: float = DEFAULT_CHUNK_SIZE / DEFAULT_CHUNK_FILES  # an entry is believed to take as long as so many
    rates: tuple[int, int] = (0, 0)  # bytes and files a second that are allowed; 0: no limit


def amounts(counted: Counted) -> Progress:
    """Return how much of the phase is done, without rates."""
    outcome, found, under_way = counted.outcome, counted.scanned, counted.under_way
    identical = outcome.skipped.plus(counted.identical)
    progress = Progress(
        phase=counted.phase,
        seconds=counted.seconds,
        total_known=counted.scan_done,
        identical=identical.entries,
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
        read, copied = outcome.verified.plus(under_way), outcome.copied
        return replace(
            progress,
            entries=read.entries,
            entries_total=copied.entries,
            bytes=read.bytes,
            bytes_total=copied.bytes,
            bytes_moved=read.bytes,
            files=read.files,
        )
    big = counted.in_ranges
    copied = outcome.copied.plus(under_way).plus(Tally(bytes=big.copied - big.passed))
    failed = max(counted.failed.entries, len(outcome.failures))
    return replace(
        progress,
        entries=copied.entries + outcome.updated.entries + identical.entries + failed,
        entries_total=found.entries,
        bytes=max(0, copied.bytes + identical.bytes + outcome.updated.bytes + counted.failed.bytes),
        bytes_total=max(0, found.bytes - big.holes),
        bytes_moved=max(0, copied.bytes - big.before),
        files=copied.files,
    )


class ProgressMeter:
    """A meter that remembers the last seconds and when the phase began."""

    def __init__(self) -> None:
        self._began = Progress("")  # when the phase began, if that counts from 0
        self._last: deque[Progress] = deque()  # of the last seconds, the oldest first
        self._time = RemainingTime(0.0, 0, 0)

    def read(self, counted: Counted) -> Progress:
        """Return the progress, of the moments that this was called at before."""
        now = _no_more_than_found(amounts(counted))
        before = self._last[-1] if self._last else Progress("")
        if now.phase != before.phase:
            self._begin(now, before)
        else:
            now = replace(
                now,
                entries=max(now.entries, before.entries),
                bytes=max(now.bytes, before.bytes),
                bytes_moved=max(now.bytes_moved, before.bytes_moved),
                files=max(now.files, before.files),
            )
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
            remaining=self._remaining(now, counted),
        )

    def _begin(self, now: Progress, before: Progress) -> None:
        """Begin a phase; one that continues the counts of the phase before goes on with its rates."""
        if now.phase in _ANEW or before.phase in _ANEW:
            self._last.clear()
        self._began = now if now.phase in _ANEW else Progress("")
        if self._began.phase or before.entries:  # else it began with the run
            self._time = RemainingTime(now.seconds, now.entries, now.bytes)

    def _remaining(self, now: Progress, counted: Counted) -> float | None:
        """Return the seconds that the rest of the phase will take; None while that cannot be known."""
        self._time.note(now.seconds, now.entries, now.bytes)
        if not now.total_known:
            return None
        entries, amount = max(0, now.entries_total - now.entries), max(0, now.bytes_total - now.bytes)
        left = self._time.left(entries, amount, counted.entry_bytes)
        if left is None:
            return None
        bytes_per_second, files_per_second = counted.rates
        if bytes_per_second and now.phase == "copying":
            left = max(left, amount / bytes_per_second)
        if files_per_second:
            left = max(left, entries / files_per_second)
        return left


def _no_more_than_found(now: Progress) -> Progress:
    """Return progress with no more done than there is: files may grow, and what is under way is an estimate.

    While the scan goes on there is at least what is done: a resumed run knows that before it finds the files again.
    """
    if not now.total_known:
        return replace(
            now,
            entries_total=max(now.entries, now.entries_total),
            bytes_total=max(now.bytes, now.bytes_total),
        )
    return replace(now, entries=min(now.entries, now.entries_total), bytes=min(now.bytes, now.bytes_total))


def _rates(now: Progress, since: Progress) -> tuple[float, float, float]:
    """Return entries, files and bytes per second."""
    seconds = max(now.seconds - since.seconds, 0.001)
    return (
        (now.entries - since.entries) / seconds,
        (now.files - since.files) / seconds,
        (now.bytes_moved - since.bytes_moved) / seconds,
    )
