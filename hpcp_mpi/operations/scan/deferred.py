"""What waits for the end of a run, put together from what the scan recorded on its way. Pure.

Records come sorted and are not held: a run may have as many as the tree has entries. Those of one directory, or of one
file, are neighbours.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from hpcp_mpi.operations.scan.link_groups import SOMEWHERE
from hpcp_mpi.operations.scan.records import (
    CONTENT_CHANGED,
    COUNTS,
    CREATED,
    DIFFERS,
    NOBODY,
    TRUSTED,
    DirectoryMetadata,
    EqualNames,
    LinkedName,
    SharedName,
    with_identities,
)
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import ONE_SPECIAL, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units, link_target

_TOGETHER = 1000  # units that are handed out as one batch
_INODE = itemgetter(0)  # of a LinkedName; records are compared millions of times


def settle_batches(records: Iterable[DirectoryMetadata]) -> Iterator[Batch]:
    """Yield the settling of directories, in the order of the records.

    Where several sources merge in one directory, the last source's metadata is what it gets.
    """
    groups: dict[tuple[int, bool, bool, bool], list[Unit]] = {}
    for dest_dir, same in groupby(records, key=lambda record: record.dest_dir):
        some, trusted = [], set()
        for record in same:
            if record.why == TRUSTED:
                trusted.add(record.identity)
            else:
                some.append(record)
        if not some:
            continue
        last = max(some, key=lambda record: record.source)
        reasons = {record.why for record in some}
        key = last.source, reasons == {CONTENT_CHANGED}, reasons != {DIFFERS}, CREATED in reasons
        group = groups.setdefault(key, [])
        mine = [record for record in some if record.source == last.source]
        changes, inode = max(record.changes for record in mine), max(record.inode for record in mine)
        target = with_identities(dest_dir, {each.identity for each in some} - {NOBODY}, trusted, changes, inode)
        counted = {(record.source, record.source_dir) for record in some if record.why != CONTENT_CHANGED}
        group.append(Unit(last.source_dir, Tally(directories=len(counted)), 0, target))
        if len(group) == _TOGETHER:
            yield _settle(*key, groups.pop(key))
    for key, units in groups.items():
        yield _settle(*key, units)


def _settle(source: int, restore: bool, written: bool, created: bool, units: list[Unit]) -> Batch:
    return Batch(Kind.SET_DIR_METADATA, source, b"", b"", Units.of(units), restore=restore, again=written, new=created)


def link_batches(records: Iterable[LinkedName], late: frozenset[bytes] | None = None) -> Iterator[Batch]:
    """Yield the links to make when everything else is copied: one inode's names become names of its leader.

    A scan that saw only some names of a file chose a leader among them: one of those leads all, the others follow.

    late: targets; only files are linked that one of these is a name of, and no other name counts: it did before
    """
    groups: dict[int, _Links] = {}  # by source; names of one file and those that were seen next are neighbours
    for names, leader, _ in _families(records):
        if late is not None and leader not in late and late.isdisjoint(names):
            continue
        for _, source, path, target, _, counts in names.values():
            if target == leader:
                continue
            links = groups.get(source)
            if links is None:
                links = groups[source] = _Links([], [])
            links.names.append(path)
            tally = COUNTS[counts if late is None or target in late else 0]
            links.more.append((tally, link_target(target, leader)))
            if len(links.names) == _TOGETHER:
                yield _linking(source, groups.pop(source))
    for source, links in groups.items():
        yield _linking(source, links)


class _Links(NamedTuple):
    """Columns of units."""

    names: list[bytes]
    more: list[tuple[Tally, bytes | None]]


def _linking(source: int, links: _Links) -> Batch:
    return Batch(Kind.LINK, source, b"", b"", Units(links.names, [0] * len(links.names), links.more))


def leading_batches(records: Iterable[LinkedName]) -> Iterator[Batch]:
    """Yield leaders that may never have been copied: they have to be there before anything is linked to them.

    Links of one file are made by several ranks at once, and none of them could make up for it alone.
    """
    for names, leader, doubted in _families(records):
        if doubted and len(names) > 1:
            record = names[leader]
            source_dir, _, name = record.path.rpartition(b"/")
            dest_dir, _, target = leader.rpartition(b"/")
            unit = Unit(name, COUNTS[record.counts], 0, target)
            yield Batch(Kind.CHECK, record.source, source_dir, dest_dir, Units.of([unit]))


def torn_apart(records: Iterable[EqualNames]) -> Iterator[tuple[list[LinkedName], list[SharedName]]]:
    """Yield what is to be recorded of names that seemed to be those of one copy, and are not known to be all of them.

    They may be names of several files at the destination, or that may be the copy of several files of the source.
    """
    for inode, same in groupby(records, key=lambda record: record.inode):
        some = list(same)
        names = {(each.dest_dir, name) for each in some for name in each.names}
        if len({each.dest_inode for each in some}) == 1 and {each.number for each in some} == {len(names)}:
            continue
        linked: list[LinkedName] = []
        shared: dict[bytes, SharedName] = {}
        for each in some:
            for name in each.names:
                path, target = join(each.source_dir, name), join(each.dest_dir, name)
                counts = int(target != each.leader)
                linked.append(LinkedName(inode, each.source, path, target, each.leader, counts))
                if not counts:
                    shared[target] = SharedName(each.dest_inode, inode, each.source, path, target, each.size)
        yield linked, list(shared.values())


def _families(records: Iterable[LinkedName]) -> Iterator[tuple[dict[bytes, LinkedName], bytes, bool]]:
    """Yield the recorded names of each inode, which of all leads them, and whether that may not have been copied."""
    for _, same in groupby(records, key=_INODE):
        some = list(same)
        names = {record.target: record for record in some}
        every = {record.leader for record in some} - {SOMEWHERE} or {min(names)}
        if len(names) == len(some):
            doubted = {target for target in every if target in names and names[target].leader != target}
        else:  # one may have been seen again, by a run that resumes
            leaders: dict[bytes, set[bytes]] = {}  # of each name
            for record in some:
                names[record.target] = max(names[record.target], record, key=lambda each: each.counts)
                leaders.setdefault(record.target, set()).add(record.leader)
            doubted = {target for target in every if leaders.get(target, {target}) != {target}}
        # One that is not recorded itself was seen with all of its names, or last: it is the one to keep. One that was
        # seen as a follower, too, may never have been copied.
        leader = (
            min(every, key=lambda target: (target in names, target in doubted, target))
            if len(every) > 1
            else every.pop()
        )
        yield names, leader, leader in doubted


def separation_batches(records: Iterable[SharedName], split_size: int) -> Iterator[Batch]:
    """Yield the copying of files that are one file at the destination and several in the source."""
    for _, same in groupby(records, key=lambda record: record.dest_inode):
        keeps = None
        for record in same:
            keeps = keeps or record.inode
            if record.inode == keeps:
                continue
            source_dir, _, name = record.path.rpartition(b"/")
            dest_dir, _, target = record.target.rpartition(b"/")
            tally = ONE_SPECIAL if record.size < 0 else one_file(record.size)
            kind = Kind.START_FILE if 0 < split_size <= record.size else Kind.COPY
            unit = Unit(name, tally, max(0, record.size) if kind is Kind.COPY else 0, target)
            yield Batch(kind, record.source, source_dir, dest_dir, Units.of([unit]))
