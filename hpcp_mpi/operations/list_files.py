"""The verb: list, as rank 0 leads it."""

from hpcp_mpi.cluster.wire import Wire
from hpcp_mpi.operations.crew import Face
from hpcp_mpi.vocab.asked import Asked
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.report import Report


def lead_list(wire: Wire, asked: Asked, face: Face) -> Report:
    raise FatalError("not built yet")
