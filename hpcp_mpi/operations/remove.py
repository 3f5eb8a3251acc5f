"""The verb: remove, as rank 0 leads it, and the removal that mirrors and moves end with."""

from collections.abc import Iterable

from hpcp_mpi.cluster.wire import Wire
from hpcp_mpi.operations.crew import Crew, Face
from hpcp_mpi.vocab.asked import Asked
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch


class Removal:
    """Removes, or counts, what batches name, with all below it.

    removal = Removal(crew, batches)      # REMOVE, COUNT or MOVED; taken one by one; units: plan.removal.walks, others
    removal.drive("removing")             # files, directories and all; Raises StoppedEarly, FatalError
    """

    def __init__(self, crew: Crew, batches: Iterable[Batch]) -> None:
        self.scanned: Tally = NOTHING  # what was found so far
        self.emptied: set[int] = set()  # the sources of which the root, as the unit b"" of b"", is empty now

    def drive(self, phase: str) -> None:
        raise NotImplementedError


def counted(crew: Crew, batches: Iterable[Batch]) -> Tally:
    """Return how much removing what COUNT batches name would remove. Raises StoppedEarly, FatalError.

    The crew's outcome is as before: what cannot be removed is told when it is tried.
    """
    raise NotImplementedError


def lead_remove(wire: Wire, asked: Asked, face: Face) -> Report:
    raise NotImplementedError
