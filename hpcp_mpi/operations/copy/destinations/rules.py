"""Rule: which of several destinations a new entry goes to follows from its name, so it is the same in every run. Pure.

A name is hashed to a point on a line, and each destination has a part of that line: as long as its share of the free
bytes, or as long as all others' for a choice at random. What does not fit where it belongs is left over, and goes where
it does fit when everything else has its place.
"""

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

_BLOCK = 4096  # bytes: a file takes whole blocks
_POINTS = 1 << 64


class DestinationHash:
    """The line."""

    def __init__(self, shares: Sequence[float], key: bytes) -> None:
        """shares: how much of the line is each destination's, in any unit; all zero: equal parts. key: any bytes."""
        if not any(shares):
            shares = [1.0] * len(shares)
        self._ends = list(accumulate(shares))
        self._last = max(index for index, share in enumerate(shares) if share)
        self._key = blake2b(key, digest_size=16).digest()

    def home(self, name: bytes) -> int:
        """Return the index of the destination that a name belongs to."""
        point = int.from_bytes(blake2b(name, digest_size=8, key=self._key).digest(), "big")
        return min(bisect_right(self._ends, self._ends[-1] * point / _POINTS), self._last)


class PromisedSpace:
    """The free bytes of a destination, as far as they are not promised."""

    def __init__(self, free: int | None) -> None:
        """free: None: not known, so there is room until it shows that there is none."""
        self._free = free

    def take(self, size: int) -> bool:
        """Promise room for a file, if there is so much."""
        if self._free is None:
            return True
        size = -(-size // _BLOCK) * _BLOCK
        if size > self._free:
            return False
        self._free -= size
        return True
