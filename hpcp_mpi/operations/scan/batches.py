"""What folders hold, or what has to be done with them, as batches for any rank. Pure.

A UnitBuilder decides when.
"""

from collections.abc import Iterable, Iterator

from hpcp_mpi.operations.scan.records import Folder
from hpcp_mpi.vocab.tally import NOTHING
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

_FEW = 500  # files for which a cp of their own is a waste
_LIST_ENTRIES = 64  # what a directory is taken for that was not listed yet


def held(folder: Folder, most: int, file_cost: int, check_size: int | None) -> list[Batch]:
    """Return what a folder holds, as batches that weigh no more than most; nothing is left there.

    file_cost, check_size: as of a UnitBuilder
    """
    copies = Units(folder.names, folder.sizes)
    if folder.units and len(copies) < _FEW:
        copies, folder.units = Units.of([*copies, *folder.units]), []  # one cp instead of two
    found = [*_parts(Kind.COPY, folder, copies, most, file_cost)]
    found += _parts(Kind.COPY, folder, Units.of(folder.units), most, file_cost)
    folder.emitted = folder.emitted or bool(found)
    names, sizes = folder.equal
    found += _parts(Kind.CHECK, folder, Units(names, sizes, most=check_size), most, file_cost, equal=True)
    found += _parts(Kind.CHECK, folder, Units.of(folder.checks), most, file_cost)
    folder.names, folder.sizes, folder.units, folder.equal, folder.checks = [], [], [], ([], []), []
    return found


def _parts(kind: Kind, folder: Folder, units: Units, most: int, file_cost: int, equal: bool = False) -> Iterator[Batch]:
    paths = folder.source, folder.source_dir, folder.dest_dir
    over, ours = folder.replaces_file, folder.ours and folder.ours_below
    for bite in units.parts(most, file_cost):
        yield Batch(kind, *paths, bite, over=over, equal=equal, ours=ours, inode=folder.inode)


def starting(folder: Folder, unit: Unit) -> Batch:
    """Return the beginning of a big file in a folder, which is copied in ranges."""
    paths = folder.source, folder.source_dir, folder.dest_dir
    return Batch(Kind.START_FILE, *paths, Units.of([unit]), over=folder.replaces_file)


def making(folder: Folder) -> Batch:
    """Return the making of a folder's directory."""
    unit = Unit(folder.source_dir, NOTHING, 0, folder.dest_dir)
    return Batch(Kind.MKDIR, folder.source, b"", b"", Units.of([unit]), over=folder.replaces_file)


def sweeping(folder: Folder, stages: Iterable[bytes]) -> Batch:
    """Return the removal of what killed runs left in a folder's counterpart."""
    units = Units.of(Unit(name) for name in stages)
    return Batch(Kind.CLEAN_STAGE, folder.source, folder.source_dir, folder.dest_dir, units)


def listing(folders: Iterable[Folder], file_cost: int) -> list[Batch]:
    """Return the listing of folders; those that are alike are listed together. file_cost: as of a UnitBuilder"""
    groups: dict[tuple[int, bool, bool, bool, bool], list[Unit]] = {}
    for folder in folders:
        unit = Unit(folder.source_dir, NOTHING, _LIST_ENTRIES * file_cost, folder.dest_dir)
        above = folder.parent is not None and folder.parent.replaces_file
        ours = folder.parent is not None and folder.parent.ours
        groups.setdefault((folder.source, folder.new, folder.replaces_file, above, ours), []).append(unit)
    return [
        Batch(Kind.LIST, source, b"", b"", Units.of(units), over=over, new=new, above=above, ours=ours)
        for (source, new, over, above, ours), units in groups.items()
    ]
