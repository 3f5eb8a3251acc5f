"""A mirror does not remove what links lead to: it was copied because of them, by this run or by one before.

It is beside what the sources have, so it looks like an extra where the contents of one source land around another one.
"""

import os
from collections.abc import Iterator
from typing import Any

from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.operations.scan.records import Extra, SymlinkTarget
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.paths import child_path, join


def spared(job: Job, extras: ExternalSort, tracked: ExternalSort) -> ExternalSort:
    """Return extras without those that are, or hold, what a link leads to, if the source has that.

    Both are read in the order of paths, side by side, so neither is held. NUL stands for `/`: then what is in a
    directory comes right behind it.
    """
    places, found = ExternalSort(), ExternalSort()
    for each in map(SymlinkTarget._make, tracked):
        if not each.up:
            places.add([(_sortable(each.target), each.source, each.source_up, each.path)])
    for extra in map(Extra._make, extras):
        found.add([(_sortable(join(extra.dest_dir, extra.name)), tuple(extra))])
    kept = ExternalSort()
    waiting: Iterator[Any] = iter(places)
    rows: Iterator[Any] = iter(found)
    place = next(waiting, None)
    for path, record in rows:
        is_wanted = False
        while place is not None and not _is_behind(place[0], path):
            is_wanted = is_wanted or (_is_in(place[0], path) and _exists(job, *place[1:]))
            place = next(waiting, None)
        if not is_wanted:
            kept.add([record])
    return kept


def _sortable(path: bytes) -> bytes:
    return path.replace(b"/", b"\0")


def _is_in(place: bytes, path: bytes) -> bool:
    return place == path or place.startswith(path + b"\0")


def _is_behind(place: bytes, path: bytes) -> bool:
    """Return whether a place comes behind all that is in path."""
    return place > path and not _is_in(place, path)


def _exists(job: Job, source: int, up: int, path: bytes) -> bool:
    return os.path.lexists(child_path(job.sources[source].path, b"../" * up + path))
