"""What a slot does with a bite of work."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hpcp_mpi.engine.context import Workplace
from hpcp_mpi.engine.unfinished import persistently, surviving
from hpcp_mpi.host.retrying import tells_passing
from hpcp_mpi.operations.copy.big_files.rules import BeginsDone
from hpcp_mpi.operations.copy.big_files.worker import begin, copy_range, finish
from hpcp_mpi.operations.copy.check import check_all
from hpcp_mpi.operations.copy.directories import _sweep, make, settle
from hpcp_mpi.operations.copy.hard_links import link
from hpcp_mpi.operations.copy.worker import copy
from hpcp_mpi.operations.scan.worker import explore
from hpcp_mpi.operations.verify.records import gathered
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, Kind, Units


def work(place: Workplace, batches: list[Batch]) -> Outcome:
    """Do batches of one kind; return what became of them. Raises host.commands.Stopped when the run is ending."""
    outcome = Outcome()
    began = time.monotonic()
    kind = batches[0].kind
    place.looks.begin((kind, batches[0].again))
    if kind is Kind.COPY:
        copy(place, batches, outcome)
    elif kind in _AGAIN:
        persistently(place, batches, outcome, lambda some, mine, last: _do(place, some, mine))
    else:
        _do(place, batches, outcome)
    found = [each for batch in outcome.more for each in _divided(place, batch)]
    outcome.more = [batch for batch in found if batch.kind is not Kind.BEGIN]
    outcome.news += [batch for batch in found if batch.kind is Kind.BEGIN]  # rank 0 has few begun at a time
    if place.options.verify:
        outcome.news = gathered(outcome.news, place.rank)
    outcome.seconds = time.monotonic() - began
    return outcome


def _do(place: Workplace, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Do batches of one kind, whatever becomes of them."""
    kind = batches[0].kind
    if kind is Kind.CHECK:
        _check(place, batches, outcome)
    elif kind is Kind.VERIFY:
        _verify(place, batches, outcome)
    else:
        for batch in batches:
            surviving(place, batch, outcome, _ONE_BY_ONE[kind])


def _check(place: Workplace, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Check what may be identical; copy what is not, unless it is so much that others should help."""
    differing: list[Batch] = []
    for batch in batches:
        with place.gate:
            differing += check_all(place, [batch], outcome)
    limited = place.options.rate_bytes or place.options.rate_files  # then rank 0 says when it may be copied
    if limited or sum(batch.amount for batch in differing) > place.options.bite_weight:
        outcome.more += differing
    else:
        copy(place, differing, outcome)


def _divided(place: Workplace, batch: Batch) -> list[Batch]:
    """Return the files of a COPY batch that are copied in ranges as a batch of their own."""
    size = place.options.split_size
    if batch.kind is not Kind.COPY or not size or batch.amount < size:
        return [batch]
    units = list(batch.units)
    big = [unit for unit in units if unit.tally.files == 1 == unit.tally.entries and unit.tally.bytes >= size]
    small = [unit for unit in units if unit not in big]
    found = replace(batch, kind=Kind.BEGIN, units=Units.of(unit._replace(amount=0) for unit in big))
    return [each for each in (found, replace(batch, units=Units.of(small))) if len(each.units)]


def _begin(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    begin(place, batch, outcome)
    outcome.news.append(BeginsDone(len(batch.units)))


def _finish(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    """Finish a big file; one that is spoilt for a reason that may be over in a moment is copied by one cp."""
    mine = Outcome()
    finish(place, batch, mine)
    again = not mine.copied and any(tells_passing(failure.reason) for failure in mine.failures)
    if again and not place.commands.stopped:
        mine.failures = []
        copy(place, [replace(batch, kind=Kind.COPY, big=None, again=False)], mine)
    outcome.add(mine)


def _list(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    with place.gate:
        explore(place, batch, outcome)


def _remove(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.remove.worker import remove

    with place.gate:
        remove(place, batch, outcome)


def _remove_emptied(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.remove.worker import remove_emptied

    remove_emptied(place, batch, outcome)


def _name(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.list_files.worker import name_entries

    with place.gate:
        name_entries(place, batch, outcome)


def _state(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.compare.worker import tell_states

    tell_states(place, batch, outcome)


def _name_below(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    from hpcp_mpi.operations.compare.worker import name_below

    with place.gate:
        name_below(place, batch, outcome)


def _verify(place: Workplace, batches: Sequence[Batch], outcome: Outcome) -> None:
    from hpcp_mpi.operations.verify.worker import verify

    verify(place, batches, outcome)


# What names each unit that failed, and of which nothing else is told then: it can be done again.
_AGAIN = (Kind.VERIFY, Kind.LINK, Kind.MAKE, Kind.SETTLE)

# What only some verbs need is imported when it is needed.
_ONE_BY_ONE: dict[Kind, Callable[[Workplace, Batch, Outcome], None]] = {
    Kind.LIST: _list,
    Kind.BEGIN: _begin,
    Kind.RANGE: copy_range,
    Kind.FINISH: _finish,
    Kind.LINK: link,
    Kind.MAKE: make,
    Kind.SETTLE: settle,
    Kind.SWEEP: _sweep,
    Kind.REMOVE: _remove,
    Kind.COUNT: _remove,
    Kind.MOVED: _remove,
    Kind.RMDIR: _remove_emptied,
    Kind.NAMES: _name,
    Kind.BELOW: _name_below,
    Kind.STATE: _state,
}
