"""Which ledger a run writes, and whether it resumes what an earlier one left in it."""

import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

from hpcp_mpi.cluster.slurm import default_ledger, restarts
from hpcp_mpi.engine.checkpoints import CheckpointWriter
from hpcp_mpi.vocab.checkpoint import RunHeading
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.request import Request

# How it is done, and not what: a run may be resumed with another number of ranks, slower, or with other chunks.
_HOW = frozenset(
    {
        "unmatched_excludes",
        "slots",
        "single",
        "chunk_size",
        "chunk_files",
        "chunk_seconds",
        "parallel_listing",
        "split_size",
        "io_size",
        "drop_cache",
        "rate_bytes",
        "rate_files",
        "command_timeout",
        "require_space",
        "itemize",
        "heartbeat_timeout",
        "sync_ranges",
    }
)


def open_checkpoints(
    request: Request,
    ledger: bytes | None,
    resume: bool,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    say: Callable[[str], None],
    version: str,
) -> CheckpointWriter | None:
    """Return what writes the run down; None where it was not asked for. Raises FatalError.

    ledger: as given; without it, a run in a Slurm job has the job's. resume: continue what is in it, as a job does
    that was started again
    """
    path, restarted = ledger, restarts(environment) > 0
    if path is None and not request.options.dry_run:
        path = default_ledger(environment)
    if path is None:
        return None
    heading = _heading(request, command, environment, version)
    if ledger is not None:
        return _open(os.path.abspath(path), heading, resume or restarted, restarted, say)
    return _open_jobs(os.path.abspath(path), heading, resume or restarted, say)


def _open(
    path: bytes, heading: RunHeading, resume: bool, restarted: bool, say: Callable[[str], None]
) -> CheckpointWriter:
    """Open a ledger that the user named. restarted: it may not have come to a ledger yet"""
    from hpcp_mpi.ledger.writer import NothingThere, open_new, resume_ledger  # loads SQLite

    if resume:
        try:
            return CheckpointWriter(*resume_ledger(path, heading, say), say)
        except NothingThere:
            if not os.path.lexists(path) and not restarted:
                raise
            _say_nothing_there(path, say)
    return CheckpointWriter(open_new(path, heading), None, say)


def _open_jobs(path: bytes, heading: RunHeading, resume: bool, say: Callable[[str], None]) -> CheckpointWriter | None:
    """Open the ledger of a batch job. The user named none, so the run continues where there can be none."""
    from hpcp_mpi.ledger.writer import NothingThere, OtherWork, open_new, resume_ledger

    for number in count(1):  # several runs of one job may have no number of a step
        name = path if number == 1 else b"%s-%d.ledger" % (path.removesuffix(b".ledger"), number)
        try:
            if resume:
                return CheckpointWriter(*resume_ledger(name, heading, say), say)
            if not os.path.lexists(name) or not os.path.getsize(name):
                break
        except NothingThere:
            _say_nothing_there(name, say)
            break
        except OtherWork:
            continue
        except FatalError as error:
            say(f"hpcp-mpi: {error.message}; trying the next one")
    try:
        return CheckpointWriter(open_new(name, heading), None, say)
    except FatalError as error:
        say(f"hpcp-mpi: {error.message}; the run continues without one and cannot be resumed")
        return None


def _say_nothing_there(path: bytes, say: Callable[[str], None]) -> None:
    say(f"hpcp-mpi: nothing to resume in {printable(path)}: starting from the beginning")


def _heading(request: Request, command: tuple[str, ...], environment: Mapping[str, str], version: str) -> RunHeading:
    sources = tuple(os.path.abspath(source) for source in request.sources)
    destinations = tuple(os.path.abspath(each) for each in request.destinations)
    return RunHeading(
        verb=request.verb.value,
        sources=sources,
        destination=destinations[0] if destinations else b"",
        command=command,
        fingerprint=_fingerprint(request, sources, destinations),
        version=version,
        host=socket.gethostname(),
        pid=os.getpid(),
        job=environment.get("SLURM_JOB_ID", ""),
    )


def _fingerprint(request: Request, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> str:
    """Return what is equal for command lines that mean the same."""
    options = {name: getattr(request.options, name) for name in Options.__slots__ if name not in _HOW}
    # A `/` at the end says where things land.
    ends = [path.endswith(b"/") for path in (*request.sources, *request.destinations)]
    plain = replace(request, sources=sources, destinations=destinations, options=Options(), force=False)
    return hashlib.sha256(repr((plain, sorted(options.items()), ends)).encode()).hexdigest()
