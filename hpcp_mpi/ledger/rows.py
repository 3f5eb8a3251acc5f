"""Conversion of checkpoints to rows of the ledger and back, on rank 0, inside the caller's transactions."""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence

from hpcp_mpi.ledger import checked
from hpcp_mpi.vocab.checkpoint import Checkpoint, RankState, Relist, RunHeading, Sample
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.tally import Tally

_SMALLER = 2 / 3  # of its size: a block that shrinks less is stored as it is, as unpacking it would not be worth it


def put_heading(connection: sqlite3.Connection, heading: RunHeading, unlocked: bool) -> None:
    """Insert the row that says which command the ledger belongs to."""
    connection.execute(
        "INSERT INTO heading VALUES(1,?,?,?,?,?,?,?)",
        (
            heading.verb,
            _joined(heading.sources),
            heading.destination,
            command_bytes(heading.command),
            heading.fingerprint,
            heading.started,
            unlocked,
        ),
    )


def put_checkpoint(connection: sqlite3.Connection, run: int, at: float, latest: Checkpoint) -> None:
    """Replace the rows that each checkpoint replaces, except those of todo. at: seconds since 1970"""
    connection.execute(
        "INSERT OR REPLACE INTO checkpoint VALUES(1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            run,
            at,
            latest.phase,
            latest.seconds,
            latest.linked,
            latest.scan_done,
            latest.chunks,
            latest.steals,
            latest.messages,
            *latest.sample,
            latest.state,
        ),
    )
    connection.execute("DELETE FROM tally")
    connection.executemany(
        "INSERT INTO tally VALUES(?,?,?,?,?,?)", [(name, *tally) for name, tally in latest.tallies.items()]
    )
    connection.execute("DELETE FROM rank WHERE run=?", (run,))
    connection.executemany(
        "INSERT INTO rank VALUES(?,?,?,?,?,?,?,?,?,?,?)",
        [
            (
                run,
                rank.rank,
                text(rank.node),
                rank.slots,
                rank.state,
                rank.files,
                rank.bytes,
                rank.chunks,
                rank.granted,
                rank.stolen,
                rank.busy,
            )
            for rank in latest.ranks
        ],
    )


def put_todo(connection: sqlite3.Connection, todo: Sequence[Relist]) -> None:
    """Replace the directories that are still to be listed."""
    connection.execute("DELETE FROM todo")
    connection.executemany(
        "INSERT INTO todo(source,source_dir,dest_dir,deep,seen) VALUES(?,?,?,?,?)", (each[:5] for each in todo)
    )


def add_events(
    connection: sqlite3.Connection, run: int, checkpoint: Checkpoint, known: frozenset[tuple[bytes, str]]
) -> None:
    """Add the records, failures and notes since the last checkpoint. known: notes of earlier runs, already there"""
    if checkpoint.restart:
        connection.execute("DELETE FROM record")
    for kind, block in checkpoint.records.items():
        packed = zlib.compress(block, 1)
        small = len(packed) < len(block) * _SMALLER
        connection.execute(
            "INSERT INTO record(kind,packed,block) VALUES(?,?,?)", (kind, small, packed if small else block)
        )
    connection.executemany(
        "INSERT INTO failure(run,path,reason,vanished,files,directories,links,specials,bytes) "
        "VALUES(?,?,?,?,?,?,?,?,?)",
        [(run, each.path, text(each.reason), each.vanished, *each.attempted) for each in checkpoint.failures],
    )
    connection.executemany(
        "INSERT INTO note(path,note) VALUES(?,?)",
        [(path, text(note)) for path, note in checkpoint.notes if (path, note) not in known],
    )
    connection.execute(
        "INSERT INTO sample(run,seconds,files,bytes,active,ranks) VALUES(?,?,?,?,?,?)", (run, *checkpoint.sample)
    )


def latest_of(connection: sqlite3.Connection, with_todo: bool = True) -> Checkpoint | None:
    """Return the last checkpoint with all failures and notes, but without records; None before the first.

    Raises Odd.
    """
    # What needed nothing is less than that after a run that did more twice: the sum with the next run's is right.
    row = checked.first(connection, "nnrsrnfnnnrnnnnb", "SELECT * FROM checkpoint")
    if row is None:
        return None
    _, run, _, phase, seconds, linked, scan_done, chunks, steals, messages, *sample, state = row
    return Checkpoint(
        phase=phase,
        seconds=seconds,
        tallies={name: Tally(*counts) for name, *counts in checked.rows(connection, "szzzzz", "SELECT * FROM tally")},
        linked=linked,
        scan_done=scan_done,
        chunks=chunks,
        steals=steals,
        messages=messages,
        ranks=tuple(ranks_of(connection, run)),
        todo=tuple(_todo_of(connection)) if with_todo else (),
        sample=Sample(*sample),
        state=state,
        failures=tuple(
            Failure(path, reason, vanished, Tally(*counts))
            for path, reason, vanished, *counts in checked.rows(
                connection,
                "bsfnnnnn",
                "SELECT path,reason,vanished,files,directories,links,specials,bytes FROM failure ORDER BY id",
            )
        ),
        notes=tuple(
            (path, note) for path, note in checked.rows(connection, "bs", "SELECT path,note FROM note ORDER BY id")
        ),
    )


def ranks_of(connection: sqlite3.Connection, run: int) -> Iterator[RankState]:
    """Yield the state of each rank of a run, by rank. Raises Odd."""
    for row in checked.rows(
        connection,
        "nsnsnnnnnr",
        "SELECT rank,node,slots,state,files,bytes,chunks,granted,stolen,busy FROM rank WHERE run=? ORDER BY rank",
        (run,),
    ):
        yield RankState(*row)


def _todo_of(connection: sqlite3.Connection) -> Iterator[Relist]:
    query = "SELECT source,source_dir,dest_dir,deep,seen FROM todo ORDER BY id"
    for row in checked.rows(connection, "nbbfb", query):
        yield Relist(*row)


def unpacked(packed: int, block: bytes) -> bytes:
    """Return a record's block as it was submitted."""
    return zlib.decompress(block) if packed else block


def nothing_yet() -> Checkpoint:
    """Return the empty checkpoint of a run that was killed before its first one. Its phase is empty."""
    return Checkpoint("", 0.0, {}, 0, False, 0, 0, 0, (), (), Sample(0.0, 0, 0, 0, 0))


def _joined(names: Iterable[bytes]) -> bytes:
    """Return names joined; each ends in NUL, the one byte that no name has."""
    return b"".join(name + b"\0" for name in names)


def split(joined: bytes) -> tuple[bytes, ...]:
    """Return the names that `_joined` joined."""
    return tuple(joined.split(b"\0")[:-1])


def words_of(joined: bytes) -> tuple[str, ...]:
    """Return the words of a command line that `command_bytes` joined."""
    return tuple(map(os.fsdecode, split(joined)))


def command_bytes(command: Iterable[str]) -> bytes:
    """Return the words of a command line, joined."""
    return _joined(map(os.fsencode, command))


def text(given: str) -> str | bytes:
    """Return a text as SQLite takes it: as bytes where UTF-8 has none for it (from a command's output, say)."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return given.encode("utf-8", "surrogatepass")
    return given


def words(stored: str | bytes) -> str:
    """Return the text that `text` converted."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")
