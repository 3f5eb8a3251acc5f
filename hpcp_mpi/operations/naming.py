"""Not built yet."""

from hpcp_mpi.operations.workplace import Workplace
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch


def name_entries(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    raise NotImplementedError
