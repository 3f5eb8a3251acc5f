"""What differs between two trees: three groups of paths, sorted, and in little memory."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from hpcp_mpi.engine.itemize import Item
from hpcp_mpi.formats.changes_table import Op
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.rules.equality import NEW
from hpcp_mpi.vocab.report import Report

_MOST_PATHS = 100_000  # that a report holds
GROUPS = {Op.ADDED: "added", Op.MODIFIED: "modified", Op.DELETED: "deleted"}  # in the order they are shown


class Differences:
    """The paths that were added, modified and deleted, as the items of a dry run name them."""

    def __init__(self) -> None:
        self._sorted = {op: ExternalSort() for op in Op}
        self.against = "destination"  # or "list": what the sources are compared with
        self.counts: dict[str, int] = {}  # by the names of GROUPS; when all is known

    def add(self, items: Iterable[Item]) -> None:
        """Take items; directories end in `/`."""
        groups: dict[Op, list[tuple[bytes, str, bytes]]] = {}
        for change, path, target in items:
            groups.setdefault(_op(change), []).append((path, change, target))
        for op, records in groups.items():
            self._sorted[op].add(records)

    def of(self, op: Op) -> Iterator[Item]:
        """Yield the items of a group, sorted by path, one a path."""
        for path, same in groupby(self._sorted[op], key=lambda record: record[0]):
            *_, (_, change, target) = same
            assert isinstance(path, bytes) and isinstance(change, str) and isinstance(target, bytes)
            yield change, path, target

    def fill(self, report: Report) -> None:
        """Count what there is, and put it into a report; the paths, too, unless they are very many."""
        self.counts = report.differences = {name: sum(1 for _ in self.of(op)) for op, name in GROUPS.items()}
        if sum(self.counts.values()) <= _MOST_PATHS:
            report.paths = {name: [path for _, path, _ in self.of(op)] for op, name in GROUPS.items()}


def _op(change: str) -> Op:
    if change.startswith("*"):
        return Op.DELETED
    return Op.ADDED if change.endswith(NEW) else Op.MODIFIED
