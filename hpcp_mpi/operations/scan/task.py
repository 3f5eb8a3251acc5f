"""A directory on its way through rank 0's scan, slice by slice, and what has to be looked at if the run ends there."""

from collections.abc import Iterator

from hpcp_mpi.operations.scan.lister import Lister, Unlisted
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Folder
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.tally import NOTHING


class ScanTask:
    """A directory on its way through the pool. Its slices take turns with what they contain."""

    __slots__ = (
        "_ahead",
        "_lister",
        "_listings",
        "_problem",
        "again",
        "failures",
        "flat",
        "folder",
        "found",
        "reported",
        "seen",
        "skipped",
    )

    def __init__(self, folder: Folder, lister: Lister, again: bool = False, reported: bool = False) -> None:
        """again: it was counted before, with all below it. reported: by the run that this one resumes"""
        self.folder = folder
        self.again = again
        self.reported = reported
        self.found = NOTHING  # in it, but for directories, while there may be more
        self.flat = False  # directories in it are not looked at
        self.skipped: frozenset[bytes] = frozenset()  # directories in it that are not looked at
        self.seen: list[bytes] = []  # directories that were found in it, while there may be more
        self.failures: list[Failure] = []
        self._lister = lister
        self._listings: Iterator[ClassifiedEntries] | None = None
        self._ahead: ClassifiedEntries | None = None
        self._problem: Unlisted | None = None

    def next(self) -> ClassifiedEntries | None:
        """Return some more of it, None if there is nothing; `ended` says whether that was all. Raises Unlisted."""
        if self._listings is None:
            self._look_ahead()
        if self._problem is not None:
            raise self._problem
        listing = self._ahead
        if listing is not None:
            self._look_ahead()
            if self.flat:
                listing.folders, listing.leaves = [], []
            elif self.skipped:
                listing.folders = [each for each in listing.folders if each[0] not in self.skipped]
                listing.leaves = [leaf for leaf in listing.leaves if leaf.name not in self.skipped]
        return listing

    def _look_ahead(self) -> None:
        # So a directory is known to be at its end before what is in it is walked: else all on the way would be looked
        # at again when a run is resumed.
        try:
            if self._listings is None:
                self._listings = self._lister.listings(self.folder, self.failures)
            self._ahead = next(self._listings, None)
        except Unlisted as problem:
            self._ahead, self._problem = None, problem

    @property
    def fresh(self) -> bool:
        """Whether nothing was listed of it, and any rank may list it: what is in it was never counted before."""
        begun = self._listings is not None or self._problem is not None
        return not (begun or self.again or self.reported or self.flat or self.skipped)

    @property
    def ended(self) -> bool:
        return self._ahead is None and self._problem is None

    @property
    def todo(self) -> Relist:
        """The directory to look at again if the task goes no further than this."""
        folder = self.folder
        seen = b"".join(name + b"\0" for name in (*self.skipped, *self.seen))
        return Relist(folder.source, folder.source_dir, folder.dest_dir, not self.flat, b"" if self.flat else seen)
