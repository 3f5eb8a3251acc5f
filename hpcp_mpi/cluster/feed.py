"""Where rank 0's work comes from."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from hpcp_mpi.vocab.units import Batch

_TAKEN = 100  # batches that are taken at once of those that are known


class Feed(Protocol):
    """Where rank 0's work comes from."""

    @property
    def exhausted(self) -> bool: ...
    def take(self) -> list[Batch]: ...
    def hear(self, news: list[Any]) -> None: ...
    def hold(self, held: bool) -> None: ...


class Stream:
    """A feed of work that is known already; it is taken as it is needed."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._held = False
        self.exhausted = False

    def take(self) -> list[Batch]:
        if self._held or self.exhausted:
            return []
        taken = list(islice(self._batches, _TAKEN))
        self.exhausted = not taken
        return taken

    def hear(self, news: list[Any]) -> None:
        """Nobody asks."""

    def hold(self, held: bool) -> None:
        self._held = held
