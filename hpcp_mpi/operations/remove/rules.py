"""Rule: a directory goes when everything in it is gone; rank 0 knows when that is, by counting. Pure.

The rank that walks through a directory removes it as well, unless it leaves something in it to others: then it says how
many units, others say how many of them they are done with, and after the last one the directory's turn has come. If
anything stays, so does every directory above it, without a word more. What waits has something below it that is granted
or on the stack, so memory follows the frontier.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

# What a directory weighs of which only the name is known: so many entries. With 1, the first chunks on a file system
# that takes 2 ms a call held a hundred directories, and most slots had nothing to do.
_UNKNOWN = Tally(files=99, directories=1)


class RemovalGuard(Protocol):
    """The rule of what may not be removed. It adds the reason to the outcome, if a reader should know.

    One is made for every batch. `directory` is an open descriptor, `path` is the directory's, relative to the root.
    """

    def may_enter(self, path: bytes) -> bool:
        """Return whether the directory may be emptied and removed. False: it stays with all in it."""

    def must_keep(self, directory: int, path: bytes, name: bytes) -> bool:
        """Return whether a non-directory stays. Asked right before it would be removed."""

    def doubts(self, path: bytes) -> bool:
        """Return whether what is in a directory needs a closer look: a batch of it has `new` set."""


class Disposer(Protocol):
    """Makes entries go. Raises OSError, as the calls it is named after."""

    def unlink(self, directory: int, path: bytes, name: bytes) -> None:
        """Make the non-directory `name` go; its directory is open, and `path` is where that is below the root."""

    def rmdir(self, directory: int, path: bytes, name: bytes) -> None:
        """The same for an empty directory."""


def walks(names: Iterable[bytes], marks: Sequence[bytes] = ()) -> Units:
    """Return units of directories, which are to be walked through. b"", in the directory b"": what is in the root.

    marks: which entries were meant (host.roots.mark_of), in place of units' names at the destination.
    """
    names = list(names)
    if marks:
        return Units(names, [0] * len(names), [(_UNKNOWN, mark) for mark in marks])
    return Units(names, [0] * len(names), [(_UNKNOWN, None)] * len(names))


def others(names: Iterable[bytes], tally: Tally | None = None, marks: Sequence[bytes] = ()) -> Units:
    """Return units of what are no directories. tally: of each, if they are no plain files. marks: as for walks"""
    names = list(names)
    if marks:
        return Units(names, [0] * len(names), [(tally or one_file(0), mark) for mark in marks])
    return Units(names, [0] * len(names), None if tally is None else [(tally, None)] * len(names))


def marks_of(batch: Batch) -> dict[bytes, bytes]:
    """Return which entries a batch means, by path; of those that are not in it whatever has the name."""
    if batch.units.more is None:
        return {}
    marked = [(unit, mark) for unit, (_, mark) in zip(batch.units, batch.units.more, strict=True) if mark is not None]
    return {chain(unit)[-2] if batch.kind is Kind.RMDIR else unit.name: mark for unit, mark in marked}


def is_walk(batch: Batch) -> bool:
    """Return whether a batch is of directories to be walked through; no batch is of both."""
    more = batch.units.more
    return batch.kind is not Kind.RMDIR and more is not None and any(tally.directories for tally, _ in more[:1])


class PendingDirectory(NamedTuple):
    """A directory in which others have something to do."""

    kind: Kind
    source: int
    directory: bytes
    units: int  # that others have to do
    kept: bool  # something in it stays
    again: bool = False  # it is too large to be listed at once: the next pass is due when the units are done
    gone: int = 0  # entries that were removed from it by the rank that left it
    doubted: bool = False  # by the RemovalGuard


class FinishedUnits(NamedTuple):
    """Units of a directory that need nothing more."""

    source: int
    directory: bytes | None  # that they are in; None: the unit was the root
    units: int
    kept: bool  # some of them stay
    gone: int = 0  # so many of them were removed


@dataclass(slots=True)
class RemovalProgress:
    """The progress of a walk, reported to rank 0."""

    found: Tally = NOTHING  # what was listed, without what is excluded
    left: list[PendingDirectory] = field(default_factory=list)
    finished: list[FinishedUnits] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    """A directory that waits for what is in it."""

    kind: Kind
    units: int
    kept: bool
    again: bool
    gone: int
    doubted: bool


class PendingDirectories:
    """The directories that wait for others. Pure.

    due:     what has become due, to be taken by the caller: batches of one unit, RMDIR or of the kind that was left
    emptied: the sources of which the root is empty now
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, bytes], _Waiting] = {}
        self.due: list[Batch] = []
        self.emptied: set[int] = set()

    def update(self, progress: RemovalProgress) -> None:
        """Record the progress of a walk."""
        for left in progress.left:
            self._waiting[left.source, left.directory] = _Waiting(
                left.kind, left.units, left.kept, left.again, left.gone, left.doubted
            )
        for left in progress.left:
            if not left.units:
                self._finish(FinishedUnits(left.source, left.directory, 0, left.kept))
        for finished in progress.finished:
            if finished.units:
                self._finish(finished)

    def _finish(self, finished: FinishedUnits) -> None:
        source, directory, units, kept, gone = finished
        while directory is not None:
            waiting = self._waiting.get((source, directory))
            if waiting is None:
                return  # units that were asked for: no directory waits for them
            waiting.units -= units
            waiting.kept = waiting.kept or kept
            waiting.gone += gone
            if waiting.units > 0:
                return
            del self._waiting[source, directory]
            above, name = _split(directory)
            if waiting.again:
                # If nothing went, the next pass is the last, and goes to the end.
                unit = walks([name])
                last, doubted = not waiting.gone, waiting.doubted
                batch = Batch(waiting.kind, source, above or b"", b"", unit, restore=True, new=doubted, again=last)
                self.due.append(batch)
                return
            if above is not None and not waiting.kept:
                self._remove(source, directory)
                return
            directory, units, kept, gone = above, 1, waiting.kept, 0
        if not kept:
            self.emptied.add(source)

    def _remove(self, source: int, directory: bytes) -> None:
        """Have a directory removed, and those above it that wait for nothing else: one unit, from below."""
        count, above = 1, _split(directory)[0]
        while above:
            waiting = self._waiting.get((source, above))
            if waiting is None or waiting.units > 1 or waiting.kept or waiting.again:
                break
            del self._waiting[source, above]
            count, above = count + 1, _split(above)[0]
        unit = Unit(directory, Tally(directories=count))
        self.due.append(Batch(Kind.RMDIR, source, b"", b"", Units.of([unit])))


def chain(unit: Unit) -> list[bytes]:
    """Return the directories that an RMDIR unit stands for, deepest first, and last what they are in."""
    paths = [unit.name]
    for _ in range(max(1, unit.tally.directories)):
        paths.append(_split(paths[-1])[0] or b"")
    return paths


def _split(directory: bytes) -> tuple[bytes | None, bytes]:
    """Return the directory that one is in (None: it is the root) and its name."""
    if not directory:
        return None, b""
    above, _, name = directory.rpartition(b"/")
    return above, name
