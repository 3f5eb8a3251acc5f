"""The interface through which rank 0's loop gets its work."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from hpcp_mpi.vocab.units import Batch

_TAKEN = 100  # batches that are handed out at once
_UNITS = 5000  # of these batches: with more, who waits for the first would wait for the last


class Feed(Protocol):
    """A source of batches for rank 0's loop."""

    @property
    def done(self) -> bool: ...
    def next_batches(self) -> list[Batch]: ...
    def on_findings(self, findings: list[Any]) -> None: ...
    def pause(self, held: bool) -> None: ...


class Stream:
    """A feed of batches that are known already, handed out as they are needed."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._held = False
        self.done = False

    def next_batches(self) -> list[Batch]:
        if self._held or self.done:
            return []
        taken: list[Batch] = []
        units = 0
        for batch in islice(self._batches, _TAKEN):
            taken.append(batch)
            units += len(batch.units)
            if units >= _UNITS:
                break
        self.done = not taken
        return taken

    def on_findings(self, findings: list[Any]) -> None:
        """Do nothing: findings do not change this work."""

    def pause(self, held: bool) -> None:
        self._held = held
