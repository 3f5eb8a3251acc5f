"""The outcome of work: counts, failures, notes, findings."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch

SOCKET = "a socket; not copied"  # the note of one


class Loss(NamedTuple):
    """What copies lack, of one kind."""

    path: bytes  # of the first entry
    note: str  # about that one
    entries: int = 1

    def plus(self, other: "Loss") -> "Loss":
        return self._replace(entries=self.entries + other.entries)


@dataclass(slots=True)
class Outcome:
    """The outcome of some units. Outcomes add up; a worker sends one per finished chunk."""

    copied: Tally = NOTHING  # content written
    updated: Tally = NOTHING  # content identical, metadata written
    skipped: Tally = NOTHING  # identical
    removed: Tally = NOTHING  # from the destination, or from the sources
    verified: Tally = NOTHING  # read again and found equal
    excluding: int = 0  # the exclude patterns that matched something, a bit for each
    linked: int = 0  # names made as further hard links of a copied inode
    failures: list[Failure] = field(default_factory=list)
    notes: list[tuple[bytes, str]] = field(default_factory=list)  # (path, what a reader should know)
    losses: dict[str, "Loss"] = field(default_factory=dict)  # what copies lack, by kind: one note each
    items: list[tuple[str, bytes, bytes]] = field(default_factory=list)  # (change, path, link target or b"")
    touched: set[tuple[int, bytes, bytes]] = field(default_factory=set)  # (source, source_dir, dest_dir) written to
    made: list[tuple[bytes, tuple[int, int]]] = field(default_factory=list)  # directories: (dest_dir, its identity)
    seconds: float = 0.0  # that slots were busy
    new_work: list[Batch] = field(default_factory=list)  # work that was found, for any rank
    # What can only land when the mirror has removed a directory.
    after_mirror: list[Batch] = field(default_factory=list)
    findings: list[Any] = field(default_factory=list)  # for rank 0's side of the operation

    def add(self, other: "Outcome") -> None:
        """Add other to this one, in place."""
        self.copied = self.copied.plus(other.copied)
        self.updated = self.updated.plus(other.updated)
        self.skipped = self.skipped.plus(other.skipped)
        self.removed = self.removed.plus(other.removed)
        self.verified = self.verified.plus(other.verified)
        self.excluding |= other.excluding
        self.linked += other.linked
        self.failures.extend(other.failures)
        self.notes.extend(other.notes)
        for kind, loss in other.losses.items():
            self.losses[kind] = self.losses[kind].plus(loss) if kind in self.losses else loss
        self.items.extend(other.items)
        self.touched |= other.touched
        self.made.extend(other.made)
        self.seconds += other.seconds
        self.new_work.extend(other.new_work)
        self.after_mirror.extend(other.after_mirror)
        self.findings.extend(other.findings)

    def warn(self, path: bytes, note: str) -> None:
        """Add a note: no failure, but something that the reader of the report should know."""
        self.notes.append((path, note))

    def lose(self, kind: str, path: bytes, note: str) -> None:
        """Count a loss: the copy of an entry lacks what the destination cannot store.

        note: of the first one of a kind
        """
        known = self.losses.get(kind)
        self.losses[kind] = Loss(path, note) if known is None else known._replace(entries=known.entries + 1)

    def note_losses(self) -> None:
        """Turn losses into notes: one for each kind, with their number."""
        for loss in self.losses.values():
            more = f"; the first of {loss.entries:,} such entries" if loss.entries > 1 else ""
            self.notes.append((loss.path, loss.note + more))
        self.losses = {}


def first_of_each(failures: Iterable[Failure]) -> Iterable[Failure]:
    """Yield the first failure of each path: later ones follow from it."""
    seen: set[bytes] = set()
    for failure in failures:
        if failure.path not in seen:
            seen.add(failure.path)
            yield failure
