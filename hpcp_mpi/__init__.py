"""hpcp-mpi: copies, compares, lists and removes file trees with all nodes of an MPI or Slurm job.

import hpcp_mpi
report = hpcp_mpi.copy(["/scratch/run1"], "/project/run1")
assert report.exit_code == 0, report.failures

Each function does what the command does with the same paths. It returns a Report, on every rank the same: what failed
is in its `failures`, and its `exit_code` is what the command would have returned. It raises FatalError, on every rank,
when nothing could be started or the run could not continue.

Collective under MPI: every rank of COMM_WORLD calls it. Without a launcher it uses threads of this process. It handles
no signals, prints nothing and asks nothing: to call what removes is to agree.

options: the fields of `hpcp_mpi.vocab.options.Options`, as `excludes=(b"*.tmp",)` or `dry_run=True`
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcp_mpi.vocab.report import Report

__version__ = "0.1.0"

Path = str | bytes | os.PathLike[str]


def copy(sources: Path | Iterable[Path], destination: Path | Iterable[Path], **options: Any) -> "Report":
    """Copy sources to destination as the command `hpcp-mpi SOURCE... -d DESTINATION` does.

    sources:      one path or several; where they land is the command line's rule
    destination:  one path; over several, files are spread
    options:      see the module. `mirror=True` removes what the sources do not have, `move=True` what has a good copy
    """
    return _done("COPY", _paths(sources), _paths(destination), options)


def compare(sources: Path | Iterable[Path], destination: Path, **options: Any) -> "Report":
    """Compare sources with destination as the command `hpcp-mpi -cfl SOURCE... -d DESTINATION` does. It writes nothing.

    The report's `differences` holds how many entries were added, modified and deleted, its `outcome.items` which.
    """
    return _done("COMPARE", _paths(sources), _paths(destination), options)


def remove(paths: Path | Iterable[Path], **options: Any) -> "Report":
    """Remove paths and all below them as the command `hpcp-mpi -rm -rf PATH...` does. Nothing is asked."""
    return _done("REMOVE", _paths(paths), (), options)


def list_files(sources: Path | Iterable[Path], file: Path, hashes: bool = True, **options: Any) -> "Report":
    """Write a list of what sources hold to file as the command `hpcp-mpi -fl FILE SOURCE...` does.

    hashes: with the hash of each file, of as many bytes as the options say
    """
    return _done("LIST", _paths(sources), (), options, file_list=os.fsencode(file), hashes=hashes)


def _done(
    verb: str, sources: tuple[bytes, ...], destinations: tuple[bytes, ...], options: dict[str, Any], **more: Any
) -> "Report":
    from hpcp_mpi.operations.session import run
    from hpcp_mpi.vocab.options import Options
    from hpcp_mpi.vocab.request import Request, Verb

    request = Request(Verb[verb], sources, destinations, Options(**options), force=True, **more)
    return run(request, os.environ)


def _paths(paths: Path | Iterable[Path]) -> tuple[bytes, ...]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        paths = [paths]
    return tuple(os.fsencode(each) for each in paths)
