"""Rule: what is granted is remembered until its result is in, by as little as is needed to do it again.

A rank may be lost with all its chunks. Content that it was to copy or to compare need not be remembered by name: its
directories are listed once more at the end, and what is there by then is not copied again. So a thousand ranks' chunks
do not fill rank 0's memory. Only subtrees that are one unit are remembered, as no rank has listed what is in them. All
other work is remembered whole, and less what is known to be done of it, so that it is done once.

In doubt more is remembered than is out, never less. Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import compress

from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.units import Batch, Kind, Units, link_paths

CONTENT = frozenset({Kind.COPY, Kind.CHECK})


Name = tuple[bytes, bytes]  # of a unit, and of its target


@dataclass(slots=True)
class _Part:
    batch: Batch
    left: int  # units that are not known to be done or given back; what is remembered by name is found by its name
    gone: set[Name] = field(default_factory=set)  # what is done or given back, and perhaps is in the batch still

    def drop(self, names: Iterable[Name]) -> None:
        """Forget units. When there are enough of them: a chunk of thousands may be done in hundreds of parts."""
        self.gone.update(names)
        if self.left <= 0 or 2 * len(self.gone) >= len(self.batch.units):
            self.batch, self.gone = _without(self.batch, self.gone), set()


class GrantRecord:
    """What one chunk holds."""

    __slots__ = ("_parts",)

    def __init__(self, batches: Iterable[Batch], whole: bool) -> None:
        """whole: content is remembered by name, too: its directories cannot be listed once more."""
        self._parts = [_Part(batch if whole else _brief(batch), len(batch.units)) for batch in batches]

    def drop(self, batches: Iterable[Batch]) -> None:
        """Forget what is done, or was given back."""
        for batch in batches:
            count = len(batch.units)
            names = list(_names(batch.units))
            for part in self._parts:
                # From which of them it is does not matter: they share their directories.
                if _same_place(part.batch, batch):
                    known = min(part.left, count)
                    part.left -= known
                    count -= known
                    part.drop(names)
        self._parts = [part for part in self._parts if part.left > 0 or len(part.batch.units)]

    @property
    def batches(self) -> list[Batch]:
        """What is left, as it is remembered."""
        return [_without(part.batch, part.gone) for part in self._parts]


def requeue(batches: Iterable[Batch], whole: bool, rank: int = 0) -> tuple[list[Batch], list[Relist]]:
    """Return the work that is to be granted again, and the directories that have to be looked at again.

    batches: as GrantRecord remembers them. whole: as for GrantRecord. rank: the one that is lost
    """
    granted: list[Batch] = []
    todo: list[Relist] = []
    for batch in batches:
        if batch.kind is Kind.START_FILE and not whole:
            # What it was begun in is left behind, and found there.
            todo.append(Relist(batch.source, batch.source_dir, batch.dest_dir, False))
        if batch.kind not in CONTENT:
            if batch.kind is Kind.FINISH_FILE:
                batch = replace(batch, again=True)
            elif batch.deep:
                batch = replace(batch, lost=(*batch.lost, rank))
            granted.append(batch)
            continue
        files = []
        for unit in batch.units:
            if unit.tally.directories:
                paths = join(batch.source_dir, unit.name), join(batch.dest_dir, unit.target)
                todo.append(Relist(batch.source, *paths, True))
            elif whole:
                files.append(unit)
        if files:
            granted.append(replace(batch, kind=Kind.CHECK, equal=False, again=False, units=Units.of(files)))
        if not whole:
            todo.append(Relist(batch.source, batch.source_dir, batch.dest_dir, False))
    return granted, todo


def stage_dirs(batches: Iterable[Batch]) -> Iterator[bytes]:
    """Yield the directories of the destination in which a stage may be, made for batches as GrantRecord has them."""
    for batch in batches:
        if batch.kind in CONTENT or batch.kind is Kind.START_FILE:
            yield batch.dest_dir
        elif batch.kind is Kind.LINK:
            yield from {link_paths(unit)[0].rpartition(b"/")[0] for unit in batch.units}
        elif batch.deep:  # those below directories that are listed are found when they are listed again
            yield from {unit.target.rpartition(b"/")[0] for unit in batch.units}


def _brief(batch: Batch) -> Batch:
    """Return batch with no more of its units than subtrees, if its kind is one that can be looked at again."""
    if batch.kind not in CONTENT:
        return batch
    trees = () if batch.units.plain else (unit for unit in batch.units if unit.tally.directories)
    return batch.with_units(Units.of(trees))


def _same_place(one: Batch, other: Batch) -> bool:
    return (
        one.kind is other.kind
        and one.source == other.source
        and one.source_dir == other.source_dir
        and one.dest_dir == other.dest_dir
        and one.equal is other.equal
        and (one.big is None) is (other.big is None)
        and (one.big is None or other.big is None or one.big.stage == other.big.stage)
    )


def _names(units: Units) -> Iterable[Name]:
    if units.more is None:
        return zip(units.names, units.names, strict=True)
    return ((name, name if other is None else other) for name, (_, other) in zip(units.names, units.more, strict=True))


def _without(batch: Batch, gone: set[Name]) -> Batch:
    if not gone or not len(batch.units):
        return batch
    units = batch.units
    stays = [name not in gone for name in _names(units)]
    if all(stays):
        return batch
    more = units.more and list(compress(units.more, stays))
    left = Units(list(compress(units.names, stays)), list(compress(units.amounts, stays)), more, units.most)
    return batch.with_units(left)
