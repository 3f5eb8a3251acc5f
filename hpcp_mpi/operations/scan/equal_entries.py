"""Symlinks and files with several names that are equal on both sides, found where a directory is listed.

Each would be a unit otherwise, sent to be looked at once more. What is not certain here is left to that closer look.
"""

import os
from stat import S_IFLNK, S_IFREG

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import listing
from hpcp_mpi.host.entries import _TYPE
from hpcp_mpi.host.hashing import same_tails
from hpcp_mpi.host.listing import Pair, Slice
from hpcp_mpi.host.metadata import carriers
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.units import DEST

_MOST_KNOWN = 50_000  # files of which it is remembered whether they are equal
_Inodes = tuple[int, int, int, int]  # device and inode number on both sides


class EqualEntries:
    """Takes out of slices what is equal. Thread-safe."""

    def __init__(self, context: JobContext, by_lstat: bool) -> None:
        """by_lstat: what lstat shows as equal is, unless the source's inode was changed after the copy's"""
        self._context = context
        self._by_lstat = by_lstat
        options, times = context.options, context.job.times
        self._within_ns = times.within_ns or 0
        self._first, self._last = times.seconds
        self._tail = options.hash_size
        # A ledger has every name of a file with several.
        self._linked = not options.full_hash and options.hash_size < MIB and not options.sync_ranges
        self._known: dict[_Inodes, bool] = {}

    def take(self, some: Slice, source: int, dest: int, index: int) -> None:
        """Move what is equal from the rest of a slice to its links and twins.

        source, dest: descriptors. index: of the source
        """
        links: list[Pair] = []
        twins: list[Pair] = []
        for pair in some.rest:
            _, status, found = pair
            if found is None or status[0] != found[0] or status[3:7] != found[3:7]:  # names, owner, group, size
                continue
            kind = status[0] & _TYPE
            if not self._first <= status[8] <= self._last:
                continue
            if abs(status.st_mtime_ns - found.st_mtime_ns) > self._within_ns:
                continue
            if kind == S_IFLNK and status[3] == 1:
                links.append(pair)
            elif kind == S_IFREG and status[3] > 1 and self._linked:
                twins.append(pair)
        if not (links or twins):
            return
        taken = self._equal_links(links, source, dest, some.links) if links else set()
        if twins:
            some.twins = self._equal_files(twins, source, dest, index)
            taken.update(name for name, _, _ in some.twins)
        some.rest = [pair for pair in some.rest if pair[0] not in taken]

    def _old(self, pair: Pair) -> bool:
        """Return whether the source's inode was not changed since the copy's was."""
        _, status, found = pair
        return self._by_lstat and found is not None and status.st_ctime_ns < found.st_ctime_ns - listing.CLOCKS_NS

    def _equal_links(self, links: list[Pair], source: int, dest: int, targets: list[bytes]) -> set[bytes]:
        """Return the names of symlinks that lead to the same on both sides; add where they lead to targets."""
        crowd = self._context.crowd
        doubtful = [pair[0] for pair in links if not self._old(pair)]
        carrying = {*carriers(source, doubtful, crowd), *carriers(dest, doubtful, crowd)} if doubtful else ()
        found: dict[bytes, bytes] = {}

        def compare(name: bytes) -> None:
            try:
                target = os.readlink(name, dir_fd=source)
                if target == os.readlink(name, dir_fd=dest):
                    found[name] = target
            except OSError:
                pass  # the closer look reports it

        names = [pair[0] for pair in links if pair[0] not in carrying]
        if not crowd.each(compare, names):
            for name in names:
                compare(name)
        targets.extend(found.values())
        return set(found)

    def _equal_files(self, files: list[Pair], source: int, dest: int, index: int) -> list[Pair]:
        """Return the files with several names that are equal to what has their name; each inode is looked at once."""
        known = self._known
        if len(known) > _MOST_KNOWN:
            known = self._known = {}
        first: dict[_Inodes, Pair] = {}
        for pair in files:
            inodes = _inodes(pair)
            if inodes not in known:
                if self._old(pair):
                    known[inodes] = True
                else:
                    first[inodes] = pair
        if first:
            hidden = self._context.hides_acls(index), self._context.hides_acls(DEST)
            hiding = hidden if any(hidden) else None

            def compare(pair: Pair) -> None:
                known[_inodes(pair)] = same_tails(pair[0], source, dest, pair[1].st_size, self._tail, hiding)

            firsts = list(first.values())
            if not self._context.crowd.each(compare, firsts):
                for pair in firsts:
                    compare(pair)
        return [pair for pair in files if known.get(_inodes(pair))]


def _inodes(pair: Pair) -> _Inodes:
    _, status, found = pair
    assert found is not None
    return status.st_dev, status.st_ino, found.st_dev, found.st_ino
