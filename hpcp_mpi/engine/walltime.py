"""The batch system ends a job when its time is over; the run is to end in good order before that."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hpcp_mpi.cluster.signals import WELL, StopRequest
from hpcp_mpi.cluster.slurm import end_time, job_number, parsed_end
from hpcp_mpi.host.commands import output_of
from hpcp_mpi.vocab.errors import EXIT_RESUMABLE, FatalError

DEFAULT = 2.0  # minutes before the end; enough for what is begun, and for the ledger
_PART = 0.1  # of the time that is left at the start: a short job is not over before it has begun


@contextmanager
def before_the_end(
    minutes: float | None, environment: Mapping[str, str], stop: StopRequest, say: Callable[[str], None]
) -> Iterator[None]:
    """Ask the run to stop some minutes before its job's time is over. Raises FatalError.

    minutes: as asked for; None: two, or a tenth of the time that is left
    """
    end = _end(environment)
    if end is None:
        if minutes is not None:
            raise FatalError(
                "--stop-before: the time limit of this job is unknown",
                "Slurm gives it to jobs that have one.",
            )
        yield
        return
    left = end - time.time()
    early = min(60 * DEFAULT, _PART * left) if minutes is None else 60 * minutes
    if minutes is not None and left <= early:
        raise FatalError(
            f"--stop-before {minutes:g}: only {max(0.0, left) / 60:.1f} minutes are left of the job's time limit"
        )
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end - early))
    say(f"hpcp-mpi: the job's time limit stops this run at {moment}")
    timer = threading.Timer(
        max(0.0, left - early), stop.note, (EXIT_RESUMABLE, "the time limit of the job", min(WELL, early / 2))
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(environment: Mapping[str, str]) -> float | None:
    """Return when the job's time is over, in seconds since 1970; None where that is not known, or never."""
    now, known, job = time.time(), end_time(environment), job_number(environment)
    if known is not None and known > now:  # else the job was given more time since it began
        return known
    if not job:
        return None
    return parsed_end(output_of("scontrol", "show", "--oneliner", "job", job) or "", job, now)
