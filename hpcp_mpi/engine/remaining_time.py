"""The time that is left of a phase: learnt is what an entry takes, however small it is, and what a byte takes. Pure.

Entries alone say little where some are huge, bytes alone where most are tiny. Each second gives an equation for both.
Where those leave the ratio open, as long as all that was copied is alike, what was believed before decides.
"""

from typing import NamedTuple

_MOST = 128  # steps that are remembered: then two each become one
_TRUST = 2.0  # what is believed before counts as much as so many steps
_LEAST = 0.01  # of all time: so much of it entries and bytes take each, where a fit begins
_FIRST = 1.0  # seconds of a step at first


class _Step(NamedTuple):
    seconds: float
    entries: float
    bytes: float


class RemainingTime:
    """Learns from how a phase goes on."""

    def __init__(self, seconds: float, entries: int, amount: int) -> None:
        """What is done of a phase when it begins, and when that is."""
        self._from = self._last = (seconds, entries, amount)
        self._steps: list[_Step] = []
        self._length = _FIRST

    def note(self, seconds: float, entries: int, amount: int) -> None:
        """Record how many entries and bytes are done at a time. Called at any times, in order."""
        self._last = (seconds, entries, amount)
        if seconds - self._from[0] < self._length:
            return
        self._steps.append(self._step())
        self._from = self._last
        if len(self._steps) >= _MOST:
            self._steps = [_sum(self._steps[at : at + 2]) for at in range(0, _MOST, 2)]
            self._length *= 2

    def _step(self) -> _Step:
        began, now = self._from, self._last
        return _Step(now[0] - began[0], max(0, now[1] - began[1]), max(0, now[2] - began[2]))

    def left(self, entries: int, amount: int, entry_bytes: float) -> float | None:
        """Return the seconds that so many entries with so many bytes will take; None while nothing is known.

        entry_bytes: an entry is believed to take as long as so many bytes
        """
        steps = [*self._steps, self._step()]
        done = _sum(steps)
        if done.seconds <= 0 or not (done.entries or done.bytes):
            return None
        entry, byte = _fitted(steps, done, entry_bytes)
        lately = _sum(_latest(steps, done.seconds / 2))
        usual = entry * lately.entries + byte * lately.bytes
        # Steps say what the ratio is; how fast it goes, the sum says: half of the time, so that a change shows.
        pace = lately.seconds / usual if usual > 0 else 1.0
        return (entry * max(0, entries) + byte * max(0, amount)) * pace


def _sum(steps: list[_Step]) -> _Step:
    return _Step(*(sum(column) for column in zip(*steps, strict=True)))


def _latest(steps: list[_Step], seconds: float) -> list[_Step]:
    """Return the last steps, of so many seconds at least."""
    at = len(steps)
    while at > 0 and seconds > 0:
        at -= 1
        seconds -= steps[at].seconds
    return steps[at:]


def _fitted(steps: list[_Step], done: _Step, entry_bytes: float) -> tuple[float, float]:
    """Return the seconds of an entry and of a byte, by least squares; none is below 0. done: all steps"""
    byte = done.seconds / (done.entries * entry_bytes + done.bytes)
    believed = byte * entry_bytes, byte
    # Unknown are factors on a base, of which no part is next to nothing, else it could never grow again. So many
    # equations more say that they are as believed.
    least = [_LEAST * done.seconds / max(each, 1) for each in (done.entries, done.bytes)]
    base = max(believed[0], least[0]), max(believed[1], least[1])
    mean = done.seconds / len(steps)
    nn, nm, mm = _TRUST, 0.0, _TRUST
    nt, mt = (_TRUST * right / part for right, part in zip(believed, base, strict=True))
    for seconds, entries, amount in steps:
        n, m, t = entries * base[0] / mean, amount * base[1] / mean, seconds / mean
        nn, nm, mm = nn + n * n, nm + n * m, mm + m * m
        nt, mt = nt + n * t, mt + m * t
    both = nn * mm - nm * nm  # more than 0, by what is believed
    first, second = (nt * mm - mt * nm) / both, (mt * nn - nt * nm) / both
    if first < 0:
        first, second = 0.0, mt / mm
    elif second < 0:
        first, second = nt / nn, 0.0
    return base[0] * first, base[1] * second
