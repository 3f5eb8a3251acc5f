"""A feed of directories to walk through, which are found while others are walked.

The last found go first, so that what waits does not grow with the tree; only a hundred
per slot are handed out at a time. Pure.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hpcp_mpi.vocab.units import Batch

_AT_ONCE = 100  # units per slot that others are asked for; fewer, and slots wait for the next
_ALL = 100_000  # of all slots, if that is more than one each


def most_asked(slots: int, each: int) -> int:
    """Return how many units others may be asked for at a time: so many for each slot, and always one each."""
    slots = max(1, slots)
    return max(slots, min(_ALL, each * slots))


@dataclass(slots=True)
class WalkResult:
    """The findings of a rank that was asked to walk through units."""

    done: int  # of the units that it was asked for
    found: list[Batch] = field(default_factory=list)  # units that there was no time for: for any rank
    payload: Any = None  # what the operation wants to know of what was done


class WalkFeed:
    """The stack of units that no worker was asked for yet. Workers answer with WalkResult."""

    def __init__(self, first: Iterable[Batch], slots: Callable[[], int], on_payload: Callable[[Any], None]) -> None:
        """first: taken as it is needed. slots: how many there are on all ranks.

        on_payload: takes each WalkResult.payload that is not None
        """
        self._first = iter(first)
        self._next = next(self._first, None)
        self._waiting: list[Batch] = []
        self._slots = slots
        self._on_payload = on_payload
        self._asked = 0
        self._held = False

    @property
    def done(self) -> bool:
        return not (self._waiting or self._asked or self._next)

    @property
    def full(self) -> bool:
        """Return whether there is more than others can be asked for now."""
        return bool(self._waiting)

    def next_batches(self) -> list[Batch]:
        most = most_asked(self._slots(), _AT_ONCE)
        taken: list[Batch] = []
        while (self._waiting or self._next) and self._asked < most and not self._held:
            batch = self._pop()
            if len(batch.units) > most - self._asked:
                batch, rest = batch.split(most - self._asked)
                self._waiting.append(rest)
            self._asked += len(batch.units)
            taken.append(batch)
        return taken

    def _pop(self) -> Batch:
        if self._waiting:
            return self._waiting.pop()
        assert self._next is not None
        batch, self._next = self._next, next(self._first, None)
        return batch

    def on_findings(self, findings: list[WalkResult]) -> None:
        for walked in findings:
            self._asked -= walked.done
            self._waiting += walked.found
            if walked.payload is not None:
                self._on_payload(walked.payload)

    def pause(self, held: bool) -> None:
        self._held = held
