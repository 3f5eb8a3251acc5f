"""What a scan finds and waits for the end of the run, in files."""

from hpcp_mpi.host.external_sort import Spill
from hpcp_mpi.operations.scan.records import Listed
from hpcp_mpi.operations.scan.unit_builder import Gather


class Waiting:
    """What waits for the end of the run."""

    def __init__(self) -> None:
        self.settled = Spill()
        self.linked = Spill()
        self.shared = Spill()
        self.extras = Spill()
        self.tracked = Spill()

    def take(self, found: Gather | Listed) -> None:
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
