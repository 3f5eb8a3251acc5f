"""Listing directories for rank 0: a part of the tree is walked, and rank 0 gets what has to be done in it.

What is identical is found out on the spot, so that of a tree in which nothing changed only counts travel. Everything
else goes to rank 0 as work for any rank, and so do directories that there was no time for: idle ranks take them. Where
nobody is idle, the walk is longer, and what it finds is copied on the way: then only counts travel of that, too.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.unstorable_times import lost_time
from hpcp_mpi.operations.scan.lister import Lister, Unlisted, builder_for, in_its_place
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Folder, ScanFindings
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path
from hpcp_mpi.vocab.units import Batch, Kind, Units

_SECONDS = 0.1  # after which no further directory is begun: others may be idle
_EACH = 0.01  # the same for each directory that was asked for: at first there is one, and all others are idle
_DEEP = 0.25  # the same where nobody is idle: a part of the time that a chunk is to last
_BITE = 0.5  # of a bite: so much is copied at once
_HUGE = 50_000  # entries of a directory that are not held here; rank 0 lists it in slices


# Checks CHECK batches; returns the batches of what has to be copied.
Check = Callable[[JobContext, Sequence[Batch], Outcome], list[Batch]]
# Copies COPY batches.
Copy = Callable[[JobContext, Sequence[Batch], Outcome], None]


def explore(context: JobContext, batch: Batch, outcome: Outcome, *, began: float, check: Check, copy: Copy) -> None:
    """List the directories of a LIST batch and what is below them, for as long as it is short.

    began: when the rank began with this batch and those before it, as time.monotonic() says it
    """
    _Walk(context, outcome, check, copy).walk(batch, began)


class _Walk:
    """A walk through a part of the tree, depth first."""

    def __init__(self, context: JobContext, outcome: Outcome, check: Check, copy: Copy) -> None:
        self._context = context
        self._check = check
        self._copy = copy
        self._outcome = outcome
        self._builder: UnitBuilder = builder_for(context.options)
        self._builder.fill()
        self._builder.lost = lambda path, mtime_ns: lost_time(context, path, mtime_ns, outcome)
        self._notes: list[tuple[bytes, str]] = []  # of the directory at hand
        self._lister = Lister(context, lambda *note: self._notes.append(note))
        self._lister.equal.checks = not context.options.full_hash
        self._found = ScanFindings()
        self._deadline = 0.0
        self._deep = False  # what is found is copied here
        self._own: list[Batch] = []  # what is to be copied here
        self._weight = 0  # of that, bytes
        self._bite = _BITE * context.options.bite_weight

    def walk(self, batch: Batch, began: float) -> None:
        options = self._context.options
        waiting = self._folders(batch)
        waiting.reverse()
        if batch.deep and not (options.rate_bytes or options.rate_files):  # else rank 0 says when it may be copied
            self._deep, self._deadline = True, began + _DEEP * options.chunk_seconds
        seconds = min(_SECONDS, _EACH * len(waiting))
        begun = False
        while waiting or not begun:
            with self._context.gate:
                self._deadline = self._deadline or time.monotonic() + seconds
                begun = self._list_some(waiting, begun)
                self._sort_out()
            self._copy_own()
        self._builder.links.give_up()
        found, builder = self._found, self._builder
        found.done = len(batch.units)
        found.scanned, found.holes = builder.scanned, builder.holes
        if batch.lost:
            found.lists = [replace(each, lost=batch.lost) for each in found.lists]
        self._outcome.skipped = self._outcome.skipped.plus(builder.skipped)
        found.deferred = builder.deferred
        self._outcome.findings.append(found)

    def _folders(self, batch: Batch) -> list[Folder]:
        """Return the folders to list. Where a lost rank may have copied some of it, what is there is looked up."""
        if not batch.lost:
            return self._lister.folders(self._builder, batch)
        from hpcp_mpi.operations.scan.counterpart import counterpart  # few ranks are lost

        self._context.lost.update(batch.lost)
        folders: list[Folder] = []
        for unit in batch.units:
            new, over, above = counterpart(self._context, unit.target)
            if over and not (batch.over or self._context.options.replaces_others):
                path = child_path(self._context.job.sources[batch.source].path, unit.name)
                self._outcome.failures.append(in_its_place(self._context, path))
                continue
            one = replace(batch, units=Units.of([unit]), new=new, over=over, above=above)
            folders += self._lister.folders(self._builder, one)
        return folders

    def _list_some(self, waiting: list[Folder], begun: bool) -> bool:
        """List directories until there is enough to copy here, or time is over: then others get the rest.

        begun: whether any was listed. Return the same of now.
        """
        while waiting and self._weight < self._bite:
            if begun and (time.monotonic() > self._deadline or self._context.ending.is_set()):
                self._builder.hand_over(waiting)
                waiting.clear()
                break
            waiting.extend(reversed(self._list(waiting.pop())))
            begun = True
            self._sort_out()
        return True

    def _list(self, folder: Folder) -> list[Folder]:
        """List one directory; return the directories in it."""
        self._notes.clear()
        failures: list[Failure] = []
        listings: list[ClassifiedEntries] = []
        problem: Failure | None = None
        try:
            entries = 0
            for listing in self._lister.listings(folder, failures):
                listings.append(listing)
                entries += listing.entries
                if entries > _HUGE:
                    return self._leave(folder)
        except Unlisted as unlisted:
            problem = unlisted.failure
        self._outcome.failures += failures
        self._outcome.notes += self._notes
        children = [child for listing in listings for child in self._builder.add(folder, listing)]
        if problem is None:
            self._builder.close(folder)
        else:
            self._outcome.failures.append(problem)
            self._builder.unlisted(folder, problem.vanished)
        return children

    def _leave(self, folder: Folder) -> list[Folder]:
        """Leave a directory to rank 0."""
        self._builder.hand_over([folder])
        self._found.huge.append(self._builder.out.pop())
        return []

    def _sort_out(self) -> None:
        """Check at once what may be identical; the rest is for others, but for what is to be copied here."""
        out, self._builder.out = self._builder.out, []
        for batch in out:
            if batch.kind is Kind.LIST:
                self._found.lists.append(batch)
            elif batch.kind is Kind.CHECK and not self._context.options.full_hash:
                for differing in self._check(self._context, [batch], self._outcome):
                    self._take(differing)
            else:
                self._take(batch)

    def _take(self, batch: Batch) -> None:
        """Take what was found: it is copied here if others do not wait for it, and it is not too much for one."""
        options = self._context.options
        weight = batch.weight(options.file_cost)
        if self._deep and batch.kind is Kind.COPY and weight <= 2 * options.bite_weight:
            self._own.append(batch)
            self._weight += weight
        else:
            self._outcome.new_work.append(batch)

    def _copy_own(self) -> None:
        """Copy what is to be copied here, as long as there is time; others get the rest."""
        own, self._own, self._weight = self._own, [], 0
        bite: list[Batch] = []
        weight = 0
        for number, batch in enumerate(own):
            if time.monotonic() > self._deadline and not bite and number:
                self._outcome.new_work += own[number:]
                return
            bite.append(batch)
            weight += batch.weight(self._context.options.file_cost)
            if weight >= self._bite or number == len(own) - 1:
                self._copy(self._context, bite, self._outcome)
                bite, weight = [], 0
