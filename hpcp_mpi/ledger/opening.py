"""Opening a ledger for writing, on rank 0: a new one, or one of an earlier run that is over."""

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hpcp_mpi.ledger import checked, file, liveness, rows
from hpcp_mpi.ledger.liveness import Writer
from hpcp_mpi.vocab.checkpoint import Checkpoint, RunHeading
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import in_one_line, printable

PATIENCE = 75.0  # seconds to wait for a run that may be dead; longer than liveness.STALE
_POLL = 0.5  # seconds
_READERS = 3.0  # seconds to wait for readers of a new ledger
_SOON = 0.1  # seconds: most transactions are shorter


class Claim(NamedTuple):
    """A ledger that this run has taken over."""

    connection: sqlite3.Connection
    run: int  # this run's number
    started: float  # when the first run began
    latest: Checkpoint
    kinds: tuple[str, ...]  # kinds of records
    last_record: int  # id of the last record of earlier runs
    complete: bool
    exit_code: int | None


def create(path: bytes, heading: RunHeading) -> sqlite3.Connection:
    """Create a ledger, with this run as its first, and return its connection. Raises FatalError."""
    found, made, connection = file.look(path), False, None
    path = found.path
    try:
        if found.status is not None and found.status.st_size and not _left_empty(path):
            raise _exists(path)
        if found.status is None:
            _make(path)
            made = True
        locks = file.has_locks(path)
        connection = file.connect(path, "rw", locks)
        _beside_readers(partial(file.prepare, connection))
        _beside_readers(partial(file.begin, connection))
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _exists(path)
        _fill(connection, heading, not locks)
        _beside_readers(partial(connection.execute, "COMMIT"))
        return connection
    except FileExistsError:
        raise _exists(path) from None
    except FatalError:
        _give_up(connection)
        raise
    except (sqlite3.Error, OSError) as error:
        _give_up(connection)
        if isinstance(error, sqlite3.Error) and file.is_busy(error):
            raise FatalError(f"the ledger {printable(path)} is being written by another run") from None
        explained = file.in_words(path, "cannot make", error)
        if made:
            _unlink(path)
            _unlink(file.journal(path))
        raise explained from None


def _make(path: bytes) -> None:
    """Make the empty file. Raises OSError, FatalError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        owner = os.fstat(handle).st_uid
    finally:
        os.close(handle)
    if owner != os.geteuid():  # as NFS does it with root_squash: no run could resume from it
        _unlink(path)
        raise FatalError(
            f"the ledger {printable(path)} cannot be there: what this user makes there belongs to uid {owner}",
            "Name a place on another file system.",
        )


def _beside_readers(do: Callable[[], object]) -> None:
    """Do what needs a lock, when those who look at the file have looked: --status may come at any time."""
    deadline = time.monotonic() + _READERS
    while True:
        try:
            do()
            return
        except sqlite3.OperationalError as error:
            if not file.is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(_SOON)


def _left_empty(path: bytes) -> bool:
    """Return whether a run was killed while it created the file, which is empty when that is rolled back."""
    if not file.is_half_written(path) or not file.has_locks(path):
        return False
    connection = file.connect(path, "rw", locks=True)
    try:
        return not connection.execute("PRAGMA page_count").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return False  # it is another kind of file
    finally:
        connection.close()


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _exists(path: bytes) -> FatalError:
    return FatalError(
        f"there is a file {printable(path)} already, and a new ledger would replace it",
        "Add --resume to resume it, or name another file with --ledger, or remove it.",
    )


def _give_up(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        file.roll_back(connection)
        connection.close()


def _fill(connection: sqlite3.Connection, heading: RunHeading, unlocked: bool) -> None:
    connection.execute(f"PRAGMA application_id={file.APPLICATION}")
    connection.execute(f"PRAGMA user_version={file.FORMAT}")
    for statement in file.SCHEMA.split(";"):
        connection.execute(statement)
    rows.put_heading(connection, heading, unlocked)
    _put_run(connection, 1, heading)


def _put_run(connection: sqlite3.Connection, run: int, heading: RunHeading) -> None:
    now = time.time()
    connection.execute(
        "INSERT INTO run VALUES(?,?,?,?,?,?,?,?,?,'running',?,NULL,NULL)",
        (
            run,
            heading.started or now,
            rows.text(heading.host),
            heading.pid,
            liveness.started(heading.pid) or 0,
            liveness.here(),
            rows.text(heading.job),
            heading.version,
            rows.command_bytes(heading.command),
            now,
        ),
    )


def claim(path: bytes, heading: RunHeading, say: Callable[[str], None]) -> Claim:
    """Take over a ledger from the last run, once that is over. Raises FatalError. say: prints messages"""
    found = file.look(path)
    if found.status is None:
        raise file.NothingThere(
            f"there is no ledger {printable(path)} to resume", "Leave out --resume to start a new run."
        )
    if not found.status.st_size:
        raise file.nothing_in(path)
    path, connection = found.path, None
    try:
        locks = file.has_locks(path)
        if not locks:
            _await_quiet(path, say)
        connection = file.connect(path, "rw", locks)
        return _claim_soon(connection, path, heading, say)
    except FatalError:
        _give_up(connection)
        raise
    except checked.Odd as odd:
        _give_up(connection)
        raise file.damaged(path, odd.where) from None
    except (sqlite3.Error, OSError) as error:
        _give_up(connection)
        raise file.in_words(path, "cannot resume", error) from None


def _claim_soon(connection: sqlite3.Connection, path: bytes, heading: RunHeading, say: Callable[[str], None]) -> Claim:
    """Claim the ledger as soon as no run may be writing it. A dead node may leave its locks on a server for a while."""
    deadline, announced, reason = time.monotonic() + PATIENCE, False, ""
    while True:
        try:
            file.check_format(connection, path)
            checked.schema(connection)
            file.prepare(connection)
            file.begin(connection)
            by = _who_writes(connection, path, heading)
            if by is None:
                claimed = _claimed(connection, heading)
                connection.execute("COMMIT")
                return claimed
            reason, pause = f"is being written by {by.named}", _POLL
        except sqlite3.OperationalError as error:
            if not file.is_busy(error):
                raise
            reason, pause = reason or "is locked by another program", _SOON  # by the writer, if one was seen
        file.roll_back(connection)
        if time.monotonic() > deadline:
            raise FatalError(f"the ledger {printable(path)} {reason}", "End that one first, or name another file.")
        if not announced:
            say(f"the ledger {printable(path)} {reason}: waiting up to {PATIENCE:.0f} s to see whether it is alive")
            announced = True
        time.sleep(pause)


def _who_writes(connection: sqlite3.Connection, path: bytes, heading: RunHeading) -> Writer | None:
    """Return the run that may be writing; None if the ledger is free. Raises FatalError if it cannot be taken over."""
    (fingerprint,) = checked.one(connection, "s", "SELECT fingerprint FROM heading")
    if fingerprint != heading.fingerprint:
        raise _of_another(connection, path)
    writer = Writer.last_of(connection)
    dead = liveness.is_dead(writer)
    if dead is False:
        raise FatalError(
            f"the ledger {printable(path)} is being written by {writer.named}, which is running",
            f"Look at it with: hpcp-mpi --status {printable(path)}",
        )
    return None if dead or time.time() - writer.alive >= liveness.STALE else writer


def _of_another(connection: sqlite3.Connection, path: bytes) -> FatalError:
    verb, sources, destination, command = checked.one(
        connection, "sbbb", "SELECT verb,sources,destination,command FROM heading"
    )
    names = " ".join(map(printable, rows.split(sources)))
    to = f" -> {printable(destination)}" if destination else ""
    return file.OtherWork(
        f"the ledger {printable(path)} belongs to another run: {in_one_line(verb)} {names}{to}",
        f"It was started with: {' '.join(printable(os.fsencode(word)) for word in rows.words_of(command))}\n"
        "  Resume with that command, or name another file with --ledger.",
    )


def _claimed(connection: sqlite3.Connection, heading: RunHeading) -> Claim:
    """Read the last checkpoint and add this run. Rows of earlier runs stay until this run's first checkpoint."""
    run, state, exit_code = checked.one(connection, "nsN", "SELECT run,state,exit_code FROM run ORDER BY run DESC")
    claimed = Claim(
        connection,
        run + 1,
        checked.one(connection, "r", "SELECT started FROM heading")[0],
        rows.latest_of(connection) or rows.nothing_yet(),
        tuple(kind for (kind,) in checked.rows(connection, "s", "SELECT DISTINCT kind FROM record ORDER BY kind")),
        checked.one(connection, "n", "SELECT ifnull(max(id),0) FROM record")[0],
        state == "ended",
        exit_code,
    )
    _put_run(connection, run + 1, heading)
    return claimed


def _await_quiet(path: bytes, say: Callable[[str], None]) -> None:
    """Wait, without locks, until no transaction is under way. A journal unchanged for a minute was left behind."""
    deadline, last, since, announced = time.monotonic() + PATIENCE, None, time.monotonic(), False
    while True:
        try:
            found = os.stat(file.journal(path))
        except FileNotFoundError:
            return
        if found.st_size == 0:
            return
        if (found.st_size, found.st_mtime_ns) != last:
            last, since = (found.st_size, found.st_mtime_ns), time.monotonic()
        if time.monotonic() - since >= liveness.STALE or time.time() - found.st_mtime >= liveness.STALE:
            return
        if time.monotonic() > deadline:
            raise FatalError(f"the ledger {printable(path)} is being written by another run", "End that one first.")
        if not announced:
            say(f"the ledger {printable(path)} may be in use: waiting up to {PATIENCE:.0f} s")
            announced = True
        time.sleep(_POLL)
