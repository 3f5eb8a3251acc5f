"""hpcp-mpi: copies, compares, lists and removes file trees with all nodes of an MPI or Slurm job.

    >>> import hpcp_mpi
    >>> report = hpcp_mpi.copy("run1", "copies/run1", exclude=["*.tmp"])
    >>> report
    <Report copy: 2 files, 12 B copied, exit code 0>
    >>> report.exit_code, report.failures, report.outcome.copied.bytes
    (0, [], 12)

What there is

    copy(sources, destination)     what is not there yet
    mirror(sources, destination)   and remove what the sources do not have
    move(sources, destination)     and remove from the sources what has a checked copy
    compare(sources, destination)  what differs; verify(): every byte
    list_files(sources, file)      a list with hashes
    remove(paths)                  and all below them
    status(ledger)                 how far a run is, or how it ended

Each does what the command does with the same paths and the options of the same names: keywords are its long options
with `_` for `-`, so `help(hpcp_mpi.copy)` and `hpcp-mpi --help` say the same. Paths and patterns are str, bytes or
os.PathLike, one or several; sizes and rates are numbers or "64K", "10M". Images (-di, -si, -dd): use the command.

What comes back: help(hpcp_mpi.Report)

A Report: what failed is in its `failures`, each a Failure (path, reason, ...), and its `exit_code` is what the command
would have returned: 0 all is done, 3 there are differences, 23 something failed, 75 stopped early, and resumable.

    >>> missing = hpcp_mpi.compare("run1", "copies/run1", exclude="*.tmp")
    >>> missing.exit_code, missing.differences
    (0, {'added': 0, 'modified': 0, 'deleted': 0})

FatalError is raised when nothing could be started or the run could not continue, its UsageError for what means nothing,
TypeError for a wrong type or an unknown keyword.

    >>> hpcp_mpi.copy("run2", "copies/run2")
    Traceback (most recent call last):
    ...
    hpcp_mpi.vocab.errors.FatalError: cannot use the source run2: No such file or directory
      Nothing was copied.
    >>> hpcp_mpi.copy("run1", "copies/run1", exlude="*.tmp")
    Traceback (most recent call last):
    ...
    TypeError: copy() got an unexpected keyword 'exlude': did you mean 'exclude'?

Progress, and an end before the end

progress= is called with a Progress about five times a second and once at the end, should_stop= is asked as often, both
in the calling thread. A run that is stopped returns its report: what was done is in it, and the same call does the
rest.

    >>> import threading
    >>> cancelled, seen = threading.Event(), []
    >>> report = hpcp_mpi.copy("run1", "other", progress=seen.append, should_stop=cancelled.is_set)
    >>> seen[0]  # doctest: +ELLIPSIS
    <Progress copying: ...>
    >>> cancelled.set()
    >>> hpcp_mpi.copy("run1", "another", should_stop=cancelled.is_set)
    <Report copy: 0 files, 0 B copied, exit code 75>

An exception in them ends the run in good order, and is raised. Ctrl-C in the main thread raises KeyboardInterrupt when
the run has ended, within seconds; a second one at once. Nothing is printed: the logger "hpcp_mpi" gets what is worth
knowing (INFO), notes (WARNING) and failures (ERROR). Any thread may call, `await asyncio.to_thread(hpcp_mpi.copy, ...)`
too, and without MPI several at once.

Under MPI

Collective: every rank of COMM_WORLD makes the same call. Rank 0's arguments count, its callbacks are called, and every
rank gets its report, or what it raised. If some ranks do not come within join_timeout= seconds, those that came get a
FatalError that names them. Without a launcher, threads of this process do the work.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcp_mpi.api.copies import copy, mirror, move
    from hpcp_mpi.api.others import compare, list_files, remove, status, verify
    from hpcp_mpi.vocab.errors import Failure as Failure
    from hpcp_mpi.vocab.errors import FatalError as FatalError
    from hpcp_mpi.vocab.errors import UsageError as UsageError
    from hpcp_mpi.vocab.ledger_status import LedgerStatus as LedgerStatus
    from hpcp_mpi.vocab.options import Options as Options
    from hpcp_mpi.vocab.progress import Progress as Progress
    from hpcp_mpi.vocab.report import Report as Report
    from hpcp_mpi.vocab.tally import Tally as Tally

__version__ = "0.1.0"

# The functions: what is not in here help() does not show, and the fields of all classes would be a thousand lines.
__all__ = ["compare", "copy", "list_files", "mirror", "move", "remove", "status", "verify"]

# Where each name is. It is loaded when it is asked for: a thousand ranks of the command import this package.
_HOMES = {
    "api.copies": ("copy", "mirror", "move"),
    "api.others": ("compare", "list_files", "remove", "status", "verify"),
    "vocab.errors": ("Failure", "FatalError", "UsageError"),
    "vocab.ledger_status": ("LedgerStatus",),
    "vocab.options": ("Options",),
    "vocab.progress": ("Progress",),
    "vocab.report": ("Report",),
    "vocab.tally": ("Tally",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            found: object = getattr(import_module(f"hpcp_mpi.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'hpcp_mpi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name for names in _HOMES.values() for name in names)})
