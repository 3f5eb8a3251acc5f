"""Where the copies of a directory's entries are: their names as they are really listed, and whether names fold there.

A file system that takes two names for one finds a copy under a name that it does not have: then one copy would vouch
for two sources. So a copy has to be listed byte by byte under its source's name.
"""

import os
import threading
import weakref
from collections import OrderedDict
from typing import NamedTuple

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.case_folding import folds
from hpcp_mpi.vocab.units import DEST

_MOST_NAMES = 300_000  # that a rank keeps, of all directories together; one directory may have more
_MOST_DIRECTORIES = 64


class Listing(NamedTuple):
    """What a directory of copies lists."""

    names: frozenset[bytes]
    folds: bool  # other spellings find the same entries


class _Listings:
    """The listings that a rank read last: many slots may empty one huge directory. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[bytes, Listing] = OrderedDict()
        self._names = 0

    def get(self, path: bytes) -> Listing | None:
        with self._guard:
            found = self._known.get(path)
            if found is not None:
                self._known.move_to_end(path)
            return found

    def put(self, path: bytes, listing: Listing) -> None:
        self.drop(path)
        with self._guard:
            self._known[path] = listing
            self._names += len(listing.names)
            while len(self._known) > 1 and (self._names > _MOST_NAMES or len(self._known) > _MOST_DIRECTORIES):
                self._names -= len(self._known.popitem(last=False)[1].names)

    def drop(self, path: bytes) -> None:
        with self._guard:
            found = self._known.pop(path, None)
            if found is not None:
                self._names -= len(found.names)


_of_jobs: "weakref.WeakKeyDictionary[JobContext, _Listings]" = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def _listings(context: JobContext) -> _Listings:
    with _guard:
        return _of_jobs.setdefault(context, _Listings())


def listing_of(context: JobContext, path: bytes) -> Listing:
    """Return what a directory of the destination lists; it may have been read a little earlier. Raises OSError."""
    known = _listings(context)
    found = known.get(path)
    if found is None:
        with context.dest.at(path) as fd:
            names = frozenset(map(os.fsencode, os.listdir(fd)))
            found = Listing(names, context.job.abilities.case is False or _folds(fd, names))
        known.put(path, found)
    return found


def forget_listing(context: JobContext, path: bytes) -> None:
    """Have a directory read again: what was read of it may be old."""
    _listings(context).drop(path)


def is_listed(context: JobContext, path: bytes) -> bool:
    """Return whether a path of the destination is its entry's own name, as its directory lists it. Raises OSError."""
    directory, _, name = path.rpartition(b"/")
    return not name or name in listing_of(context, directory).names


def has_mounts(context: JobContext) -> bool:
    """Return whether something is mounted below the destination: then two paths there may be one directory."""
    return bool(context.mounts_of(DEST).below)


def _folds(fd: int, names: frozenset[bytes]) -> bool:
    """Return whether other spellings of a directory's names find the same entries. Raises OSError.

    One name is asked for with the other case, and one that is not ASCII in its other forms.
    """
    with_case = (name for name in names if name.isascii() and name.swapcase() not in names)
    samples = next(with_case, None), next((name for name in names if not name.isascii()), None)
    return any(folds(fd, name) for name in samples if name is not None)
