"""Which ledger a run writes, and whether it goes on with what an earlier one left in it."""

import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace

from hpcp_mpi.cluster.slurm import default_ledger, restarts
from hpcp_mpi.operations.logbook import Logbook
from hpcp_mpi.vocab.asked import Asked, Verb
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import CopyOptions
from hpcp_mpi.vocab.saved import Heading

# How it is done, and not what: a run may be gone on with by another number of ranks, slower, or with other chunks.
_HOW = frozenset(
    {
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
        "need_space",
        "itemize",
        "heartbeat",
        "durable",
    }
)


def open_logbook(
    asked: Asked,
    ledger: bytes | None,
    resume: bool,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    say: Callable[[str], None],
    version: str,
) -> Logbook | None:
    """Return what writes the run down; None where nobody asked for it. Raises FatalError.

    ledger: as given; without it, a copy in a Slurm job has the job's. resume: go on with what is in it
    """
    path = ledger
    if path is None and asked.verb is Verb.COPY and not asked.options.dry_run:
        path = default_ledger(environment)
        resume = resume or restarts(environment) > 0
    if path is None:
        return None
    from hpcp_mpi.ledger.writer import NothingThere, go_on, open_new  # loads SQLite

    path = os.path.abspath(path)
    heading = _heading(asked, command, environment, version)
    if ledger is None and not resume:
        path = _free(path)
    if resume:
        try:
            written, saved = go_on(path, heading, say)
            return Logbook(written, saved, say)
        except NothingThere:
            if ledger is not None and os.path.lexists(path) is False and not restarts(environment):
                raise
            say(f"hpcp-mpi: there is nothing to go on with in {os.fsdecode(path)}: everything is looked at")
        except FatalError:
            if ledger is not None:
                raise
            path = _free(path)  # another command of this job has the name
    return Logbook(open_new(path, heading), None, say)


def _free(path: bytes) -> bytes:
    """Return a name that nothing has: several runs of one job may have no number of a step."""
    stem, number, found = path.removesuffix(b".ledger"), 1, path
    while os.path.lexists(found) and os.path.getsize(found):
        number += 1
        found = b"%s-%d.ledger" % (stem, number)
    return found


def _heading(asked: Asked, command: tuple[str, ...], environment: Mapping[str, str], version: str) -> Heading:
    sources = tuple(os.path.abspath(source) for source in asked.sources)
    destinations = tuple(os.path.abspath(each) for each in asked.destinations)
    return Heading(
        verb=asked.verb.value,
        sources=sources,
        destination=destinations[0] if destinations else b"",
        command=command,
        fingerprint=_fingerprint(asked, sources, destinations),
        version=version,
        host=socket.gethostname(),
        pid=os.getpid(),
        job=environment.get("SLURM_JOB_ID", ""),
    )


def _fingerprint(asked: Asked, sources: tuple[bytes, ...], destinations: tuple[bytes, ...]) -> str:
    """Return what is equal for command lines that mean the same."""
    options = {name: getattr(asked.options, name) for name in CopyOptions.__slots__ if name not in _HOW}
    # A `/` at the end says where things land.
    ends = [path.endswith(b"/") for path in (*asked.sources, *asked.destinations)]
    plain = replace(asked, sources=sources, destinations=destinations, options=CopyOptions(), force=False)
    return hashlib.sha256(repr((plain, sorted(options.items()), ends)).encode()).hexdigest()
