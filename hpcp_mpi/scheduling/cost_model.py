"""Rule: a unit weighs the seconds of a slot it will take: what an entry costs plus what a byte costs, learnt by kind.

At first there is only a guess. The first results of a kind scale it as a whole; when there are enough of them, least
squares find what is the entries' part and what the bytes'. numpy does that. It takes 80 ms to import, which a short run
would feel, so it is loaded at the first fit, and that waits until much time was spent.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from hpcp_mpi.vocab.units import Kind

FIRST = 512  # the first chunks of a kind are so much lighter than the heaviest
LONG = 16  # chunks' worth of seconds that were spent on a kind before the first fit
GROWTH = 8  # a chunk is so many times as long as the longest that was done, at most
WINDOW = 256  # results of a kind that are remembered
ENOUGH = 32  # results that are enough for a fit
SELDOM = 256  # results between fits at last, at first so many as for the first one; a fit takes 0.4 ms
TOLERANCE = 0.3  # a result counts the less, the more it is further than this part from what was expected
PASSES = 5  # of a fit; each knows better than the one before what is odd
TRUST = 2.0  # what was believed before a fit counts as much as so many results
LEAST_ENTRY = 1e-6  # seconds; nothing is free, else work without weight would never be stolen
LEAST_BYTE = 1e-13  # seconds

Result = tuple[int, int, float]  # entries, bytes, seconds


class _Fit:
    """What is known of one kind."""

    __slots__ = ("byte", "enough", "entry", "fitted", "fresh", "longest", "predicted", "seconds", "window")

    def __init__(self, entry: float, byte: float) -> None:
        self.entry = entry  # seconds for one
        self.byte = byte
        self.window: deque[Result] = deque(maxlen=WINDOW)
        self.fitted = False
        self.fresh = 0  # results since the last fit
        self.enough = ENOUGH  # of them for the next one
        self.seconds = self.predicted = 0.0  # of all results until the first fit; as guessed at first
        self.longest = 0.0  # seconds that a chunk took


class CostModel:
    """How long work takes, in seconds of a slot of the usual rank. Rank 0's.

    The first guess: a chunk of chunk_files entries, or one of chunk_size bytes, takes chunk_seconds.
    """

    def __init__(self, chunk_seconds: float, chunk_files: int, chunk_size: int) -> None:
        self.chunk_seconds: Final = chunk_seconds
        self._entry = max(chunk_seconds / max(1, chunk_files), LEAST_ENTRY)
        self._byte = max(chunk_seconds / max(1, chunk_size), LEAST_BYTE)
        self._fits = {kind: _Fit(self._entry, self._byte) for kind in Kind}

    def costs(self, kind: Kind) -> tuple[float, float]:
        """Return the seconds that an entry takes, however small it is, and those that a byte takes."""
        fit = self._fits[kind]
        return fit.entry, fit.byte

    def seconds(self, kind: Kind, entries: int, amount: int) -> float:
        """Return the seconds that so many entries with so many bytes take."""
        fit = self._fits[kind]
        return entries * fit.entry + amount * fit.byte

    def longest(self, kind: Kind) -> float:
        """Return how many seconds a chunk may be expected to last: at first few, as the guess may be far out."""
        return max(self.chunk_seconds / FIRST, min(self.chunk_seconds, GROWTH * self._fits[kind].longest))

    def learn(self, kind: Kind, entries: int, amount: int, seconds: float) -> None:
        """Record that so many entries with so many bytes took so many seconds."""
        if entries < 1 or seconds <= 0:
            return
        fit = self._fits[kind]
        fit.window.append((entries, amount, seconds))
        fit.fresh += 1
        if seconds > fit.longest:
            fit.longest = seconds
        if not fit.fitted:
            self._scale(fit, entries, amount, seconds)
        if fit.fresh >= fit.enough and (fit.fitted or fit.seconds >= LONG * self.chunk_seconds):
            fit.fresh, fit.fitted, fit.enough = 0, True, min(SELDOM, 2 * fit.enough)
            fit.entry, fit.byte = fitted(fit.window, (fit.entry, fit.byte), (LEAST_ENTRY, LEAST_BYTE))

    def _scale(self, fit: _Fit, entries: int, amount: int, seconds: float) -> None:
        """Until the first fit: keep the guessed ratio of entries to bytes."""
        fit.seconds += seconds
        fit.predicted += entries * self._entry + amount * self._byte
        doubt = self.chunk_seconds / FIRST  # seconds: the guess counts as much as one of the first chunks
        scale = (fit.seconds + doubt) / (fit.predicted + doubt)
        fit.entry = max(scale * self._entry, LEAST_ENTRY)
        fit.byte = max(scale * self._byte, LEAST_BYTE)


def fitted(
    results: Sequence[Result] | deque[Result], before: tuple[float, float], least: tuple[float, float]
) -> tuple[float, float]:
    """Return what an entry and a byte take, in seconds, by least squares of relative errors; neither is below least.

    before: what was believed until now. It decides what the results leave open, as when all of them have the same
    ratio of entries to bytes: then only the sum is known, and it is shared as before.
    """
    import numpy

    table = numpy.array(results, dtype=float)
    loads, sums = table[:, :2], table[:, :2].sum(axis=0)
    trust = numpy.ones(len(table))
    for _ in range(PASSES):
        # Relative errors: a chunk of 30 ms counts as much as one of 2 s, and noise grows with the seconds.
        guess = loads @ before
        ratio = table[:, 2] / guess
        middle = float(numpy.median(ratio))
        # Unknown are the factors on a base. No part of the base is next to nothing, else it could never grow again.
        believed = middle * numpy.array(before)
        base = numpy.maximum(believed, 0.02 * (believed * sums).sum() / numpy.maximum(sums, 1.0))
        columns = numpy.vstack([loads * base * (trust / guess)[:, None], TRUST**0.5 * numpy.eye(2)])
        wanted = numpy.concatenate([ratio * trust, TRUST**0.5 * believed / base])
        factors = numpy.linalg.lstsq(columns, wanted, rcond=None)[0]
        for bad, other in ((0, 1), (1, 0)):
            if factors[bad] < 0:
                column = columns[:, other]
                factors[bad], factors[other] = 0.0, max(0.0, column @ wanted / (column @ column))
        entry, byte = factors * base
        before = max(float(entry), least[0]), max(float(byte), least[1])
        # What is odd can be seen only now, when about the right costs are known (Huber's weights, square roots).
        trust = numpy.sqrt(TOLERANCE / numpy.maximum(TOLERANCE, abs(table[:, 2] / (loads @ before) - 1)))
    return before
