"""What a copy has to remember so that another run can resume it, in the middle of the scan or of a big file.

What is not known to be done is remembered by directory; what waits for the end, in records; and which ranges of big
files are missing. A resumed run looks at those directories as any run does: what is there by then is not copied again.
So a checkpoint may be old, or miss what was done since.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain

from hpcp_mpi.engine.checkpoints import CopyState, remembered_failures
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.external_sort import Record
from hpcp_mpi.host.range_copy import changed, opened
from hpcp_mpi.operations.copy.big_files.rank0 import WithRanges
from hpcp_mpi.operations.copy.totals import Totals
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.operations.scan.records import CONTENT_CHANGED, LAYOUTS, Extra, LinkedName, SharedName, directory_metadata
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.rules.relisting import least, todo_of
from hpcp_mpi.vocab import columns, stored_batches
from hpcp_mpi.vocab.checkpoint import Relist, ResumeState
from hpcp_mpi.vocab.errors import EXIT_OK, FatalError
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.paths import is_within, join, relative_to
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

_EXCLUDING = "excluding"  # a kind of records: which exclude patterns matched something, a bit for each

StartedFiles = list[tuple[Batch, Units]]  # what finishes a big file, and the ranges that are not copied


class ResumeRecorder:
    """The recorder of the state of a copy, on rank 0, during the copy."""

    def __init__(self, coordinator: Coordinator, scan: Scan, landings: Sequence[Landing]) -> None:
        """Before the scan is started."""
        self._coordinator = coordinator
        self._scan = scan
        self._single = [index for index, landing in enumerate(landings) if landing.name is not None]
        self._sorts = scan.waiting.record()
        self._excluding = 0  # the exclude patterns that are recorded to have matched something
        scan.builder.links.seen = []

    def restore(self, saved: ResumeState) -> None:
        """Add the records of earlier runs."""
        for block in saved.records.get(_EXCLUDING, ()):
            self._excluding |= int.from_bytes(block, "little")
        self._coordinator.outcome.excluding |= self._excluding
        for kind, sort in self._sorts.items():
            for block in saved.records.get(kind, ()):
                sort.restore(columns.unpacked(LAYOUTS[kind], block))
        # Where names were linked or removed, directories may have other times since; who did it has not said.
        waiting = self._scan.waiting
        touched = chain(
            (_above(each.source, each.path, each.target) for each in map(LinkedName._make, waiting.linked)),
            (_above(each.source, each.path, each.target) for each in map(SharedName._make, waiting.shared)),
            ((each.source, each.source_dir, each.dest_dir) for each in map(Extra._make, waiting.extras)),
        )
        if self._coordinator.job.options.directory_sync:
            waiting.settled.restore(directory_metadata(*each, CONTENT_CHANGED) for each in touched)

    def forget(self) -> None:
        """Drop what is recorded: it is no longer written down."""
        for sort in self._sorts.values():
            sort.forget_new()
        self._scan.forget_names()

    def state(self, feed: WithRanges | None, totals: Totals) -> CopyState:
        """Return what is left to do. feed: of big files, while there is one"""
        # The directories first: what is done meanwhile is recorded then, and may be looked at once more.
        todo, numbers = self._scan.todo, self._scan.numbers
        settled, linked = self._scan.unfinished()
        batches = [
            *self._coordinator.backlog.pending(),
            *self._coordinator.planner.granted,
            *self._coordinator.outcome.after_mirror,
        ]
        if feed is not None:
            batches += feed.pending
        for batch in batches:
            todo += todo_of(batch)
        planner = self._coordinator.planner
        todo += planner.todo
        again = planner.below
        for batch in batches:
            again = again.plus(batch.below)
        new: dict[str, list[Record]] = {kind: sort.take_new() for kind, sort in self._sorts.items()}
        new["settled"] += settled
        new["linked"] += linked
        records = {kind: columns.packed(LAYOUTS[kind], some) for kind, some in new.items() if some}
        excluding = self._coordinator.excluding
        if excluding != self._excluding:
            self._excluding = excluding
            records[_EXCLUDING] = excluding.to_bytes((excluding.bit_length() + 7) // 8, "little")
        state = stored_batches.packed(chain.from_iterable(_as_batches(_under_way(feed, batches))))
        tallies = totals.own(numbers._replace(again=numbers.again.plus(again)), self._coordinator.outcome)
        return CopyState(tuple(least(todo, self._single)), records, state, tallies)


def _above(source: int, path: bytes, target: bytes) -> tuple[int, bytes, bytes]:
    """Return the directory that a name is in, as a source, its path there, and its counterpart's."""
    return source, path.rpartition(b"/")[0], target.rpartition(b"/")[0]


def _under_way(feed: WithRanges | None, batches: Iterable[Batch]) -> StartedFiles:
    """Return the big files under way."""
    if feed is None:
        return []
    left: dict[tuple[bytes, bytes], list[Unit]] = {}
    for batch in batches:
        if batch.kind is Kind.RANGE and batch.big is not None:
            left.setdefault((batch.dest_dir, batch.big.stage), []).extend(batch.units)
    started = [(finish, Units.of(left.get(key, ()))) for key, finish in feed.files.items()]
    finishing = [batch for batch in batches if batch.kind is Kind.FINISH_FILE and batch.big and not batch.big.failure]
    return started + [(batch, Units([], [])) for batch in finishing]


def _as_batches(started: StartedFiles) -> Iterator[tuple[Batch, Batch]]:
    """Yield what started_before() reads: of each file what finishes it, and its ranges."""
    for finish, left in started:
        yield finish, replace(finish, kind=Kind.RANGE, units=left)


def left_to_do(saved: ResumeState, landings: Sequence[Landing], job: Job) -> list[Relist] | None:
    """Return what earlier runs left to look at; None: everything."""
    if not saved.latest.state or (saved.complete and saved.exit_code == EXIT_OK):
        return None
    todo = list(saved.latest.todo)
    for path, found in remembered_failures(saved):
        again = [each._replace(found=found) for each in _where(path, landings, job)]
        if not again and not is_within(path, job.destination):  # there: to be removed
            return None
        todo += again
    return least(todo, [index for index, landing in enumerate(landings) if landing.name is not None])


def _where(path: bytes, landings: Sequence[Landing], job: Job) -> Iterator[Relist]:
    """Yield what has to be looked at to try again what failed; nothing where that is not known.

    One source may be in another one, and several entries of a directory are several sources.
    """
    for index, source in enumerate(job.sources):
        inside = relative_to(path, source.path)
        if inside is None:
            continue
        landing, recursive = landings[index], not inside
        if landing.name is not None and inside != landing.name:
            continue
        with suppress(OSError):
            recursive = recursive or stat.S_ISDIR(os.lstat(path).st_mode)
        directory = inside if recursive else inside.rpartition(b"/")[0]
        yield Relist(index, directory, join(landing.dest_dir, directory), recursive)


def started_before(saved: ResumeState, context: JobContext) -> StartedFiles:
    """Return the big files that an earlier run began and this one can resume."""
    with reading_records():
        batches = stored_batches.unpacked(saved.latest.state) if saved.latest.state else []
        started = list(zip(batches[::2], (ranges.units for ranges in batches[1::2]), strict=True))
    return [each for each in started if _is_there(each[0], context)]


@contextmanager
def reading_records() -> Iterator[None]:
    """Raise FatalError for the ValueError of records that no run has written."""
    try:
        yield
    except ValueError as error:
        raise FatalError(
            f"the ledger is damaged: {error}",
            "Remove it and run the command without --resume: what is copied stays copied.",
        ) from None


def stages_of(started: StartedFiles) -> frozenset[bytes]:
    """Return the names of the stages of big files."""
    return frozenset(finish.big.stage for finish, _ in started if finish.big is not None)


def _is_there(finish: Batch, context: JobContext) -> bool:
    """Return whether a big file's copy is as its run left it, and the source too."""
    big = finish.big
    if big is None or finish.source >= len(context.job.sources):
        return False
    try:
        with ExitStack() as stack:
            source = stack.enter_context(context.source(finish).at(finish.source_dir))
            _, status = stack.enter_context(opened(source, big.name))
            if changed(big.identity, status):
                return False
            dest = stack.enter_context(context.dest.at(finish.dest_dir))
            stage = context.stages.enter(dest, big.stage)
            stack.callback(os.close, stage)
            there = lstat(big.stage, stage)
            return there is not None and stat.S_ISREG(there.st_mode) and there.st_size == big.size
    except OSError:
        return False
