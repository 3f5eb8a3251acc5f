"""What a coordinator asks the operation that it works for."""

from hpcp_mpi.engine.checkpoints import CopyState
from hpcp_mpi.vocab.outcome import Outcome
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

    def tick(self) -> None:
        """Do what has to be done from time to time. Called very often."""

    @property
    def remembers(self) -> bool:
        """Whether remember() tells where another run can go on."""
        return False

    def remember(self) -> CopyState:
        """Return what another run has to know to go on from here; empty: it looks at everything again."""
        return CopyState()

    def forget(self) -> None:
        """Remember nothing any more: nobody writes it down."""
