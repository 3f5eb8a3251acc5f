"""Directories of the destination, made where they are missing; what is replaced on the way is backed up."""

from collections.abc import Iterator
from contextlib import contextmanager

from hpcp_mpi.engine.context import Workplace


@contextmanager
def made(place: Workplace, path: bytes, over: bool = False) -> Iterator[int]:
    """Yield a descriptor of a directory of the destination, for writing; make what is missing of it.

    over: a file or symlink in the way is replaced. Raises OSError.
    """
    if over and place.job.backup is not None:
        from hpcp_mpi.engine.backup import save_way

        save_way(place, path)
    with place.dest.made(path, place.new_mode, over) as fd:
        yield fd
