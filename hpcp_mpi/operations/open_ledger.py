"""Which ledger a run writes, and whether it resumes what an earlier one left in it."""

import hashlib
import os
import pwd
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count

from hpcp_mpi.cluster.slurm import default_ledger, restarts
from hpcp_mpi.engine.checkpoints import CheckpointWriter
from hpcp_mpi.host.mounts import stale_seconds
from hpcp_mpi.host.safe_file import find
from hpcp_mpi.operations.prepare.own_files import Own, refuse
from hpcp_mpi.vocab.checkpoint import RunHeading
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.request import Request

# How it is done, and not what: a run may be resumed with another number of ranks, slower, or with other chunks.
_HOW = frozenset(
    {
        "certain",
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
    place = _jobs_place(os.path.abspath(path), request, environment, resume or restarted, say)
    return None if place is None else _open_jobs(place, heading, resume or restarted, say)


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


def _jobs_place(
    path: bytes, request: Request, environment: Mapping[str, str], resume: bool, say: Callable[[str], None]
) -> bytes | None:
    """Return where the ledger of a batch job is to be: at path, or in the user's own directory where others may write
    to that of path, or the run itself removes what is there. None where it can be in neither, which is said."""
    from hpcp_mpi.ledger.writer import UnsafePlace, refuse_place

    moved = _state_directory(environment, path) if resume else None
    try:
        refuse_place(path)
        refuse(request, [Own("the ledger", path, is_ledger=True)])
        # As it was moved when the job started first, it is there still.
        return moved if moved and os.path.lexists(moved) and not os.path.lexists(path) else path
    except (UnsafePlace, UsageError) as error:
        moved = moved or _state_directory(environment, path, make=True)
        if moved is None:
            say(f"hpcp-mpi: {error.message}; the run continues without one and cannot be resumed (name one: --ledger)")
            return None
        here = "" if stale_seconds(os.path.dirname(moved)) else ", which only this node sees: see --ledger"
        say(f"hpcp-mpi: {error.message}; it is {printable(moved)}{here}")
        return moved
    except FatalError:
        return path  # opening it says why not


def _state_directory(environment: Mapping[str, str], ledger: bytes, make: bool = False) -> bytes | None:
    """Return the path of a ledger in the directory for what programs keep of a user; None where others could exchange
    that."""
    with suppress(KeyError):
        home = pwd.getpwuid(os.geteuid()).pw_dir
        for base in (environment.get("XDG_STATE_HOME", ""), f"{environment.get('HOME', '')}/.local/state", home):
            base += "/.local/state" if base is home else ""
            if not base.startswith("/"):
                continue
            directory = os.path.join(os.fsencode(base), b"hpcp-mpi")
            try:
                if not _is_ones_own(directory):
                    continue
                if make:
                    os.makedirs(directory, 0o700, exist_ok=True)
                if os.path.isdir(directory) and os.access(directory, os.W_OK):
                    return os.path.join(directory, os.path.basename(ledger))
            except OSError:
                continue
    return None


def _is_ones_own(directory: bytes) -> bool:
    """Return whether nobody else can exchange a directory, or what has to be made for it. Raises OSError."""
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    place = find(os.path.join(directory, b"any"))
    place.close()
    return not (place.swappable or place.writable or place.link_owners)


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
