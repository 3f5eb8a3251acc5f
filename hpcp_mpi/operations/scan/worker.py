"""Listing directories for rank 0: a part of the tree is walked, and rank 0 gets what has to be done in it.

What is identical is found out on the spot, so that of a tree in which nothing changed only counts travel. Everything
else goes to rank 0 as work for any rank, and so do directories that there was no time for: idle ranks take them.
"""

import time
from collections.abc import Callable, Sequence

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.unstorable_times import lost_time
from hpcp_mpi.operations.scan.lister import Lister, Unlisted, builder_for
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Folder, ScanFindings
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, Kind

_SECONDS = 0.1  # after which no further directory is begun: others may be idle
_EACH = 0.01  # the same for each directory that was asked for: at first there is one, and all others are idle
_HUGE = 50_000  # entries of a directory that are not held here; rank 0 lists it in slices


# Checks CHECK batches; returns the batches of what has to be copied.
Check = Callable[[JobContext, Sequence[Batch], Outcome], list[Batch]]


def explore(context: JobContext, batch: Batch, outcome: Outcome, check: Check) -> None:
    """List the directories of a LIST batch and what is below them, for as long as it is short."""
    _Walk(context, outcome, check).walk(batch)


class _Walk:
    """A walk through a part of the tree, depth first."""

    def __init__(self, context: JobContext, outcome: Outcome, check: Check) -> None:
        self._context = context
        self._check = check
        self._outcome = outcome
        self._builder: UnitBuilder = builder_for(context.options)
        self._builder.lost = lambda path, mtime_ns: lost_time(context, path, mtime_ns, outcome)
        self._notes: list[tuple[bytes, str]] = []  # of the directory at hand
        self._lister = Lister(context, lambda *note: self._notes.append(note))
        self._lister.equal.checks = not context.options.full_hash
        self._found = ScanFindings()

    def walk(self, batch: Batch) -> None:
        waiting = self._lister.folders(self._builder, batch)
        waiting.reverse()
        deadline = time.monotonic() + min(_SECONDS, _EACH * len(waiting))
        while waiting:
            if time.monotonic() > deadline and self._found.done:
                self._builder.hand_over(waiting)
                break
            waiting.extend(reversed(self._list(waiting.pop())))
            self._found.done = len(batch.units)
            self._sort_out()
        self._builder.links.give_up()
        self._sort_out()
        found, builder = self._found, self._builder
        found.scanned = builder.scanned
        self._outcome.skipped = self._outcome.skipped.plus(builder.skipped)
        found.deferred = builder.deferred
        self._outcome.findings.append(found)

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
        """Check at once what may be identical; the rest is for others."""
        out, self._builder.out = self._builder.out, []
        for batch in out:
            if batch.kind is Kind.LIST:
                self._found.lists.append(batch)
            elif batch.kind is Kind.CHECK and not self._context.options.full_hash:
                self._outcome.new_work += self._check(self._context, [batch], self._outcome)
            else:
                self._outcome.new_work.append(batch)
