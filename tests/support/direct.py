"""A run in this process with any options of `vocab.options.Options`, also those that the Python API does not name.

What the API itself promises is in tests/api.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from hpcp_mpi.operations.session import run
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

Path = str | bytes | os.PathLike[str]


def copy(sources: Path | Iterable[Path], destination: Path | Iterable[Path], **options: Any) -> Report:
    """Copy; with `mirror=True` or `move=True` as -rme and -rm do."""
    return _done(Verb.COPY, sources, destination, options)


def compare(sources: Path | Iterable[Path], destination: Path, **options: Any) -> Report:
    return _done(Verb.COMPARE, sources, destination, {"dry_run": True, "itemize": True, **options})


def remove(paths: Path | Iterable[Path], **options: Any) -> Report:
    return _done(Verb.REMOVE, paths, (), options)


def list_files(sources: Path | Iterable[Path], file: Path, hashes: bool = True, **options: Any) -> Report:
    return _done(Verb.LIST, sources, (), options, file_list=os.fsencode(file), hashes=hashes)


def _done(
    verb: Verb, sources: Path | Iterable[Path], places: Path | Iterable[Path], options: dict[str, Any], **more: Any
) -> Report:
    request = Request(verb, _paths(sources), _paths(places), Options(**options), force=True, **more)
    return run(request, os.environ)


def _paths(paths: Path | Iterable[Path]) -> tuple[bytes, ...]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        paths = [paths]
    return tuple(os.fsencode(each) for each in paths)
