"""Listing new directories to their ends at once, where nothing is unusual about them: so are most of a big copy.

A directory of few files costs what the system needs to open and list it, and little more. So one whose entries are all
plain files is listed with the directory that it is in, and is no task of its own.
"""

import os
import time
from collections.abc import Callable

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.host.listing import Slice, Sorting, all_new
from hpcp_mpi.host.unchanged import Unchanged, may_be_leaf
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Folder, Leaf

_ENOUGH = 4096  # entries of directories that are listed with the one they are in
_MISSED = 8  # directories that are looked into in vain, before those beside them are taken for like them


def looked_at(folder: Folder, status: os.stat_result, unchanged: Unchanged) -> bool:
    """Return whether nobody else exchanges what a folder holds; let the folder know what its status says of that.

    What others change meanwhile is copied by descriptor, entry by entry.
    """
    folder.ours, folder.inode = unchanged.ours(status), status.st_ino
    return folder.ours or unchanged.quiet(status)


class AtOnce:
    """Lists directories of a job of which nothing is at the destination. Thread-safe."""

    def __init__(
        self, context: JobContext, how: Sorting, sort: Callable[[Folder, Slice, int], ClassifiedEntries]
    ) -> None:
        """sort: returns entries of a folder, sorted by what is to be done; it is given a descriptor of the folder"""
        self._context = context
        self._how = how
        self._sort = sort
        self._merged = context.job.merged
        self._left_out = context.options.left_out

    def entries(self, folder: Folder) -> ClassifiedEntries | None:
        """Return all entries of a folder; None where anything is unusual or fails: nothing is told of it, then.

        Raises what sort raises, but for OSError.
        """
        latency = self._context.latency
        if not folder.new or latency.slow or folder.dest_dir in self._merged:
            return None
        began = time.perf_counter()
        try:
            source = self._context.source_tree(folder.source).opened(folder.source_dir)
        except OSError:
            return None
        try:
            latency.note(time.perf_counter() - began)
            status = os.fstat(source)
            some = self._all(source, status)
            if some is None:
                return None
            unchanged = self._context.unchanged(folder.source)
            quiet = looked_at(folder, status, unchanged)
            listing = self._sort(folder, some, source) if some.folders or some.rest else ClassifiedEntries(some.fresh)
            listing.open = listing.open or not quiet
            if listing.folders and not self._merged:
                self._look_into(listing, source, unchanged)
            return listing
        except OSError:
            return None
        finally:
            os.close(source)

    def _all(self, source: int, status: os.stat_result) -> Slice | None:
        """Return all entries of an open directory; None where more is to be known of it. Raises OSError."""
        if self._left_out and (status.st_dev, status.st_ino) in self._left_out:
            return None
        first, last = self._how.seconds
        return all_new(source, self._how, self._context.crowd) if first <= status[8] <= last else None

    def _look_into(self, listing: ClassifiedEntries, source: int, unchanged: Unchanged) -> None:
        """Make those of a listing's directories leaves of it that are some. source: where they are"""
        latency = self._context.latency
        others, entries, missed = [], 0, 0
        for each in listing.folders:
            likely = missed < _MISSED or missed < len(listing.leaves)
            leaf = self._leaf(source, each[0], unchanged) if likely and entries < _ENOUGH and not latency.slow else None
            if leaf is None:
                missed += 1
                others.append(each)
            else:
                entries += 1 + len(leaf.names)
                listing.leaves.append(leaf)
        listing.folders = others

    def _leaf(self, parent: int, name: bytes, unchanged: Unchanged) -> Leaf | None:
        """Return a directory in an open one, with its entries, if those are new plain files with one name."""
        began = time.perf_counter()
        try:
            source = os.open(name, FLAGS, dir_fd=parent)
        except OSError:
            return None
        try:
            self._context.latency.note(time.perf_counter() - began)
            status = os.fstat(source)
            some = self._all(source, status) if may_be_leaf(status) and unchanged.quiet(status) else None
        except OSError:
            return None
        finally:
            os.close(source)
        if some is None or some.folders or some.rest:
            return None
        return Leaf(name, unchanged.ours(status), status.st_ino, *some.fresh)
