"""The ledger's file, on rank 0: how it is opened, its schema, and the meaning of its errors.

It is written with a rollback journal, as a write-ahead log needs memory that all its users share, which a network file
system does not have. Supported are file systems with POSIX locks: local ones, NFS (version 4, or 3 with lockd), Lustre
mounted with `flock`, GPFS, BeeGFS with locks turned on. Where locks are refused (Lustre without `flock`, NFS without
lockd, some of FUSE) the file is opened with `nolock=1`: one run writes, and a reader looks whether the file changed
while it read. Not supported there: a run that hung for a minute, was taken for dead, and wakes up in the middle of a
transaction while the next one writes. Nor is `localflock` between hosts: it looks like locks, but they are local.
"""

import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable
from typing import NamedTuple

from hpcp_mpi.host import safe_file
from hpcp_mpi.host.safe_file import Place
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import in_one_line, printable

APPLICATION = 0x68706C67  # "hplg", in the file's header, so that file(1) and we know it
FORMAT = 5
SIDE_FILES = (b"-journal", b"-wal", b"-shm")  # that SQLite looks for beside a file
SCHEMA = """
CREATE TABLE heading(one INTEGER PRIMARY KEY, verb, sources BLOB, destination BLOB, command BLOB, fingerprint, started,
    unlocked);
CREATE TABLE run(run INTEGER PRIMARY KEY, started, host, pid, pid_started, place, job, version, command BLOB,
    state, alive, ended, exit_code);
CREATE TABLE checkpoint(one INTEGER PRIMARY KEY, run, at, phase, seconds, linked, scan_done, chunks, steals, messages,
    sample_seconds, sample_files, sample_bytes, sample_active, sample_ranks, state BLOB);
CREATE TABLE tally(name PRIMARY KEY, files, directories, links, specials, bytes) WITHOUT ROWID;
CREATE TABLE rank(run, rank, node, slots, state, files, bytes, chunks, granted, stolen, busy, PRIMARY KEY(run, rank))
    WITHOUT ROWID;
CREATE TABLE todo(id INTEGER PRIMARY KEY, source, source_dir BLOB, dest_dir BLOB, deep, seen BLOB);
CREATE TABLE record(id INTEGER PRIMARY KEY, kind, packed, block BLOB);
CREATE TABLE failure(id INTEGER PRIMARY KEY, run, path BLOB, reason, vanished, files, directories,
    links, specials, bytes);
CREATE TABLE note(id INTEGER PRIMARY KEY, path BLOB, note);
CREATE TABLE sample(id INTEGER PRIMARY KEY, run, seconds, files, bytes, active, ranks);
"""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=,@")
HELD = (errno.EAGAIN, errno.EACCES)  # another process has the lock, so there are locks


def connect(path: bytes, mode: str, locks: bool) -> sqlite3.Connection:
    """Return a connection that several threads may use, one at a time. mode: ro, rw. The file is never created."""
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in os.path.abspath(path))
    return sqlite3.connect(
        f"file://{name}?mode={mode}{'' if locks else '&nolock=1'}",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


def journal(path: bytes) -> bytes:
    """Return the path of the journal: beside the file, not beside a link to it."""
    return os.path.realpath(path) + b"-journal"


def is_half_written(path: bytes) -> bool:
    """Return whether the journal holds a transaction that is under way, or that a killed run left."""
    try:
        return os.stat(journal(path)).st_size > 0
    except FileNotFoundError:
        return False


def prepare(connection: sqlite3.Connection) -> None:
    """Set up a connection for writing: the journal is emptied and kept, as creating and removing it cost requests."""
    connection.execute("PRAGMA journal_mode=TRUNCATE").fetchall()
    connection.execute("PRAGMA synchronous=NORMAL")


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes. Raises sqlite3.OperationalError, see `is_busy`."""
    connection.execute("BEGIN IMMEDIATE")


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back what was not committed. SQLite may have done it already, and a broken disk may refuse even that."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether an error means that another process has a lock. (Python 3.10 knows no error codes.)"""
    return "is locked" in str(error)


def has_locks(path: bytes, access: int = os.O_RDWR) -> bool:
    """Return whether a file can be locked. Call it before there is a connection: closing drops this process's locks."""
    handle = os.open(path, access | os.O_CLOEXEC)
    kind = fcntl.LOCK_SH if access == os.O_RDONLY else fcntl.LOCK_EX
    try:
        fcntl.lockf(handle, kind | fcntl.LOCK_NB, 1, 0)
        return True
    except OSError as error:
        return error.errno in HELD
    finally:
        os.close(handle)


def find(path: bytes) -> Place:
    """Return the place of a ledger, which need not exist. Raises FatalError if none can be there."""
    try:
        place = safe_file.find(path)
    except (FileNotFoundError, NotADirectoryError):
        directory = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(directory):  # and so the path has too many links, or changes while it is looked at
            raise FatalError(f"the ledger {printable(path)} is a link that leads nowhere", "Remove the link.") from None
        raise FatalError(
            f"the ledger {printable(path)} cannot be there: there is no directory {printable(directory)}",
            "Make it, or name another place.",
        ) from None
    except OSError as error:
        raise FatalError(f"cannot look at the ledger {printable(path)}: {reason_of(error)}") from None
    try:
        _refuse_type(path, place)
    except BaseException:
        place.close()
        raise
    return place


def _refuse_type(path: bytes, place: Place) -> None:
    if place.status is None:
        if place.linked:
            raise FatalError(f"the ledger {printable(path)} is a link that leads nowhere", "Remove the link.")
    elif place.descriptor >= 0 or not stat.S_ISREG(place.status.st_mode):
        what = "a directory" if stat.S_ISDIR(place.status.st_mode) else "not a regular file"
        raise FatalError(f"the ledger {printable(path)} is {what}", "Name a file for it.")


class Found(NamedTuple):
    """A ledger, or the place for one, that no other user has a hand in."""

    path: bytes  # absolute, without symlinks: nobody else can exchange any part of it
    status: os.stat_result | None  # None: there is none


def look(path: bytes) -> Found:
    """Return what is at path, which SQLite is to open. Raises FatalError if no ledger can be there, or if another user
    could choose what SQLite opens: it rolls back whatever journal lies beside the file, and trusts what it says."""
    place = find(path)
    try:
        safe_file.refuse_strange_links(place, f"the ledger {printable(path)}")
        _refuse_shared(path, place)
        if place.status is not None:
            check_owner(path, place.status)
        for side in SIDE_FILES:
            _refuse_strange(place, side)
        return Found(place.path, place.status)
    finally:
        place.close()


def _refuse_shared(path: bytes, place: Place) -> None:
    """Refuse a directory in which others could put a journal, or which they could exchange for another one."""
    directory = printable(os.path.dirname(place.path) or b"/")
    if place.swappable or place.writable:
        why = place.swappable or f"{place.writable} {directory}"
        raise UnsafePlace(
            f"the ledger {printable(path)} cannot be there: {why}, so its journal could be forged",
            "Name a place in a directory that only you may write to, made with: mkdir -m 700 DIRECTORY"
            + ("" if place.swappable or not place.writable.startswith(("all", "others")) else _or_close(directory)),
        )


def _or_close(directory: str) -> str:
    return f"\n  Or take the right from the others: chmod go-w {directory}"


def _refuse_strange(place: Place, side: bytes) -> None:
    """Refuse a journal that somebody else put there when the directory was open to them."""
    try:
        found = os.stat(place.name + side, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(found.st_mode) and safe_file.is_ours(found)):
        raise FatalError(
            f"{printable(place.path + side)}, which SQLite would trust, is not this user's alone "
            f"(uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})",
            "Remove it if you did not make it. Then the ledger is as it was before its last transaction, or damaged.",
        )


def check_owner(path: bytes, found: os.stat_result) -> None:
    """Raise FatalError if another user may have written a ledger: its content is trusted."""
    if found.st_uid != os.geteuid():
        raise FatalError(
            f"the ledger {printable(path)} belongs to another user (uid {found.st_uid})",
            "A resumed run trusts its ledger. Name one of your own.",
        )
    if found.st_mode & 0o022:
        raise FatalError(
            f"others may write to the ledger {printable(path)} (its mode is {stat.S_IMODE(found.st_mode):04o})",
            "A resumed run trusts its ledger. If nobody else wrote to it: chmod go-w, and try again.",
        )
    if found.st_nlink > 1:
        raise FatalError(
            f"the ledger {printable(path)} has {found.st_nlink} names, and others may hold one of them",
            "A resumed run trusts its ledger. Remove the other names (find -samefile), or name another file.",
        )


class UnsafePlace(FatalError):
    """No ledger can be there, as other users have a hand in the directory."""


class NothingThere(FatalError):
    """There is no ledger, or an empty one: a run can start a new one."""


class OtherWork(FatalError):
    """The ledger belongs to another command."""


def nothing_in(path: bytes) -> NothingThere:
    return NothingThere(
        f"the ledger {printable(path)} is empty: the run that made it wrote nothing",
        "Run the command without --resume: what is copied stays copied.",
    )


def check_format(connection: sqlite3.Connection, path: bytes) -> None:
    """Raise FatalError if the file is no ledger, or one that only another version of hpcp-mpi reads."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if not application and not connection.execute("PRAGMA page_count").fetchone()[0]:
        raise nothing_in(path)  # its creation was rolled back
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise not_a_ledger(path)
    if version != FORMAT:
        newer = version > FORMAT
        raise FatalError(
            f"the ledger {printable(path)} was written by {'a newer' if newer else 'an older'} hpcp-mpi "
            f"(format {version}, known here: {FORMAT})",
            "Use the version that wrote it"
            + ("." if newer else ", or remove it and run the command without --resume: what is copied stays copied."),
        )


def not_a_ledger(path: bytes) -> FatalError:
    return FatalError(f"{printable(path)} is not a ledger of hpcp-mpi", "It was not touched.")


def damaged(path: bytes, how: str) -> FatalError:
    """Return the FatalError of a ledger that holds what no run writes."""
    return FatalError(
        f"the ledger {printable(path)} is damaged: it has {in_one_line(how)}",
        "Remove it and run the command without --resume: what is copied stays copied.",
    )


def in_words(path: bytes, doing: str, error: Exception) -> FatalError:
    """Return the FatalError that explains an error of SQLite or the system. doing: as "cannot write"."""
    reason, remedy = in_one_line(str(error)), ""
    if isinstance(error, OSError):
        reason = reason_of(error)
    elif "full" in reason:
        reason, remedy = os.strerror(errno.ENOSPC), "Make room, or name a place on another file system."
    elif "not a database" in reason:
        return not_a_ledger(path)
    elif "malformed" in reason:
        reason, remedy = "it is damaged", "Remove it and run the command without --resume: what is copied stays copied."
    elif "I/O error" in reason or "open database" in reason or "readonly" in reason:
        reason = _why(path) or reason
    return FatalError(f"{doing} the ledger {printable(path)}: {reason}", remedy)


def _why(path: bytes) -> str:
    """Return the reason of an error, "" if unknown: SQLite has one number for a quota, a broken disk and others."""
    if not os.path.exists(path):
        return "it was removed"
    attempts: tuple[Callable[[], None], ...] = (lambda: _write_beside(path), lambda: _may_write(path))
    for attempt in attempts:
        try:
            attempt()
        except OSError as error:
            return reason_of(error)
    return ""


def _may_write(path: bytes) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _write_beside(path: bytes) -> None:
    """Write a few pages beside path, as a test. Raises the OSError that this meets."""
    beside = os.path.abspath(path) + b".probe-%d" % os.getpid()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, bytes(65536))
        os.fsync(handle)
    finally:
        os.close(handle)
        os.unlink(beside)
