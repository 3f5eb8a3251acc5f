"""A part that is being built."""

from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.report import Report


def pack(run: Imaging) -> Report:
    """Refuse. Raises FatalError."""
    raise FatalError("this version does not do this: pack")
