"""Listing a directory and its counterpart side by side."""

import os
import sys
from collections.abc import Callable, Iterator

_SLICE = 4096  # entries that are handed on together
_CODING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # os.fsencode looks them up for every name

# An entry of the source: its name, its lstat, and that of what has its name at the destination.
# A plain tuple: a named one takes as long to make as the lstat.
Pair = tuple[bytes, os.stat_result, os.stat_result | None]


def names_in(directory: int) -> set[bytes]:
    """Return the names in a directory. Raises OSError."""
    return {name.encode(*_CODING) for name in os.listdir(directory)}


def pairs(
    source: int, dest: int | None, dest_names: set[bytes], failed: Callable[[bytes, OSError], None]
) -> Iterator[list[Pair]]:
    """Yield the entries of source with their lstat, and dest's where it has the name, some thousand at a time.

    What cannot be looked at is given to failed. Raises OSError when the directory itself cannot be read.
    """
    some: list[Pair] = []
    with os.scandir(source) as entries:
        for entry in entries:
            name = entry.name.encode(*_CODING)
            try:
                status = entry.stat(follow_symlinks=False)
                there = lstat(name, dest) if dest is not None and name in dest_names else None
            except OSError as error:
                failed(name, error)
                continue
            some.append((name, status, there))
            if len(some) == _SLICE:
                yield some
                some = []
    yield some


def lstat(name: bytes, directory: int) -> os.stat_result | None:
    """Return the lstat of an entry; None where there is none. Raises OSError."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
