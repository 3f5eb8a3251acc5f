"""Batches that remove or count the extra entries of a destination. Pure."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from hpcp_mpi.operations.remove.rules import others, walks
from hpcp_mpi.operations.scan.records import Extra
from hpcp_mpi.vocab.units import DEST, Batch, Kind

_TOGETHER = 1000  # units that are handed out as one batch


def extra_batches(kind: Kind, records: Iterable[Extra]) -> Iterator[Batch]:
    """Yield batches of the entries that only the destination has. Several sources may report the same one."""
    for dest_dir, same in groupby(records, key=lambda record: record.dest_dir):
        directories: list[bytes] = []
        rest: list[bytes] = []
        last = None
        for record in same:
            if record.name == last:
                continue
            last = record.name
            names = directories if record.is_directory else rest
            names.append(record.name)
            if len(names) == _TOGETHER:
                yield _batch(kind, dest_dir, names, record.is_directory)
                names.clear()
        for names, are_directories in ((rest, False), (directories, True)):
            if names:
                yield _batch(kind, dest_dir, names, are_directories)


def _batch(kind: Kind, dest_dir: bytes, names: list[bytes], are_directories: bool) -> Batch:
    return Batch(kind, DEST, dest_dir, b"", walks(names) if are_directories else others(names))
