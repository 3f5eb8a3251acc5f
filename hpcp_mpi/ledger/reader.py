"""Reading a ledger for `--status`, in a process of its own, while a run writes it or after the run died.

What is read is a private copy, made by descriptors, so nothing is written beside the ledger and nothing is rolled back
there: a journal may be another user's, and SQLite would do what it says, such as removing a file that it names. The
copy is made under the lock that a reader has, so no run writes meanwhile; where locks are refused, it is made again
until nothing changed meanwhile. What a killed run left in the journal is rolled back in the copy.

A process that writes the ledger must not use this: closing a file drops all locks its process has on it.
"""

import errno
import fcntl
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpcp_mpi.host.safe_file import Place, refuse_strange_links
from hpcp_mpi.ledger import checked, file, liveness, rows
from hpcp_mpi.ledger.checked import Odd
from hpcp_mpi.ledger.liveness import Writer
from hpcp_mpi.vocab.checkpoint import Sample
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.ledger_status import LedgerStatus, RunStatus
from hpcp_mpi.vocab.paths import printable

PATIENCE = 5.0  # seconds
_POLL = 0.05  # seconds
_LONGEST = 60.0  # seconds that SQLite may take to read one
_BLOCK = 1 << 20
# What SQLite locks: a byte for writers that wait, one for a writer that has begun, and some of which readers lock all.
_PENDING, _RESERVED, _SHARED, _SHARED_SIZE = 0x40000000, 0x40000001, 0x40000002, 510
# A journal that ends in these bytes names a journal of several databases, which SQLite removes: ours never does.
_NO_SUPER_JOURNAL = bytes(16)


class _Torn(Exception):
    """The file was written to while it was read."""


class _Locked(Exception):
    """A run is writing to the file right now."""


def read(path: bytes) -> LedgerStatus:
    """Return the state of a run from its ledger. Raises FatalError if it cannot be read."""
    place = file.find(path)
    try:
        if place.status is None:
            raise FatalError(f"there is no ledger {printable(path)}", "A run writes one with --ledger FILE.")
        refuse_strange_links(place, f"the ledger {printable(path)}", place.status.st_uid)
        if not place.status.st_size:
            raise FatalError(f"the ledger {printable(path)} is empty: the run that made it wrote nothing yet")
        try:
            ledger = place.reopened(os.O_RDONLY)
        except OSError as error:
            raise file.in_words(path, "cannot read", error) from None
        try:
            return _read_in_time(path, place, ledger)
        finally:
            os.close(ledger)
    finally:
        place.close()


def _read_in_time(path: bytes, place: Place, ledger: int) -> LedgerStatus:
    deadline = time.monotonic() + PATIENCE
    while True:
        late = time.monotonic() > deadline
        try:
            with tempfile.TemporaryDirectory(prefix="hpcp-mpi-status-") as directory:
                copy = os.path.join(os.fsencode(directory), b"ledger")
                _copy(place, ledger, copy, late)
                return _read(path, copy)
        except _Torn:
            if late:
                raise FatalError(f"the ledger {printable(path)} is written without a pause", "Try again.") from None
        except _Locked:
            if late:
                raise FatalError(
                    f"the ledger {printable(path)} is locked by another program",
                    "Try again; lslocks shows which it is.",
                ) from None
        except Odd as odd:
            raise file.damaged(path, odd.where) from None
        except sqlite3.Error as error:
            # A copy that was made without locks may look damaged as well.
            if late or "malformed" not in str(error):
                raise file.in_words(path, "cannot read", error) from None
        except OSError as error:
            raise file.in_words(path, "cannot read", error) from None
        time.sleep(_POLL)


# --- the copy


def _copy(place: Place, ledger: int, to: bytes, late: bool) -> None:
    """Copy a ledger as it was after a transaction, or with the journal that makes it so.

    Raises _Torn, _Locked, OSError.
    """
    try:
        fcntl.lockf(ledger, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _PENDING)
        locks = True
    except OSError as error:
        if error.errno in file.HELD:
            raise _Locked from None
        locks = False
    try:
        if not locks:
            if _journal_size(place, ledger) and not late:
                raise _Torn  # a transaction is under way, unless the journal stays
            with _unchanged(place, ledger):
                _copy_both(place, ledger, to, half_written=_journal_size(place, ledger) > 0)
            return
        try:
            fcntl.lockf(ledger, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED)
        except OSError:
            raise _Locked from None
        fcntl.lockf(ledger, fcntl.LOCK_UN, 1, _PENDING)  # a writer may begin, and waits with the file itself
        _copy_both(place, ledger, to, half_written=_journal_size(place, ledger) > 0 and not _has_begun(ledger))
    finally:
        if locks:
            with suppress(OSError):
                fcntl.lockf(ledger, fcntl.LOCK_UN, 0, 0)


def _has_begun(ledger: int) -> bool:
    """Return whether a run has begun a transaction: then the journal is of that, and the file is as it was before."""
    try:
        fcntl.lockf(ledger, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _RESERVED)
    except OSError:
        return True
    fcntl.lockf(ledger, fcntl.LOCK_UN, 1, _RESERVED)
    return False


@contextmanager
def _journal(place: Place, ledger: int) -> Iterator[int]:
    """Yield a descriptor of the journal, -1 if there is none that the ledger's owner wrote."""
    try:
        fd = os.open(place.name + b"-journal", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.directory)
    except FileNotFoundError:
        yield -1
        return
    try:
        found, owner = os.fstat(fd), os.fstat(ledger).st_uid
        ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid in (0, owner)
        yield fd if ours else -1
    finally:
        os.close(fd)


def _journal_size(place: Place, ledger: int) -> int:
    with _journal(place, ledger) as journal:
        return os.fstat(journal).st_size if journal >= 0 else 0


def _copy_both(place: Place, ledger: int, to: bytes, half_written: bool) -> None:
    room = os.statvfs(os.path.dirname(to))
    if os.fstat(ledger).st_size > room.f_bavail * room.f_frsize:
        raise OSError(errno.ENOSPC, "no room for a copy of it where TMPDIR says")
    _copy_file(ledger, to)
    if half_written:
        with _journal(place, ledger) as journal:
            if journal < 0:
                raise _Torn
            readable = os.open(f"/proc/self/fd/{journal}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _copy_file(readable, to + b"-journal", _NO_SUPER_JOURNAL)
            finally:
                os.close(readable)


def _copy_file(source: int, to: bytes, end: bytes = b"") -> None:
    """Copy a file as large as it is now. end: is added to it"""
    at, size = 0, os.fstat(source).st_size
    with open(to, "xb", buffering=0) as copy:
        while at < size:
            block = os.pread(source, min(_BLOCK, size - at), at)
            if not block:
                raise _Torn
            copy.write(block)
            at += len(block)
        copy.write(end)


@contextmanager
def _unchanged(place: Place, ledger: int) -> Iterator[None]:
    """Raise _Torn, in place of other errors too, if the file changed during the `with` block."""
    before = _mark(place, ledger)
    try:
        yield
    except OSError:
        if _mark(place, ledger) != before:
            raise _Torn from None
        raise
    if _mark(place, ledger) != before:
        raise _Torn


def _mark(place: Place, ledger: int) -> tuple[int, int, bytes, int, int]:
    """Return what changes when the ledger is written to: sizes, times (ns), and four bytes of its header."""
    found = os.fstat(ledger)
    with _journal(place, ledger) as journal:
        beside = os.fstat(journal) if journal >= 0 else None
        size, changed = (beside.st_size, beside.st_mtime_ns) if beside and beside.st_size else (0, 0)
    return found.st_size, found.st_mtime_ns, os.pread(ledger, 100, 0)[24:28], size, changed


# --- what it says


def _read(path: bytes, copy: bytes) -> LedgerStatus:
    deadline = time.monotonic() + _LONGEST
    connection = file.connect(copy, "rw", locks=True)
    try:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
        connection.execute("PRAGMA trusted_schema=OFF").fetchall()
        file.check_format(connection, path)
        checked.schema(connection)
        return _account(connection, path)
    finally:
        connection.close()


def _account(connection: sqlite3.Connection, path: bytes) -> LedgerStatus:
    verb, sources, destination, started = checked.one(
        connection, "sbbr", "SELECT verb,sources,destination,started FROM heading"
    )
    checkpointed = checked.first(connection, "r", "SELECT at FROM checkpoint")
    todo = dict(checked.rows(connection, "fn", "SELECT deep,count(*) FROM todo GROUP BY deep"))
    dead = liveness.is_dead(Writer.last_of(connection))
    runs = tuple(_runs(connection))
    return LedgerStatus(
        path=os.path.abspath(path),
        time=time.time(),
        verb=verb,
        sources=rows.split(sources),
        destination=destination,
        started=started or runs[0].started,
        runs=runs,
        there=None if dead is None else not dead,
        checkpointed=checkpointed[0] if checkpointed else None,
        latest=rows.latest_of(connection, with_todo=False),
        todo=(todo.get(True, 0), todo.get(False, 0)),
        records={
            kind: (count, size)
            for kind, count, size in checked.rows(
                connection,
                "snn",
                "SELECT kind,count(*),ifnull(sum(length(block)),0) FROM record GROUP BY kind ORDER BY kind",
            )
        },
        samples=tuple(
            (run, Sample(*rest))
            for run, *rest in checked.rows(
                connection, "nrnnnn", "SELECT run,seconds,files,bytes,active,ranks FROM sample ORDER BY id"
            )
        ),
    )


def _runs(connection: sqlite3.Connection) -> Iterator[RunStatus]:
    for number, command, host, pid, job, version, started, alive, ended, state, exit_code in list(
        checked.rows(
            connection,
            "nbsnssrrRsN",
            "SELECT run,command,host,pid,job,version,started,alive,ended,state,exit_code FROM run ORDER BY run",
        )
    ):
        yield RunStatus(
            number,
            host,
            pid,
            job,
            version,
            rows.words_of(command),
            started,
            alive,
            ended,
            state,
            exit_code,
            tuple(rows.ranks_of(connection, number)),
        )
