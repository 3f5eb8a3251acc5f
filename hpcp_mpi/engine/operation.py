"""What a coordinator asks the operation that it works for."""

from hpcp_mpi.engine.checkpoints import CopyState
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.progress import InRanges
from hpcp_mpi.vocab.tally import NOTHING, Tally


class Operation:
    """An operation as its coordinator knows it. This one answers for those that know nothing better."""

    def scanned(self) -> Tally:
        """Return what was found so far. Called often."""
        return NOTHING

    def scan_done(self) -> bool:
        """Return whether that is all there is. Called often."""
        return True

    def listed(self) -> Outcome:
        """Return what rank 0 could not list, and what it noted; the same object each time, if there is any."""
        return Outcome()

    def in_ranges(self) -> InRanges:
        """Return what is known of files that are copied in ranges. Called often."""
        return InRanges()

    def tick(self) -> None:
        """Do what has to be done from time to time. Called very often."""

    @property
    def remembers(self) -> bool:
        """Whether remember() returns a state that another run can resume."""
        return False

    def remember(self) -> CopyState:
        """Return the state that another run resumes; an empty one: it looks at everything again."""
        return CopyState()

    def forget(self) -> None:
        """Drop what is remembered: it is no longer written down."""
