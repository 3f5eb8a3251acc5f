"""A run's own files (ledger, report, lists) where it removes: kept, by name and inode, on every rank."""

import os
from collections.abc import Callable, Sequence

from hpcp_mpi.host.entries import lstat
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.paths import join

_KEPT = "it is a file of this run (its ledger, report or list); kept"

Name = str | bytes


class OwnFiles:
    """The own files of a run. Where none of their names is met, nothing is asked of the file system."""

    def __init__(self, job: Job) -> None:
        self._own = job.own
        names = [own.name for own in job.own]
        self._names: frozenset[Name] = frozenset([*names, *map(os.fsdecode, names)])

    def among(self, names: Sequence[Name], directory: int) -> list[Name]:
        """Return the names in a directory, an open descriptor, that are the run's own files."""
        if self._names.isdisjoint(names):
            return []
        return [name for name in names if name in self._names and self._is_own(os.fsencode(name), directory)]

    def _is_own(self, name: bytes, directory: int) -> bool:
        """Return whether an entry is one of them. By inode: its directory may have another path here."""
        return any(
            own.name == name and (there := lstat(own.beside, directory)) is not None and there.st_ino == own.inode
            for own in self._own
        )

    def tell(self, names: Sequence[Name], path: bytes, fail: Callable[[bytes, str], None]) -> None:
        """Have it recorded that they were kept. path: of the directory. Of a journal nobody has to know."""
        for name in map(os.fsencode, names):
            if any(own.name == name == own.beside for own in self._own):
                fail(join(path, name), _KEPT)
