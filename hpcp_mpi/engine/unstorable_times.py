"""Times that the destination cannot store and of which its file system makes any other: the nearest is set instead.

Most file systems clamp times themselves: then nothing of this is needed.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.vocab.abilities import SECOND_NS, StoredTimes
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, Unit


def set_nearest(
    context: JobContext,
    batch: Batch,
    unit: Unit,
    look: Callable[[], os.stat_result | None],
    entry: tuple[int, bytes],
    outcome: Outcome,
) -> None:
    """Set the time of a unit's copy, an entry (directory, name) of a stage, if `cp` could not. Subtrees are whole.

    look: returns the lstat of the source
    """
    if unit.tally.directories:
        return
    path, times = context.source_path(batch, unit.name), context.job.times
    stage, name = entry
    try:
        wanted = look()
        if wanted is None or not times.goes_astray(wanted.st_mtime_ns):
            return
        with suppress(FileNotFoundError):  # cp made nothing of it; that is a failure already
            nearest = times.nearest(wanted.st_atime_ns), times.nearest(wanted.st_mtime_ns)
            os.utime(name, ns=nearest, dir_fd=stage, follow_symlinks=False)
            warn(context, path, wanted.st_mtime_ns, outcome)
    except OSError as error:
        outcome.failures.append(Failure(path, f"its copy cannot be given a time: {reason_of(error)}"))


def warn(context: JobContext, path: bytes, mtime_ns: int, outcome: Outcome) -> None:
    """Note that the copy of an entry has another time; a failure where exactness was asked for."""
    note = note_of(context.job.times, mtime_ns)
    if context.options.strict_metadata:
        outcome.failures.append(Failure(path, note))
    else:
        outcome.warn(path, note)


def lost_time(context: JobContext, path: bytes, mtime_ns: int, outcome: Outcome) -> None:
    """Count an entry that gets another time by itself; a failure where exactness was asked for."""
    if context.options.strict_metadata:
        warn(context, path, mtime_ns, outcome)
    else:
        outcome.lose("times", path, note_of(context.job.times, mtime_ns))


def note_of(times: StoredTimes, mtime_ns: int) -> str:
    """Return what a reader should know of a time that cannot be stored."""
    nearest = times.nearest(mtime_ns)
    return f"the destination cannot store its time, {_date(mtime_ns)}: its copy has the nearest, {_date(nearest)}"


def note_time(
    context: JobContext, batch: Batch, unit: Unit, wanted: os.stat_result, changes: str, outcome: Outcome
) -> None:
    """Note that an entry was given another time, if the destination cannot store its own."""
    if "t" in changes and context.job.times.nearest(wanted.st_mtime_ns) != wanted.st_mtime_ns:
        warn(context, context.source_path(batch, unit.name), wanted.st_mtime_ns, outcome)


def _date(time_ns: int) -> str:
    seconds = time_ns // SECOND_NS
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s since 1970"
