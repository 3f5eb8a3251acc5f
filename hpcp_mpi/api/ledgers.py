"""Ledgers that this process writes: they may not be read here, and by one run only.

Whoever closes a file drops all locks that its process has on it (POSIX), also those that a run in another thread needs.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import printable

_written: set[bytes] = set()
_lock = threading.Lock()


@contextmanager
def written_here(ledger: bytes | None) -> Iterator[None]:
    """Have a ledger known as written by this process. Raises UsageError if it is, by another run."""
    if ledger is None:
        yield
        return
    place = os.path.realpath(ledger)
    with _lock:
        if place in _written:
            raise UsageError(
                f"another run of this process writes the ledger {printable(ledger)}", "Give each run a ledger."
            )
        _written.add(place)
    try:
        yield
    finally:
        with _lock:
            _written.discard(place)


def refuse_to_read(ledger: bytes) -> None:
    """Raise UsageError if this process writes the ledger."""
    with _lock:
        if os.path.realpath(ledger) in _written:
            raise UsageError(
                f"this process is writing the ledger {printable(ledger)}, and may not read it meanwhile",
                "progress= tells how far the run is; another process may ask for the status.",
            )
