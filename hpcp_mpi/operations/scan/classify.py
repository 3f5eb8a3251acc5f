"""What is to be done with an entry, as far as two lstats show. Pure."""

import os
import stat
from collections.abc import Callable, Collection, Iterable

from hpcp_mpi.operations.scan.records import ClassifiedEntries, Existing, Inode, Linked
from hpcp_mpi.rules.equality import is_whiteout, maybe_identical
from hpcp_mpi.vocab.abilities import StoredTimes
from hpcp_mpi.vocab.outcome import SOCKET
from hpcp_mpi.vocab.paths import child_path
from hpcp_mpi.vocab.tally import ONE_LINK, ONE_SPECIAL, holes_of, one_file

Entry = tuple[bytes, os.stat_result, os.stat_result | None]  # (name, source's lstat, the destination's)


WHITEOUT = "a whiteout of an overlay (device 0/0), which the destination, an overlay itself, cannot store; not copied"


class Classifier:
    """Sorts entries into a Listing.

    excluded:  a predicate of (absolute source path, whether it is a directory); None where nothing is
    forbidden: a predicate of (absolute path, inode): a directory that is never entered: the destination itself
    device:    what stands for a device number: those differ between the nodes that see one file system
    note:      takes (absolute path, what a reader should know)
    strict:    a time that cannot be stored is to be known of copies that are there, too
    overlay:   the destination is an overlay, which stores no whiteouts
    """

    def __init__(
        self,
        times: StoredTimes,
        directory_only: bool,
        excluded: Callable[[bytes, bool], bool] | None,
        forbidden: Callable[[bytes, int], bool],
        device: Callable[[int], int],
        note: Callable[[bytes, str], None],
        strict: bool = False,
        overlay: bool = False,
    ) -> None:
        self._overlay = overlay
        self._times = times
        self._strict = strict
        self._directory_only = directory_only
        self.excluded = excluded
        self._forbidden = forbidden
        self._device = device
        self._note = note

    @property
    def astray(self) -> Callable[[int], bool] | None:
        """Return a predicate of an mtime (ns), whether `cp` would make it another one; None where it never would."""
        return None if self._times.clamps else self._times.goes_astray

    @property
    def plain(self) -> bool:
        """Return whether plain files need no rule but their two lstats."""
        return self.excluded is None and not self._directory_only

    def folders(
        self,
        listing: ClassifiedEntries,
        directory: bytes,
        found: Iterable[tuple[bytes, int, bool | None]],
        stages: Collection[bytes] = (),
    ) -> None:
        """Add directories to a listing. directory: their parent's absolute path. stages: those that are no user's data

        found: (name, inode, what is at the destination: None nothing, False a non-directory)
        """
        for name, inode, there in found:
            path = child_path(directory, name)
            if self.excluded is not None and self.excluded(path, True):
                listing.open = True
            elif name in stages:
                self._skip(listing, path, "staging directory of a killed run; not copied")
            elif self._forbidden(path, inode):
                self._skip(listing, path, "the destination itself; not copied")
            else:
                listing.folders.append((name, not there, there is False))

    def time(self, listing: ClassifiedEntries, path: bytes, mtime_ns: int, equal: bool) -> None:
        """Note in a listing that the destination cannot store the time of an entry.

        equal: it has a copy there, of which that was noted. Those whose times go astray are noted when they are set.
        """
        if (self._strict or (self._times.clamps and not equal)) and self._times.nearest(mtime_ns) != mtime_ns:
            listing.beyond.append((path, mtime_ns))

    def entries(self, listing: ClassifiedEntries, directory: bytes, found: Iterable[Entry]) -> None:
        """Add what is not a directory to a listing. directory: their absolute path, for excludes and notes."""
        names, sizes = listing.plain
        others, astray, excluded = listing.others, self.astray, self.excluded
        first, last = self._times.seconds
        for name, status, dest in found:
            if astray is not None and astray(status.st_mtime_ns):
                listing.open = True  # a worker sets its time, which `cp` could not
            kind, single = stat.S_IFMT(status[0]), status[3] == 1 and dest is None
            if self._directory_only or (excluded is not None and excluded(child_path(directory, name), False)):
                listing.open = True
            elif dest is None and kind == stat.S_IFREG and not holes_of(status):
                if single:
                    names.append(name)
                    sizes.append(status[6])
                else:
                    linked = Linked(name, one_file(status.st_size), self._inode(status), status.st_nlink, False, None)
                    listing.linked.append(linked)
            elif single and kind == stat.S_IFLNK:
                others.append((name, ONE_LINK))
            elif kind == stat.S_IFSOCK:
                self._skip(listing, child_path(directory, name), SOCKET)
            elif self._overlay and is_whiteout(status):
                self._skip(listing, child_path(directory, name), WHITEOUT)
            else:
                self._entry(listing, name, status, dest)
            if not first <= status[8] <= last:
                equal = dest is not None and maybe_identical(status, dest, self._times)
                self.time(listing, child_path(directory, name), status.st_mtime_ns, equal)

    def _inode(self, status: os.stat_result) -> Inode:
        return self._device(status.st_dev), status.st_ino

    def twins(self, listing: ClassifiedEntries, found: Iterable[Entry]) -> None:
        """Add files with several names to a listing that are equal to what has their names."""
        for name, status, dest in found:
            if dest is not None:
                inodes = self._inode(status), self._inode(dest)
                listing.twins.append(
                    Linked(name, one_file(status.st_size), inodes[0], status.st_nlink, True, inodes[1])
                )

    def _skip(self, listing: ClassifiedEntries, path: bytes, why: str) -> None:
        listing.open = True
        self._note(path, why)

    def _entry(
        self, listing: ClassifiedEntries, name: bytes, status: os.stat_result, dest: os.stat_result | None
    ) -> None:
        tally = (
            one_file(status.st_size)
            if stat.S_ISREG(status.st_mode)
            else ONE_LINK if stat.S_ISLNK(status.st_mode) else ONE_SPECIAL
        )  # fmt: skip
        existing = dest is not None and maybe_identical(status, dest, self._times)
        inode = self._inode(status)
        dest_inode = self._inode(dest) if dest is not None and dest.st_nlink > 1 else None
        holes = holes_of(status) if tally.files else 0
        if status.st_nlink > 1:
            listing.linked.append(Linked(name, tally, inode, status.st_nlink, existing, dest_inode, holes))
        elif existing:
            listing.existing.append(Existing(name, tally, inode, dest_inode))
        elif holes:
            listing.sparse.append((name, tally, holes))
        else:
            listing.others.append((name, tally))
