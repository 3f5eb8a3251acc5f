"""The lines about a destination that is full: which one, of what, once for all that failed for it."""

import os
from collections.abc import Iterable, Iterator, Sequence

from hpcp_mpi.cli.end_table import number
from hpcp_mpi.host.free_space import FreeSpace, rooms
from hpcp_mpi.vocab.amounts import size
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import total_of

_SOME = 5  # failures that are named
_FEW = 1000  # inodes that may be what is full


def full_lines(report: Report, failures: Sequence[Failure]) -> Iterator[str]:
    """Yield a line for each destination that is full, one for what failed, and names if no file has them."""
    kinds = sorted({failure.reason.rpartition(": ")[2] for failure in failures})
    for destination in _full(report, failures):
        yield f"full: {printable(destination)}: {' and '.join(kinds)}{_room(destination)}"
    needed = total_of(failure.attempted for failure in failures).bytes
    if report.failed.bytes:
        needed = min(needed, report.failed.bytes)  # each name of a file with hard links was tried with all its bytes
    needs = f" ({size(needed)})" if needed else ""
    yield f"failed: {number(len(failures), 'entry', 'entries')}{needs} for lack of room there"
    if report.failed_file is None:
        yield from (f"failed: {printable(failure.path)}: {failure.reason}" for failure in failures[:_SOME])
        if len(failures) > _SOME:
            yield f"failed: … and {len(failures) - _SOME:,} more (--json lists all)"


def _full(report: Report, failures: Iterable[Failure]) -> list[bytes]:
    """Return the destinations that failures are about: those that reasons name; else all that have least room."""
    every = report.destinations or [report.destination]
    if len(every) == 1:
        return every
    texts = {path: printable(path).rstrip("/") + "/" for path in every}
    named = {path for failure in failures for path in every if texts[path] in f"{failure.reason}/"}
    return [path for path in every if path in named] or every


def _room(destination: bytes) -> str:
    """Return what is left there: bytes, inodes, and of quotas."""
    try:
        directory = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        found = rooms(directory, os.geteuid(), os.getegid())
    except OSError:
        return ""
    finally:
        os.close(directory)
    parts = [part for each in found for part in _left(each)]
    return f" ({', '.join(parts)})" if parts else ""


def _left(room: FreeSpace) -> Iterator[str]:
    words = "free" if not room.whose else f"left of {room.whose}"
    if room.bytes is not None:
        yield f"{size(room.bytes)} {words}"
    if room.inodes is not None and (room.whose or room.inodes < _FEW):
        yield f"{room.inodes:,} inodes {words}"
