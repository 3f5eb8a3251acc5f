"""Where rank 0's work comes from."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from hpcp_mpi.vocab.units import Batch

_TAKEN = 100  # batches that are taken at once of those that are known


class Feed(Protocol):
    """Where rank 0's work comes from."""

    @property
    def done(self) -> bool: ...
    def next_batches(self) -> list[Batch]: ...
    def on_findings(self, findings: list[Any]) -> None: ...
    def pause(self, held: bool) -> None: ...


class Stream:
    """A feed of work that is known already; it is taken as it is needed."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._held = False
        self.done = False

    def next_batches(self) -> list[Batch]:
        if self._held or self.done:
            return []
        taken = list(islice(self._batches, _TAKEN))
        self.done = not taken
        return taken

    def on_findings(self, findings: list[Any]) -> None:
        """Nothing waits for them."""

    def pause(self, held: bool) -> None:
        self._held = held
