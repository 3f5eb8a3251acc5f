"""Work that nobody has been granted yet, and how a chunk is cut from it."""

from collections import deque
from collections.abc import Iterable

from hpcp_mpi.vocab.units import Batch, Chunk


class Backlog:
    """Batches in the order they came. Every unit that is put in is cut out exactly once."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._number = 0
        self.weight = 0  # bytes of weight
        self.units = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, batches: Iterable[Batch], first: bool = False) -> None:
        """Put batches at the end; first: at the front, as what a rank gave back is the oldest work."""
        batches = list(batches)
        if first:
            self._batches.extendleft(reversed(batches))
        else:
            self._batches.extend(batches)
        self.weight += sum(batch.weight for batch in batches)
        self.units += sum(len(batch.units) for batch in batches)

    def cut(self, target: int) -> Chunk:
        """Return a chunk of about target weight: at least one unit, and no more units than reach target."""
        taken: list[Batch] = []
        while self._batches and target > 0:
            batch = self._batches.popleft()
            head, rest, weight = split_by_weight(batch, target)
            if rest.units:
                self._batches.appendleft(rest)
            taken.append(head)
            target -= weight
            self.weight -= weight
            self.units -= len(head.units)
        self._number += 1
        return Chunk(self._number, tuple(taken))


def split_by_weight(batch: Batch, target: int) -> tuple[Batch, Batch, int]:
    """Return batch cut where its weight reaches target, and the weight of the first part.

    The first part holds at least one unit; the second may be empty.
    """
    weight = 0
    for count, unit in enumerate(batch.units, 1):
        weight += unit.weight
        if weight >= target:
            return *batch.split(count), weight
    return *batch.split(len(batch.units)), weight
