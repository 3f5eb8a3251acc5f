"""Reading a ledger for `--status`, in a process of its own, while a run writes it or after the run died.

Nothing is written, and no file is created beside it. What a killed run left in the journal has to be rolled back before
the file can be read. Where that is allowed SQLite does it in place, under its locks, as the next run would; else in a
copy. A process that writes the ledger must not use this: closing a file drops all locks its process has on it.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hpcp_mpi.ledger import file, liveness, rows
from hpcp_mpi.ledger.liveness import Writer
from hpcp_mpi.vocab.checkpoint import Sample
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.ledger_status import LedgerStatus, RunStatus
from hpcp_mpi.vocab.paths import printable

PATIENCE = 5.0  # seconds
_POLL = 0.05  # seconds


class _Torn(Exception):
    """The file was written to while it was read."""


def read(path: bytes) -> LedgerStatus:
    """Return the state of a run from its ledger. Raises FatalError if it cannot be read."""
    found = file.look(path)
    if found is None:
        raise FatalError(f"there is no ledger {printable(path)}", "A run writes one with --ledger FILE.")
    if not found.st_size:
        raise FatalError(f"the ledger {printable(path)} is empty: the run that made it wrote nothing yet")
    deadline = time.monotonic() + PATIENCE
    while True:
        late = time.monotonic() > deadline
        try:
            return _read_somehow(path, late)
        except _Torn:
            if late:
                raise FatalError(f"the ledger {printable(path)} is written without a pause", "Try again.") from None
        except sqlite3.Error as error:
            # A copy of a file that is being written may look damaged as well.
            if late or not (file.is_busy(error) or "malformed" in str(error)):
                raise file.in_words(path, "cannot read", error) from None
        except OSError as error:
            raise file.in_words(path, "cannot read", error) from None
        time.sleep(_POLL)


def _read_somehow(path: bytes, late: bool) -> LedgerStatus:
    if not _has_locks(path):
        if file.is_half_written(path) and not late:
            raise _Torn  # a transaction is under way, unless the journal stays
        with _unchanged(path):
            return _copied(path) if file.is_half_written(path) else _read(path, path, "ro", locks=False)
    try:
        return _read(path, path, "ro")
    except sqlite3.OperationalError as error:
        # A journal that no run is writing: this connection may not roll back.
        if "readonly" not in str(error) and "unable to open" not in str(error):
            raise
    if os.access(path, os.W_OK) and os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
        return _read(path, path, "rw")
    with _unchanged(path):
        return _copied(path)


def _has_locks(path: bytes) -> bool:
    try:
        return file.has_locks(path, os.O_RDONLY)
    except OSError as error:
        raise file.in_words(path, "cannot read", error) from None


def _mark(path: bytes) -> tuple[int, int, int, int]:
    """Return size and mtime (ns) of the ledger and of its journal, which change when it is written to."""
    found = os.stat(path)
    try:
        journal = os.stat(file.journal(path))
    except FileNotFoundError:
        return found.st_size, found.st_mtime_ns, 0, 0
    return found.st_size, found.st_mtime_ns, journal.st_size, journal.st_mtime_ns if journal.st_size else 0


def _counter(path: bytes) -> bytes:
    """Return the four bytes of the header that every transaction changes."""
    with open(path, "rb") as ledger:
        return ledger.read(100)[24:28]


@contextmanager
def _unchanged(path: bytes) -> Iterator[None]:
    """Raise _Torn, in place of other errors too, if the file changed during the `with` block."""
    before = _mark(path), _counter(path)
    try:
        yield
    except (sqlite3.Error, OSError):
        if (_mark(path), _counter(path)) != before:
            raise _Torn from None
        raise
    if (_mark(path), _counter(path)) != before:
        raise _Torn


def _copied(path: bytes) -> LedgerStatus:
    """Return the state from a copy, in which the journal can be rolled back."""
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-status-") as directory:
        copy = os.path.join(os.fsencode(directory), b"ledger")
        shutil.copyfile(path, copy)
        shutil.copyfile(file.journal(path), file.journal(copy))
        return _read(path, copy, "rw")


def _read(path: bytes, where: bytes, mode: str, locks: bool = True) -> LedgerStatus:
    connection = file.connect(where, mode, locks)
    try:
        file.check_format(connection, path)
        connection.execute("BEGIN")
        return _account(connection, path)
    finally:
        file.roll_back(connection)
        connection.close()


def _account(connection: sqlite3.Connection, path: bytes) -> LedgerStatus:
    verb, sources, destination, started = connection.execute(
        "SELECT verb,sources,destination,started FROM heading"
    ).fetchone()
    checkpointed = connection.execute("SELECT at FROM checkpoint").fetchone()
    todo = dict(connection.execute("SELECT deep,count(*) FROM todo GROUP BY deep").fetchall())
    dead = liveness.is_dead(_writer(connection))
    return LedgerStatus(
        path=path,
        time=time.time(),
        verb=verb,
        sources=rows.split(sources),
        destination=destination,
        started=started,
        runs=tuple(_runs(connection)),
        there=None if dead is None else not dead,
        checkpointed=checkpointed and checkpointed[0],
        latest=rows.latest_of(connection, with_todo=False),
        todo=(todo.get(1, 0), todo.get(0, 0)),
        records={
            kind: (count, size)
            for kind, count, size in connection.execute(
                "SELECT kind,count(*),sum(length(block)) FROM record GROUP BY kind ORDER BY kind"
            )
        },
        samples=tuple(
            (run, Sample(*rest))
            for run, *rest in connection.execute("SELECT run,seconds,files,bytes,active,ranks FROM sample ORDER BY id")
        ),
    )


def _writer(connection: sqlite3.Connection) -> Writer:
    return Writer(*connection.execute(liveness.LAST_RUN).fetchone())


def _runs(connection: sqlite3.Connection) -> Iterator[RunStatus]:
    for number, command, *rest in connection.execute(
        "SELECT run,command,host,pid,job,version,started,alive,ended,state,exit_code FROM run ORDER BY run"
    ).fetchall():
        host, pid, job, version, started, alive, ended, state, exit_code = rest
        yield RunStatus(
            number,
            rows.words(host),
            pid,
            rows.words(job),
            version,
            rows.words_of(command),
            started,
            alive,
            ended,
            state,
            exit_code,
            tuple(rows.ranks_of(connection, number)),
        )
