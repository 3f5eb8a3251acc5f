"""What may not be removed, and how the rest goes: what tells the removals of mirrors and moves from a plain one."""

from typing import Protocol

from hpcp_mpi.engine.context import Workplace
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import DEST, Batch, Kind


class Keeper(Protocol):
    """Says what may not be removed. It tells the outcome why, if anyone should know.

    One is made for every batch. `directory` is an open descriptor, `path` is the directory's, relative to the root.
    """

    def enters(self, path: bytes) -> bool:
        """Tell whether the directory may be emptied and removed. False: it stays with all in it."""

    def keeps(self, directory: int, path: bytes, name: bytes) -> bool:
        """Tell whether a non-directory stays. Asked right before it would be removed."""


class Disposer(Protocol):
    """Makes entries go. Raises OSError, as the calls it is named after."""

    def unlink(self, directory: int, path: bytes, name: bytes) -> None:
        """Make the non-directory `name` go; its directory is open, and `path` is where that is below the root."""

    def rmdir(self, directory: int, path: bytes, name: bytes) -> None:
        """The same for an empty directory."""


def keeper_of(place: Workplace, batch: Batch, outcome: Outcome) -> Keeper | None:
    """Return what says which entries of a batch stay; None: all may go."""
    if batch.kind is Kind.MOVED:
        from hpcp_mpi.operations.move.worker import Copied

        return Copied(place, batch, outcome)
    if batch.source == DEST:
        from hpcp_mpi.operations.mirror.worker import Extras

        return Extras(place, outcome)
    return None


def disposer_of(place: Workplace, batch: Batch) -> Disposer | None:
    """Return what makes the entries of a batch go; None: unlink and rmdir."""
    if batch.source == DEST and place.job.backup is not None:
        from hpcp_mpi.operations.mirror.worker import IntoBackup

        return IntoBackup(place)
    return None
