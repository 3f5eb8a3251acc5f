"""The images that a tree is spread over (-dis): how they are called, how many there are, what one holds. Pure."""

import os
from collections.abc import Sequence
from dataclasses import fields, replace

from hpcp_mpi.operations.imaging.rules.sizes import smallest
from hpcp_mpi.vocab.image_options import Need

_USED = 95  # percent of what a volume has free that is counted on: files are not divided
_UNEVEN = 5  # so many fourths of the mean are what one volume may get of all entries
_SPARE = 200  # inodes


def volume_name(image: bytes, number: int) -> bytes:
    """Return the path of a volume: x.img, x_1.img, x_2.img."""
    if not number:
        return image
    root, suffix = os.path.splitext(image)
    return b"%s_%d%s" % (root, number, suffix)


def usable(free: int) -> int:
    """Return the bytes that are counted on of those that are free in a volume."""
    return free * _USED // 100


def capacity(type: str, size: int, need: Need) -> int:
    """Return the bytes of data that a file system of size bytes has room for beside what else a tree needs; 0: none."""
    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        if smallest(type, replace(need, blocks=middle, data=middle)).bytes <= size:
            low = middle
        else:
            high = middle - 1
    return low


def directories_of(need: Need) -> Need:
    """Return what the directories of a tree need, which all volumes have."""
    return Need(
        directories=need.directories,
        entries=need.directories,
        directory_blocks=need.directory_blocks,
        name_bytes=need.name_bytes * need.directories // need.entries if need.entries else 0,
    )


def how_many(data: int, there: Sequence[int], each: int) -> int:
    """Return how many new volumes are needed; 0: those that are there suffice. -1: no number of them does.

    data: bytes of files. there, each: bytes that volumes have free for these, those that exist, and a new one
    """
    left = data - sum(map(usable, there))
    if left <= 0:
        return 0 if there else 1
    return -(-left // usable(each)) if usable(each) > 0 else -1


def share(need: Need, volumes: int) -> Need:
    """Return what one of several volumes may get of a tree: its directories, and a part of all else."""
    if volumes < 2:
        return need
    whole = directories_of(need)
    part = {each.name: _part(getattr(need, each.name), volumes) for each in fields(Need)}
    entries = min(need.entries, part["entries"] + need.directories + _SPARE)
    files = min(need.files, part["files"] + _SPARE)
    return replace(
        Need(**part),
        directories=need.directories,
        directory_blocks=whole.directory_blocks,
        entries=entries,
        files=files,
    )


def _part(amount: int, volumes: int) -> int:
    return min(amount, amount * _UNEVEN // (4 * volumes) + 1)
