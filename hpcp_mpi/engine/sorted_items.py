"""What was or would be changed, for the end of a run: sorted, and in little memory."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import cast

from hpcp_mpi.engine.itemize import Item
from hpcp_mpi.host.external_sort import ExternalSort


class SortedItems:
    """Items, sorted by path; they take little memory, however many they are."""

    def __init__(self) -> None:
        self._sorted = ExternalSort()

    def add(self, items: Iterable[Item]) -> None:
        self._sorted.add((path, change, target) for change, path, target in items)

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, one a path: what was copied and then became a link is a link, the last of its items."""
        for path, same in groupby(self._sorted, key=lambda record: record[0]):
            *_, (_, change, target) = same
            yield cast(Item, (change, path, target))
