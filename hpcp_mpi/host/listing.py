"""Listing a directory and its counterpart side by side."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

_SLICE = 4096  # entries that are handed on together


class Pair(NamedTuple):
    """An entry of the source and what has its name at the destination."""

    name: bytes
    source: os.stat_result
    dest: os.stat_result | None


def names_in(directory: int) -> set[bytes]:
    """Return the names in a directory. Raises OSError."""
    return {os.fsencode(name) for name in os.listdir(directory)}


def pairs(
    source: int, dest: int | None, dest_names: set[bytes], failed: Callable[[bytes, OSError], None]
) -> Iterator[list[Pair]]:
    """Yield the entries of source with their lstat, and dest's where it has the name, some thousand at a time.

    What cannot be looked at is given to failed. Raises OSError when the directory itself cannot be read.
    """
    some: list[Pair] = []
    with os.scandir(source) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            try:
                status = entry.stat(follow_symlinks=False)
                there = lstat(name, dest) if dest is not None and name in dest_names else None
            except OSError as error:
                failed(name, error)
                continue
            some.append(Pair(name, status, there))
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
