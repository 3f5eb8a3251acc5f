"""Workers that are processes of one program, as its user sees them: as one rank, and beside it the lost. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from hpcp_mpi.vocab.report import RankShare
from hpcp_mpi.vocab.tally import NOTHING, Tally, total_of

Load = tuple[RankShare, int, Tally]  # a share, how many chunks are granted beyond it, what is under way of them


def as_one(loads: Sequence[Load]) -> list[Load]:
    """Return the loads of the ranks that are not lost as one load, then the others."""
    live = [load for load in loads if not load[0].lost]
    lost = [load for load in loads if load[0].lost]
    if len(live) < 2:
        return [*live, *lost]
    # The first one, a thread, has as many slots as all others have together: it works only where they do not.
    first = max((share for share, _, _ in live), key=lambda share: share.slots)
    together = replace(first)
    for share, _, _ in live:
        if share is not first:
            together.add(share)
    granted, under_way = sum(load[1] for load in live), total_of(load[2] for load in live)
    return [(together, granted, under_way), *lost]


def shares_as_one(shares: Sequence[RankShare]) -> list[RankShare]:
    """Return the shares of ranks as as_one() does."""
    return [share for share, _, _ in as_one([(share, 0, NOTHING) for share in shares])]
