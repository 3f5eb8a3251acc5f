"""Rule: a rank is slow when its chunks take longer than expected, and others' do not.

How long all ranks take is for the cost model to learn. If it learnt that everything takes twice as long, and each
rank's slowness said so too, that would be counted twice, or go back and forth between the two. So a rank is compared
with the other ranks, and the cost model gets the seconds that a usual rank would have taken.
"""

from math import exp, log

from hpcp_mpi.scheduling.rank_table import Rank
from hpcp_mpi.vocab.units import Kind

NEWS = 0.3  # how much the latest chunk counts for a rank
DRIFT = 0.05  # how much it counts for all ranks
ODD = log(4.0)  # a chunk further from the others than a factor of 4 says more of its rank than of all ranks
LEAST, MOST = 0.25, 100.0  # of slowness


class SpeedModel:
    """How long chunks take beside what was expected of the usual rank, by kind. Logarithms, since it is a factor."""

    def __init__(self) -> None:
        self._levels: dict[Kind, float] = {}

    def usual(self, rank: Rank, kind: Kind, expected: float, seconds: float) -> float:
        """Record that a chunk of rank's took so many seconds; return what it would have taken on a usual rank.

        expected: seconds on a usual rank
        """
        ratio = log(seconds / expected)
        level = self._levels.setdefault(kind, ratio - log(rank.slowness))
        apart = ratio - level
        # Not the new slowness: it holds a part of what is peculiar to this chunk, which is to be learnt.
        before = rank.slowness if rank.known or abs(apart) < ODD else exp(apart)
        latest = (1 - NEWS) * log(rank.slowness) + NEWS * apart if rank.known else apart
        rank.slowness, rank.known = min(MOST, max(LEAST, exp(latest))), True
        self._levels[kind] = level + DRIFT * max(-ODD, min(ODD, apart))
        return seconds / before

    def relearnt(self, kind: Kind, before: float, now: float) -> None:
        """Record that now seconds are expected of what before seconds were expected of."""
        self._levels[kind] -= log(now / before)
