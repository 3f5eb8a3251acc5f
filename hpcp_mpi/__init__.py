"""hpcp-mpi: copies file trees with all nodes of an MPI or Slurm job.

import hpcp_mpi
report = hpcp_mpi.copy(["/scratch/run1"], "/project/run1")
assert report.exit_code == 0, report.failures
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcp_mpi.vocab.report import Report

__version__ = "0.1.0"

Path = str | bytes | os.PathLike[str]


def copy(sources: Path | Iterable[Path], destination: Path, **options: Any) -> "Report":
    """Copy sources to destination as the command `hpcp-mpi SOURCE... -d DESTINATION` does.

    sources:  one path or several; where they land is the command line's rule
    options:  the fields of `hpcp_mpi.vocab.options.CopyOptions`, as `excludes=(b"*.tmp",)` or `dry_run=True`

    Returns a Report, on every rank the same. What failed is in its `failures`, and its `exit_code` is what the command
    would have returned. Raises FatalError, on every rank, when nothing could be started or the run could not go on.

    Collective under MPI: every rank of COMM_WORLD calls it. Without a launcher it uses threads of this process. It
    handles no signals and prints nothing.
    """
    from hpcp_mpi.operations.session import run
    from hpcp_mpi.vocab.asked import Asked, Verb
    from hpcp_mpi.vocab.options import CopyOptions

    asked = Asked(Verb.COPY, _paths(sources), (os.fsencode(destination),), CopyOptions(**options))
    return run(asked, os.environ)


def _paths(paths: Path | Iterable[Path]) -> tuple[bytes, ...]:
    if isinstance(paths, (str, bytes, os.PathLike)):
        paths = [paths]
    return tuple(os.fsencode(each) for each in paths)
