"""Removing, on a worker: entries of a directory, each with all below it, by descriptors.

A directory is opened in its parent's descriptor, never through a symlink, listed once, and what is no directory is
unlinked by (descriptor, name). The walk goes depth first and is short: directories that there is no time for are told
as found, for anyone; their parents' turn comes when they are done (plan/removal).

What is in a batch is to go. What is listed below it stays if it is excluded, and if the kind's Keeper keeps it.
"""

from typing import Protocol

from hpcp_mpi.operations.workplace import Workplace
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch


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
    return None


def disposer_of(place: Workplace, batch: Batch) -> Disposer | None:
    """Return what makes the entries of a batch go; None: unlink and rmdir."""
    return None


def remove(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    """Remove the units of a REMOVE or MOVED batch; only count those of a COUNT batch, and in a dry run.

    Units are names in batch.source_dir, below batch.source (DEST: the destination): of directories (plan.removal.walks)
    or of anything else (plan.removal.others). They are taken off outcome.removed and told as plan.removal.Told.
    """
    raise NotImplementedError


def remove_emptied(place: Workplace, batch: Batch, outcome: Outcome) -> None:
    """Remove the directories of an RMDIR batch. Rank 0's Removal makes these."""
    raise NotImplementedError
