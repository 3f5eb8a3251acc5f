"""Rule: no more is granted than the rate allows: a bucket that fills with time, and may be overdrawn once.

While there is anything in it, all that is asked for is granted; a file that is bigger than the bucket leaves a debt,
and nothing more is granted until time has paid it. Little is kept of time in which nothing was asked for, and no more
is out than a short while's worth: workers that were held up must not all catch up at once.

A file in ranges counts as a file when it is begun, and its bytes with its ranges; finishing it costs nothing and is
never held back, as until then all of it may be lost.

Pure: time comes in as a number. What is given back unused is put back.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hpcp_mpi.vocab.units import Batch, Kind

SHARE = 0.25  # seconds: what is granted at once lasts no longer; so much is kept of idle time, too
OUT = 2.0  # seconds: so much is granted and not done, at most

# What writes content, and what makes files. Listing, comparing, and what is metadata, is free.
_BYTES = frozenset({Kind.COPY, Kind.RANGE})
_FILES = frozenset({Kind.COPY, Kind.START_FILE})
_NONE: frozenset[Kind] = frozenset()


@dataclass(slots=True)
class _Level:
    """One thing that is limited."""

    rate: float  # a second; 0: it is not limited
    left: float = 0.0  # what may be granted now; negative: a debt
    out: float = 0.0  # what is granted and not done

    @property
    def dry(self) -> bool:
        # With nothing out something may always be granted, however big.
        return self.rate > 0 and (self.left <= 0 or self.out > OUT * self.rate)

    def fill(self, seconds: float) -> None:
        self.left = min(self.left + seconds * self.rate, SHARE * self.rate)

    def draw(self, amount: float) -> None:
        self.left -= amount
        self.out += amount


class RateLimiter:
    """Limits what is granted, to so many bytes and files a second; 0: no limit."""

    def __init__(self, bytes_per_second: float, files_per_second: float) -> None:
        self._bytes = _Level(bytes_per_second)
        self._files = _Level(files_per_second)
        self._now: float | None = None

    def advance(self, now: float) -> None:
        """Record the time, in seconds of any clock that does not go back."""
        if self._now is not None and now > self._now:
            self._bytes.fill(now - self._now)
            self._files.fill(now - self._now)
        self._now = now if self._now is None else max(now, self._now)

    @property
    def closed(self) -> frozenset[Kind]:
        """Return the kinds of work that may not be granted now."""
        return (_BYTES if self._bytes.dry else _NONE) | (_FILES if self._files.dry else _NONE)

    def most(self, slots: int) -> dict[Kind, tuple[float, float]]:
        """Return (entries, bytes) that chunks may hold, by kind: infinity where there is no limit.

        slots: how many there are; all of them are to have something while no more is out than may be.
        """
        seconds = min(SHARE, OUT / (2 * max(1, slots)))
        files, amount = (level.rate * seconds or float("inf") for level in (self._files, self._bytes))
        return {Kind.COPY: (files, amount), Kind.RANGE: (float("inf"), amount), Kind.START_FILE: (files, float("inf"))}

    def grant(self, kind: Kind, entries: int, amount: int) -> None:
        """Record that a chunk was granted."""
        self._files.draw(_files(kind, entries))
        self._bytes.draw(_bytes(kind, amount))

    def done(self, kind: Kind, entries: int, amount: int) -> None:
        """Record that what was granted is done."""
        self._files.out -= _files(kind, entries)
        self._bytes.out -= _bytes(kind, amount)

    def give_back(self, batches: Iterable[Batch]) -> None:
        """Record that what was granted will not be done by the rank that it was granted to."""
        for batch in batches:
            self._files.draw(-_files(batch.kind, batch.units.entries))
            self._bytes.draw(-_bytes(batch.kind, batch.units.amount))


def _files(kind: Kind, entries: int) -> int:
    """Return how many files a chunk is."""
    return entries if kind in _FILES else 0


def _bytes(kind: Kind, amount: int) -> int:
    """Return how many bytes of content a chunk writes."""
    return amount if kind in _BYTES else 0
