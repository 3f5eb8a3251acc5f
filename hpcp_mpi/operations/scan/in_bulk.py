"""Adding many entries of one kind to a folder in one loop. Pure.

A UnitBuilder decides what may be added so.
"""

from collections.abc import Iterable

from hpcp_mpi.operations.scan.records import Folder, Leaf
from hpcp_mpi.vocab.tally import ONE_LINK, Tally
from hpcp_mpi.vocab.units import Unit


def below(parent: Folder, found: list[tuple[bytes, bool, bool]], collapse: bool, file_cost: int) -> list[Folder]:
    """Return the folders of directories in parent, as its children.

    found: (name, missing at dest, over a non-directory) of each. collapse, file_cost: as of a UnitBuilder
    """
    source_above = parent.source_dir and parent.source_dir + b"/"
    dest_above = parent.dest_dir and parent.dest_dir + b"/"
    children = []
    for name, new, over in found:
        source_dir = source_above + name
        dest_dir = source_dir if source_above == dest_above else dest_above + name
        child = Folder(parent, parent.source, source_dir, dest_dir, name)
        child.new, child.replaces_file = new, over or parent.replaces_file
        child.split = not (new and collapse)
        child.needs_metadata = child.split and new
        child.weight = file_cost
        children.append(child)
    parent.children += len(children)
    return children


def parted(names: list[bytes], sizes: list[int], at: int) -> tuple[list[bytes], list[int], list[tuple[bytes, int]]]:
    """Return the names and sizes of files that are smaller than a size, and (name, size) of the others."""
    each = list(zip(names, sizes, strict=True))
    small = [(name, size) for name, size in each if size < at]
    return [name for name, _ in small], [size for _, size in small], [(name, size) for name, size in each if size >= at]


def with_links(folder: Folder, names: list[bytes], cost: int) -> Tally:
    """Add symlinks to copy to a folder; return what they count. names: one at least. cost: of one"""
    counted = Tally(links=len(names))
    folder.units += [Unit(name, ONE_LINK) for name in names]
    folder.count(counted)
    folder.longest_path = max(folder.longest_path, max(map(len, names)))
    folder.weight += len(names) * cost
    return counted


def with_leaves(
    folder: Folder, leaves: Iterable[Leaf], file_cost: int, most: int, most_path: int
) -> tuple[Tally, list[Leaf]]:
    """Add leaves to a folder, each as a unit; return what they count, and those that were not added.

    most: the weight of those that are too heavy. most_path: bytes of a name in one, at most
    """
    others = []
    directories = files = size = longest = 0
    ours = folder.ours_below
    units = folder.units
    for leaf in leaves:
        name, leaf_is_ours, _, names, sizes = leaf
        count, total = len(names), sum(sizes)
        inner = max(map(len, names)) if names else 0
        if total + (count + 1) * file_cost >= most or inner > most_path:
            others.append(leaf)
            continue
        units.append(Unit(name, Tally(count, 1, 0, 0, total), total))
        ours = ours and leaf_is_ours
        directories += 1
        files += count
        size += total
        longest = max(longest, len(name) + 1 + inner)
    counted = Tally(files, directories, 0, 0, size)
    folder.ours_below = ours
    folder.count(counted)
    folder.weight += size + (files + directories) * file_cost
    folder.longest_path = max(folder.longest_path, longest)
    return counted, others
