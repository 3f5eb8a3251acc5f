"""What a slot does with a bite of work."""

import time
from collections.abc import Callable

from hpcp_mpi.host.stage import sweep
from hpcp_mpi.operations.checking import check, make, settle
from hpcp_mpi.operations.copying import copy
from hpcp_mpi.operations.linking import link
from hpcp_mpi.operations.workplace import Workplace
from hpcp_mpi.vocab.errors import reason_of
from hpcp_mpi.vocab.names import join
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch, Kind


def work(place: Workplace, batches: list[Batch]) -> Outcome:
    """Do batches of one kind; return what became of them. Raises host.commands.Stopped when the run is ending."""
    outcome = Outcome()
    began = time.monotonic()
    kind = batches[0].kind
    if kind is Kind.CHECK:
        differing = []
        for batch in batches:
            with place.gate:
                differing.append(check(place, batch, outcome))
        copy(place, [batch for batch in differing if batch.units], outcome)
    elif kind is Kind.COPY:
        copy(place, batches, outcome)
    else:
        for batch in batches:
            _ONE_BY_ONE[kind](place, batch, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _sweep(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    """Remove stages that killed runs left."""
    if place.options.dry_run:
        return
    for unit in batch.units:
        path = place.dest_path(join(batch.dest_dir, unit.name))
        try:
            with place.dest.at(batch.dest_dir) as dest:
                outcome.touched.add((batch.source, batch.source_dir, batch.dest_dir))
                if not sweep(dest, unit.name):
                    outcome.remark(path, "a private directory of another run, which may be alive; left alone")
        except OSError as error:
            outcome.remark(path, f"left behind by a killed run, and cannot be removed: {reason_of(error)}")


_ONE_BY_ONE: dict[Kind, Callable[[Workplace, Batch, Outcome], None]] = {
    Kind.LINK: link,
    Kind.MAKE: make,
    Kind.SETTLE: settle,
    Kind.SWEEP: _sweep,
}
