"""A scan of single places that links lead to: what is missing there, each with all below it.

No symlink is followed on the way, at either side: everything is opened name by name.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.listing import Slice
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.operations.scan.records import (
    CONTENT_CHANGED,
    CREATED,
    ClassifiedEntries,
    Folder,
    directory_metadata,
    trusted,
)
from hpcp_mpi.rules.equality import metadata_changes
from hpcp_mpi.vocab.errors import failure_of, reason_of
from hpcp_mpi.vocab.paths import child_path, join, printable
from hpcp_mpi.vocab.tally import ONE_DIRECTORY


@dataclass(frozen=True, slots=True)
class Place:
    """Something that is to be copied, and where to."""

    source: int
    path: bytes  # below the source root
    target: bytes  # below the destination root


class TargetScan(Scan):
    """A scan of some entries of the sources, each with all below it."""

    def __init__(self, *args: Any, places: list[Place], refuse: Callable[[bytes, bytes], str]) -> None:
        super().__init__(*args)
        self.relists = False
        self._places = places
        self._refuse_place = refuse
        self.taken: list[bytes] = []  # the places of what is copied
        self._excluded = self._context.excluded

    @property
    def resumable(self) -> None:
        """What links lead to is found by looking at everything."""
        return None

    def roots(self) -> list[Folder]:
        """Take the entries themselves; return the directories among them."""

        def parents(each: Place) -> tuple[int, bytes, bytes]:
            return each.source, each.path.rpartition(b"/")[0], each.target.rpartition(b"/")[0]

        folders: list[Folder] = []
        for (source, path, target), some in groupby(sorted(self._places, key=parents), key=parents):
            directory = child_path(self._context.job.sources[source].path, path)
            ends = {(each.path.rpartition(b"/")[2], each.target.rpartition(b"/")[2]) for each in some}
            names = sorted(name for name, target_name in ends if name == target_name)  # else it is what a `..` leads to
            try:
                with self._context.source_tree(source).at(path) as fd:
                    folders += self._add_some(source, path, target, names, fd)
            except FileNotFoundError:
                continue  # a link that leads nowhere in the source does so at the destination
            except OSError as error:
                self.outcome.warn(directory, f"a link leads through it; not copied: {reason_of(error)}")
        return folders

    def _add_some(self, source: int, source_dir: bytes, dest_dir: bytes, names: list[bytes], fd: int) -> list[Folder]:
        """Add entries of a directory, open as fd, that are missing at the destination; return its directories."""
        directory = child_path(self._context.job.sources[source].path, source_dir)
        if self._is_excluded(source, source_dir):
            return []
        some = Slice()
        for name in names:
            status = lstat(name, fd)
            if status is None or self._is_there(dest_dir, name, directory):
                continue
            what = child_path(directory, name)
            refusal = self._refuse_place(what, self._context.dest_path(join(dest_dir, name)))
            if refusal:
                self.outcome.warn(what, f"a link points to it; not copied: {refusal}")
            elif stat.S_ISDIR(status.st_mode):
                some.folders.append((name, status.st_ino, None))
            else:
                some.rest.append((name, status, None))
        if not len(some) or not self._made(source, source_dir, dest_dir, directory):
            return []
        listing: ClassifiedEntries = self._lister.listing(directory, some, fd)
        self._lister.track(folder := self._folder(source, source_dir, dest_dir), listing, fd)
        children = self.builder.add(folder, listing)
        self.builder.close(folder)
        taken = [name for name, _, _ in listing.folders] + [name for name, _, _ in some.rest]
        self.taken += [join(dest_dir, name) for name in taken]
        return children

    def _folder(self, source: int, source_dir: bytes, dest_dir: bytes) -> Folder:
        folder = self.builder.place(source, source_dir, dest_dir)
        folder.new = True  # it is not the counterpart of anything: nothing in it is restored
        return folder

    def _is_excluded(self, source: int, path: bytes) -> bool:
        """Return whether something on the way to what is wanted is excluded."""
        if self._excluded is None:
            return False
        root, names = self._context.job.sources[source].path, path.split(b"/") if path else []
        return any(self._excluded(child_path(root, join(*names[:count])), True) for count in range(1, len(names) + 1))

    def _is_there(self, dest_dir: bytes, name: bytes, directory: bytes) -> bool:
        """Return whether the place is taken, or cannot be reached."""
        if self._context.job.destination_root is None:
            return False
        try:
            with self._context.dest.at(dest_dir) as dest:
                return lstat(name, dest) is not None
        except FileNotFoundError:
            return False
        except OSError as error:
            where = printable(self._context.dest_path(dest_dir))
            self.outcome.warn(
                child_path(directory, name), f"a link points to it; not copied to {where}: {reason_of(error)}"
            )
            return True

    def _made(self, source: int, source_dir: bytes, dest_dir: bytes, directory: bytes) -> bool:
        """Make the directories that are missing; they get their metadata at the end. Return whether they are there."""
        if self._context.options.dry_run:
            return True
        missing = list(self._missing(dest_dir))
        self._keep_times(source, source_dir, dest_dir, missing)
        try:
            with self._context.dest.made(dest_dir, self._context.new_mode):
                pass
        except OSError as error:
            self.outcome.failures.append(failure_of(directory, error, "its copy cannot be made"))
            return False
        made = self._context.made_here()
        self.waiting.settled.add(trusted(*each) for each in made)
        made.clear()
        for depth in missing:
            for path, there in _counterpart(source_dir, dest_dir, depth):
                self.builder.count(ONE_DIRECTORY)
                self.waiting.settled.add([directory_metadata(source, path, there, CREATED)])
        return True

    def _keep_times(self, source: int, source_dir: bytes, dest_dir: bytes, missing: list[int]) -> None:
        """Have a directory that is a true copy, and gets a new entry now, be one again in the end."""
        context = self._context
        depth = missing[0] - 1 if missing else dest_dir.count(b"/") + 1
        for path, there in _counterpart(source_dir, dest_dir, depth):
            with suppress(OSError), context.source_tree(source).at(path) as mine, context.dest.at(there) as theirs:
                if not metadata_changes(os.fstat(mine), os.fstat(theirs), context.job.times, context.rights):
                    self.waiting.settled.add([directory_metadata(source, path, there, CONTENT_CHANGED)])

    def _missing(self, dest_dir: bytes) -> Iterator[int]:
        """Yield how deep those directories are that lead to dest_dir and are missing."""
        names = dest_dir.split(b"/") if dest_dir else []
        for depth in range(1, len(names) + 1):
            try:
                with self._context.dest.at(join(*names[:depth])):
                    pass
            except FileNotFoundError:
                yield depth
            except OSError:
                return  # making them fails with the reason


def _counterpart(source_dir: bytes, dest_dir: bytes, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the directory so deep on the way to dest_dir, and before it that of the source that it is a copy of."""
    theirs, ours = source_dir.split(b"/"), dest_dir.split(b"/")
    more = len(ours) - depth  # directories below this one
    if dest_dir and 0 < depth <= len(ours) and theirs[-more - 1 :] == ours[depth - 1 :]:
        yield join(*theirs[: len(theirs) - more]), join(*ours[:depth])
