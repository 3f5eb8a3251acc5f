"""What a copy needs of its scan, whichever that is."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from hpcp_mpi.engine.coordinator import Lookable
from hpcp_mpi.operations.scan.records import ScanNumbers
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.operations.scan.waiting import Waiting
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.outcome import Outcome

if TYPE_CHECKING:
    from hpcp_mpi.operations.scan.rank0 import Scan


class CopyScan(Lookable, Protocol):
    """The stream of work that a copy does: that of the trees, of what links lead to, or of what a list names."""

    outcome: Outcome  # what could not be read
    builder: UnitBuilder
    waiting: Waiting
    seconds: float
    numbers: ScanNumbers  # when count() was called
    relists: bool  # what is in a directory can be found again by listing it

    @property
    def shared_since(self) -> float | None:
        """The seconds after its beginning from which on all ranks listed; None: rank 0 alone did."""

    @property
    def resumable(self) -> "Scan | None":
        """The scan, if another run can resume it in the middle; None: that one looks at everything again."""

    def start(self, todo: Sequence[Relist] | None = None) -> None: ...
    def count(self) -> None: ...
    def end(self) -> None: ...


ScanMaker = Callable[..., CopyScan]  # what is called with the arguments of Scan to make the scan of a copy
