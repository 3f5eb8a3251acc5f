"""Symlinks and files with several names that are equal on both sides, found where a directory is listed.

Each would be a unit otherwise, sent to be looked at once more. What is not certain here is left to that closer look.
"""

import os
from stat import S_IFLNK, S_IFREG

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.equal_files import doubtful_among
from hpcp_mpi.host import listing
from hpcp_mpi.host.entries import _TYPE
from hpcp_mpi.host.listing import Pair, Slice
from hpcp_mpi.host.metadata import carriers
from hpcp_mpi.operations.scan.records import Existing
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.tally import one_file

_MOST_KNOWN = 50_000  # files of which it is remembered whether they are equal
NO_INODE = 0, 0  # of a file that has no other names
_Inodes = tuple[int, int, int, int]  # device and inode number on both sides


class EqualEntries:
    """Takes out of slices what is equal. Thread-safe.

    checks: compare also what lstat does not show of files with one name; not in big directories, which are shared
    """

    def __init__(self, context: JobContext, by_lstat: bool) -> None:
        """by_lstat: what lstat shows as equal is, unless the source's inode was changed after the copy's"""
        self._context = context
        self._by_lstat = by_lstat
        options, times = context.options, context.job.times
        self._within_ns = times.within_ns or 0
        self._first, self._last = times.seconds
        # A ledger has every name of a file with several.
        self._linked = not options.full_hash and options.hash_size < MIB and not options.sync_ranges
        self._known: dict[_Inodes, bool] = {}
        self.checks = False

    def take(self, some: Slice, source: int, dest: int, index: int) -> None:
        """Move what is equal in a slice to its links and twins, and to what needs nothing.

        source, dest: descriptors. index: of the source
        """
        if self.checks and some.last and some.equal[0]:
            self._sort_equal(some, source, dest, index)
        if some.rest:
            self._sort_rest(some, source, dest, index)

    def _sort_equal(self, some: Slice, source: int, dest: int, index: int) -> None:
        """Sort files that are equal by lstat into those that need nothing and doubtful ones."""
        names, sizes = some.equal
        some.equal = [], []
        doubtful = doubtful_among(self._context, index, source, dest, names, sizes)
        if doubtful:
            doubt = some.doubtful
            for name, size in zip(names, sizes, strict=True):
                if name in doubtful:
                    doubt[0].append(name)
                    doubt[1].append(size)
        some.same[0] += len(names) - len(some.doubtful[0])
        some.same[1] += sum(sizes) - sum(some.doubtful[1])

    @staticmethod
    def doubtful(some: Slice) -> list[Existing]:
        """Return the files in a slice of which it is known that they need a closer look."""
        return [Existing(name, one_file(size), NO_INODE, None) for name, size in zip(*some.doubtful, strict=True)]

    def _sort_rest(self, some: Slice, source: int, dest: int, index: int) -> None:
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
            names = [pair[0] for pair in first.values()]
            sizes = [pair[1].st_size for pair in first.values()]
            doubtful = doubtful_among(self._context, index, source, dest, names, sizes)
            known.update((inodes, pair[0] not in doubtful) for inodes, pair in first.items())
        return [pair for pair in files if known.get(_inodes(pair))]


def _inodes(pair: Pair) -> _Inodes:
    _, status, found = pair
    assert found is not None
    return status.st_dev, status.st_ino, found.st_dev, found.st_ino
