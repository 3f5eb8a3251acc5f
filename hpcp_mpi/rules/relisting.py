"""The rule of which directories are listed again on resume: all with unfinished work, and none twice; on rank 0.

A resumed run compares what it lists with the destination: it may list too much, never too little.
"""

from collections.abc import Iterable, Iterator

from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.paths import is_within, join
from hpcp_mpi.vocab.units import DEST, Batch, Kind

# Work that is made from records when everything is copied, and made again from them.
_LATER = frozenset(
    {Kind.LINK, Kind.SET_DIR_METADATA, Kind.REMOVE, Kind.COUNT, Kind.REMOVE_COPIED, Kind.RMDIR, Kind.VERIFY}
)


def todo_of(batch: Batch) -> Iterator[Relist]:
    """Yield the directories that have to be listed again if a batch of a copy is not done."""
    if batch.kind in _LATER or batch.source == DEST:
        return
    if batch.kind in (Kind.LIST, Kind.MKDIR):
        for unit in batch.units:  # what is in a directory that is to be made was found, and is work of its own
            yield Relist(batch.source, unit.name, unit.target, batch.kind is Kind.LIST)
        return
    for unit in () if batch.units.plain else batch.units:
        if unit.tally.directories:
            yield Relist(batch.source, join(batch.source_dir, unit.name), join(batch.dest_dir, unit.target), True)
    yield Relist(batch.source, batch.source_dir, batch.dest_dir, False)


def least(todo: Iterable[Relist], single: Iterable[int] = ()) -> list[Relist]:
    """Return the fewest directories that cover todo, in the order of the walk.

    single: sources of which one entry is copied, and nothing beside it: they are listed whole
    """
    alone, todo = frozenset(single), list(todo)
    whole = {each.source for each in todo if each.source in alone}
    # Sorted by path, a directory comes right before all below it: with NUL for `/`.
    rest = sorted(
        {each for each in todo if each.source not in alone},
        key=lambda each: (each.source, each.source_dir.replace(b"/", b"\0"), not each.recursive, each.seen),
    )
    found = [Relist(source, b"", b"", True) for source in sorted(whole)]
    covering: Relist | None = None  # the last one that stands for all below it
    last: Relist | None = None
    for each in rest:
        if covering is not None and _covers(covering, each):
            continue
        if last is not None and last.recursive and (last.source, last.source_dir) == (each.source, each.source_dir):
            if not each.recursive:
                continue
            found.pop()
            each = last._replace(seen=_in_both(last.seen, each.seen), found=last.found and each.found)
        found.append(each)
        last = each
        if each.recursive and not each.seen:
            covering = each
    return found


def _in_both(one: bytes, other: bytes) -> bytes:
    """Return the names that are in both of two joined lists."""
    names = set(other.split(b"\0")[:-1])
    return b"".join(name + b"\0" for name in one.split(b"\0")[:-1] if name in names)


def _covers(one: Relist, other: Relist) -> bool:
    return one.source == other.source and is_within(other.source_dir, one.source_dir)
