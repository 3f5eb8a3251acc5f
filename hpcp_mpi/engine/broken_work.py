"""Failures of units whose work an unexpected OSError ended; rank 0 gets the findings that it waits for.

Each kind of work names what fails of it as narrowly as it can; this is for errors that no kind expects. They are named
by the unit, with the reason, and no rank breaks down.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.retrying import names_passing, recovered, tries
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import total_of
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Unit, Units


def surviving(
    context: JobContext,
    batch: Batch,
    outcome: Outcome,
    do: Callable[[JobContext, Batch, Outcome], None],
    undone: Callable[[Batch, str], list[Any]] = lambda batch, reason: [],
) -> None:
    """Do a batch; if the storage breaks that off, all of it has failed that is not named already.

    What was counted by then is not: some of it may be there, and the next run finds it.
    undone: returns the findings that rank 0 waits for, given the batch and the reason
    """
    mine = Outcome()
    try:
        do(context, batch, mine)
    except OSError as error:
        broken = Outcome(failures=mine.failures, notes=mine.notes, touched=mine.touched, seconds=mine.seconds)
        broken.losses = mine.losses
        named = {failure.path for failure in mine.failures}
        reason = f"could not be done: {reason_of(error)}"
        for path, units in _by_path(context, batch).items():
            if path not in named:
                broken.failures.append(Failure(path, reason, False, total_of(unit.tally for unit in units)))
        broken.findings += undone(batch, reason)
        if batch.kind is Kind.RANGE and batch.big is not None:
            broken.failures.clear()  # the file is named when it is finished
        mine = broken
    outcome.add(mine)


def _by_path(context: JobContext, batch: Batch) -> dict[bytes, list[Unit]]:
    """Return the units of a batch by the absolute paths by which failures name them; parts of a big file have one."""
    found: dict[bytes, list[Unit]] = defaultdict(list)
    for unit in batch.units:
        name = unit.name if batch.big is None else batch.big.name
        if batch.source == DEST:
            found[context.dest_path(join(batch.source_dir, name))].append(unit)
        else:
            found[context.source_path(batch, name)].append(unit)
    return found


def persistently(
    context: JobContext,
    batches: Sequence[Batch],
    outcome: Outcome,
    do: Callable[[Sequence[Batch], Outcome, bool], None],
) -> None:
    """Have batches done; what failed of them for a reason that may be over in a moment is done again a few times.

    do: takes batches, their outcome, and whether it is the last try
    """
    for last in tries(lambda: context.commands.stopped):
        mine = Outcome()
        do(batches, mine, last)
        again = _passing(context, batches, mine) if not last else []
        outcome.add(mine)
        if last and not any(names_passing(failure.reason) for failure in mine.failures):
            recovered()
        if not again:
            return
        batches = again


def _passing(context: JobContext, batches: Iterable[Batch], outcome: Outcome) -> list[Batch]:
    """Take what may be over in a moment out of the failures; return the units concerned, to be done again."""
    if not any(names_passing(failure.reason) for failure in outcome.failures):
        return []
    again: list[Batch] = []
    for batch in batches:
        units = _by_path(context, batch)
        reasons = [(_above(failure.path, units), failure.reason) for failure in outcome.failures]
        concerned = {path for path, reason in reasons if path is not None and names_passing(reason)}
        if batch.kind is Kind.VERIFY:  # what is good in a subtree is counted already
            concerned = {path for path in concerned if not any(unit.tally.directories for unit in units[path])}
        if concerned:
            outcome.failures = [each for each in outcome.failures if _above(each.path, units) not in concerned]
            found = Units.of(unit for path, some in units.items() if path in concerned for unit in some)
            again.append(replace(batch, units=found, equal=False))
    return again


def _above(path: bytes, units: Mapping[bytes, object]) -> bytes | None:
    """Return the path of the unit that an entry is, or is in."""
    while path not in units:
        path, slash, _ = path.rpartition(b"/")
        if not slash:
            return None
    return path
