"""What is to be done with an entry, as far as two lstats tell."""

import os
import stat
from collections.abc import Callable, Iterable

from hpcp_mpi.plan.compare import maybe_identical
from hpcp_mpi.plan.listed import Existing, Linked, Listing
from hpcp_mpi.vocab.names import STAGE_PREFIX, below
from hpcp_mpi.vocab.tally import ONE_LINK, ONE_SPECIAL, one_file

Entry = tuple[bytes, os.stat_result, os.stat_result | None]  # (name, source's lstat, the destination's)


class Classifier:
    """Sorts entries into a Listing.

    excluded:  tells of an absolute source path; None where nothing is
    forbidden: inodes (st_dev, st_ino) of directories that are never entered: the destination itself
    note:      takes (absolute path, what a reader should know)
    """

    def __init__(
        self,
        window_ns: int,
        directory_only: bool,
        excluded: Callable[[bytes], bool] | None,
        forbidden: frozenset[tuple[int, int]],
        note: Callable[[bytes, str], None],
    ) -> None:
        self._window_ns = window_ns
        self._directory_only = directory_only
        self._excluded = excluded
        self._forbidden = forbidden
        self._note = note

    def classify(self, directory: bytes, entries: Iterable[Entry]) -> Listing:
        """Return entries as a Listing. directory: their absolute path, for excludes and notes."""
        listing = Listing()
        plain, excluded = listing.plain, self._excluded
        for entry in entries:
            name, status, dest = entry
            if excluded is not None and excluded(below(directory, name)):
                listing.open = True
            elif name.startswith(STAGE_PREFIX):
                self._skip(listing, below(directory, name), "left behind by a killed run; not copied")
            elif stat.S_ISDIR(status.st_mode):
                self._directory(listing, directory, name, status, dest)
            elif self._directory_only:
                listing.open = True
            elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and dest is None:
                plain.append((name, status.st_size))
            elif stat.S_ISSOCK(status.st_mode):
                self._skip(listing, below(directory, name), "a socket; not copied")
            else:
                self._entry(listing, name, status, dest)
        return listing

    def _skip(self, listing: Listing, path: bytes, why: str) -> None:
        listing.open = True
        self._note(path, why)

    def _directory(
        self, listing: Listing, directory: bytes, name: bytes, status: os.stat_result, dest: os.stat_result | None
    ) -> None:
        if (status.st_dev, status.st_ino) in self._forbidden:
            self._skip(listing, below(directory, name), "the destination itself; not copied")
            return
        new = dest is None or not stat.S_ISDIR(dest.st_mode)
        listing.folders.append((name, new, new and dest is not None))

    def _entry(self, listing: Listing, name: bytes, status: os.stat_result, dest: os.stat_result | None) -> None:
        tally = (
            one_file(status.st_size)
            if stat.S_ISREG(status.st_mode)
            else ONE_LINK if stat.S_ISLNK(status.st_mode) else ONE_SPECIAL
        )  # fmt: skip
        existing = dest is not None and maybe_identical(status, dest, self._window_ns)
        inode = (status.st_dev, status.st_ino)
        dest_inode = (dest.st_dev, dest.st_ino) if dest is not None and dest.st_nlink > 1 else None
        if status.st_nlink > 1:
            listing.linked.append(Linked(name, tally, inode, status.st_nlink, existing, dest_inode))
        elif existing:
            listing.existing.append(Existing(name, tally, inode, dest_inode))
        else:
            listing.others.append((name, tally))
