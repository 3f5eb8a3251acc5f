"""A forest is delivered to one UnitBuilder or to many, as a scan would, in any order that it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from hypothesis import strategies as st

from hpcp_mpi.operations.scan.lister import Lister
from hpcp_mpi.operations.scan.records import DirectoryMetadata, Folder, LinkedName, SharedName
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Kind
from tests.operations.scan.forest import Dir, Forest, Item, listing_of

# It needs nothing of a Lister but this.
FOLDERS = Lister.folders
NOBODY = cast(Lister, None)


@dataclass
class Delivered:
    """What all UnitBuilders made of a forest."""

    batches: list[Batch] = field(default_factory=list)
    settled: list[DirectoryMetadata] = field(default_factory=list)
    linked: list[LinkedName] = field(default_factory=list)
    shared: list[SharedName] = field(default_factory=list)
    scanned: Tally = NOTHING

    def take(self, builder: UnitBuilder) -> list[Batch]:
        """Take what the builder has; return the directories that it left to others."""
        lists = [batch for batch in builder.out if batch.kind is Kind.LIST]
        self.batches += [batch for batch in builder.out if batch.kind is not Kind.LIST]
        deferred = builder.deferred.take()
        self.settled += deferred.settled
        self.linked += deferred.linked
        self.shared += deferred.shared
        builder.out.clear()
        return lists


@dataclass(eq=False)
class _Task:
    """A directory that is being listed, and what of it was not yet."""

    directory: Dir
    folder: Folder
    entries: list[Item | Dir]
    begun: bool = False


class _Walk:
    """Directories that are listed into one UnitBuilder."""

    def __init__(self, forest: Forest, builder: UnitBuilder, data: st.DataObject) -> None:
        self.builder = builder
        self.tasks: list[_Task] = []
        self._dirs = forest.dirs()
        self._data = data

    def begin(self, folders: list[Folder]) -> None:
        for folder in folders:
            directory = self._dirs[folder.source, folder.source_dir]
            entries: list[Item | Dir] = [*directory.items, *directory.dirs]
            if len(entries) > 1:
                entries = self._data.draw(st.permutations(entries))
            folder.ours = directory.ours
            if directory.differs:
                folder.needs_metadata = True
            self.tasks.append(_Task(directory, folder, entries))

    def step(self) -> None:
        """List some of any directory."""
        at = self._data.draw(st.integers(0, len(self.tasks) - 1), label="directory")
        task = self.tasks[at]
        task.begun = True
        if task.entries:
            count = self._data.draw(st.integers(1, len(task.entries)), label="entries")
            some, task.entries = task.entries[:count], task.entries[count:]
            self.begin(self.builder.add(task.folder, listing_of(some)))
        else:
            del self.tasks[at]
            (self.builder.refuse if task.directory.refused else self.builder.close)(task.folder)

    def fresh(self) -> list[_Task]:
        """Return those of which nothing was listed yet."""
        return [task for task in self.tasks if not task.begun]

    def leave(self, tasks: list[_Task]) -> None:
        """Have others list directories."""
        self.builder.hand_over([task.folder for task in tasks])
        self.tasks = [task for task in self.tasks if task not in tasks]


def deliver(
    forest: Forest, make: Callable[[], UnitBuilder], data: st.DataObject, parallel: bool, shared: bool = False
) -> Delivered:
    """Hand the forest over: directories interleaved, each in slices; parallel: to one builder a walk, as with -pfl.

    make: returns a UnitBuilder. shared: now and then some of rank 0's directories go to others, and back to it
    """
    found = Delivered()
    rank0 = _Walk(forest, make(), data)
    builder = rank0.builder
    builder.hand_on = parallel
    roots = [builder.root(number, place, root.new, root.over) for number, (place, root) in enumerate(forest.roots)]
    (builder.hand_over if parallel else rank0.begin)(roots)
    lists = found.take(builder)
    while rank0.tasks or lists:
        what = data.draw(st.integers(0, 3), label="sharing") if shared else 0
        if what == 1 and (fresh := rank0.fresh()):
            builder.links.partial = True
            rank0.leave(fresh[: data.draw(st.integers(1, len(fresh)), label="shared")])
        elif what == 2 and lists:
            rank0.begin(FOLDERS(NOBODY, builder, lists.pop()))
        elif lists and (not rank0.tasks or data.draw(st.booleans())):
            batch = lists.pop(data.draw(st.integers(0, len(lists) - 1)))
            if len(batch.units) > 1 and data.draw(st.booleans()):
                batch, rest = batch.split(1)
                lists.append(rest)
            lists += _elsewhere(batch, _Walk(forest, make(), data), rank0, data, found)
        else:
            rank0.step()
        lists += found.take(builder)
    builder.links.partial = builder.links.partial or parallel
    builder.links.end()
    assert found.take(builder) == []
    found.scanned = found.scanned.plus(builder.scanned)
    return found


def _elsewhere(batch: Batch, walk: _Walk, rank0: _Walk, data: st.DataObject, found: Delivered) -> list[Batch]:
    """List the directories of a LIST batch, and what lies below for a while; return what is left to others."""
    lists: list[Batch] = []
    walk.begin(FOLDERS(NOBODY, walk.builder, batch))
    moved = False
    while walk.tasks:
        fresh = walk.fresh()
        what = data.draw(st.integers(0, 7), label="next") if fresh else 0
        if what == 7:  # too big for any but rank 0
            walk.leave([data.draw(st.sampled_from(fresh))])
            last = walk.builder.out.pop()
            assert (last.kind, len(last.units)) == (Kind.LIST, 1)
            rank0.begin(FOLDERS(NOBODY, rank0.builder, last))
        elif what == 6 and moved:  # no time for them
            walk.leave(fresh)
        else:
            walk.step()
        moved = True
        lists += found.take(walk.builder)
    walk.builder.links.give_up()
    assert found.take(walk.builder) == []
    found.scanned = found.scanned.plus(walk.builder.scanned)
    return lists
