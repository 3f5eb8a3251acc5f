"""What a scan finds and waits for the end of the run, in files."""

from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder


class Waiting:
    """What waits for the end of the run."""

    def __init__(self) -> None:
        self.settled = ExternalSort()
        self.linked = ExternalSort()
        self.shared = ExternalSort()
        self.extras = ExternalSort()
        self.tracked = ExternalSort()

    def add(self, found: UnitBuilder | ScanFindings) -> None:
        """Take what was found."""
        for mine, theirs in (
            (self.settled, found.settled),
            (self.linked, found.linked),
            (self.shared, found.shared),
            (self.extras, found.extras),
            (self.tracked, found.tracked),
        ):
            if theirs:
                mine.add(theirs)
                theirs.clear()
