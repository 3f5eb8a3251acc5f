"""Moving, as rank 0 leads it: when all is copied, verified and settled, the sources go, but for what has no good copy.

A source directory itself goes too, as with `mv`, if nothing stays in it; not if it is the working directory, or if a
file system is mounted there.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.cluster.wire import Wire
from hpcp_mpi.operations.crew import Crew
from hpcp_mpi.operations.remove import Removal
from hpcp_mpi.plan.landing import Landing
from hpcp_mpi.plan.mirror import coarsened
from hpcp_mpi.plan.removal import others, walks
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.job import CopyJob
from hpcp_mpi.vocab.names import shown
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY
from hpcp_mpi.vocab.units import Batch, Kind

_NAMED = 3  # sources that the question names


def move(
    wire: Wire, job: CopyJob, copied: Crew, landings: Sequence[tuple[int, Landing]], failures: Iterable[Failure]
) -> None:
    """Remove from the sources what has a good copy. Raises StoppedEarly, FatalError.

    copied: who copied; what is done now becomes a part of its outcome. landings: of the sources to move, by index.
    failures: of the copy; what failed stays, with all below it.
    """
    if not copied.face.confirm(f"Remove {_named(landings)}, which was copied to {shown(job.destination)}?"):
        copied.outcome.remark(job.sources[0].path, "nothing was removed here: the answer was no")
        return
    job = replace(job, left=coarsened(failure.path for failure in failures))
    crew = Crew(wire, job, copied.face)
    try:
        crew.begin()
        removal = Removal(crew, _batches(job, landings))
        crew.scanned, crew.scan_done = lambda: removal.found, lambda: False
        removal.drive("removing")
        for index, landing in landings:
            if index in removal.emptied and landing.name is None:
                _remove_root(job.sources[index].path, job.sources[index].inode, crew.outcome)
    finally:
        crew.outcome.skipped = NOTHING  # what is excluded is nothing that was found
        copied.outcome.add(crew.outcome)


def _named(landings: Sequence[tuple[int, Landing]]) -> str:
    named = ", ".join(shown(landing.argument) for _, landing in landings[:_NAMED])
    return named + (f" and {len(landings) - _NAMED:,} more" if len(landings) > _NAMED else "")


def _batches(job: CopyJob, landings: Sequence[tuple[int, Landing]]) -> Iterator[Batch]:
    for index, landing in landings:
        if any(_is_in(job.sources[index].path, left) for left in job.left):
            continue  # too much of it failed
        if landing.name is None:
            yield Batch(Kind.MOVED, index, b"", b"", walks([b""]))
        else:
            yield Batch(Kind.MOVED, index, b"", landing.target, others([landing.name]))


def _is_in(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _remove_root(path: bytes, inode: int, outcome: Outcome) -> None:
    """Remove a source that is empty. Another directory that has its name by now would have to be empty, too."""
    own = os.stat(path, follow_symlinks=False) if os.path.lexists(path) else None
    with suppress(OSError):
        if own is None or own.st_ino != inode or os.path.ismount(path) or os.path.samefile(path, b"."):
            return
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        outcome.failures.append(Failure(path, f"emptied, but cannot be removed: {reason_of(error)}"))
        return
    outcome.removed = outcome.removed.plus(ONE_DIRECTORY)
