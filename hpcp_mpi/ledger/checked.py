"""Rows of a ledger, of which every value is checked: SQLite puts anything into any column, and so may others.

What is returned has the type that is asked for, and is of a size that can be calculated with and shown.
"""

import math
import sqlite3
from collections.abc import Iterator
from typing import Any

from hpcp_mpi.ledger import file

_MOST = 2**63 - 1
_NO_TEXT = "a text that is none"
_LAST = 250_000_000_000.0  # seconds since 1970: a time in the year 9892. A calendar has no more than 9999


class Odd(Exception):
    """A ledger holds what no run writes."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def rows(connection: sqlite3.Connection, kinds: str, query: str, values: tuple[Any, ...] = ()) -> Iterator[list[Any]]:
    """Yield rows. Raises Odd.

    kinds: a letter for each column: n, a number of what there can be none of; z, one that may be less than nothing; r,
    an amount or a time; s, a text; b, bytes; f, a yes or no. In upper case there may be none.
    """
    try:
        for row in connection.execute(query, values):
            if len(row) != len(kinds):
                raise Odd(f"{len(row)} columns")
            yield [_value(kind, value) for kind, value in zip(kinds, row, strict=True)]
    except UnicodeDecodeError:
        raise Odd(_NO_TEXT) from None


def first(connection: sqlite3.Connection, kinds: str, query: str) -> list[Any] | None:
    """Return the first row, None if there is none. Raises Odd."""
    return next(rows(connection, kinds, query), None)


def one(connection: sqlite3.Connection, kinds: str, query: str) -> list[Any]:
    """Return the first row of what has one at least. Raises Odd."""
    row = first(connection, kinds, query)
    if row is None:
        raise Odd("a row is missing")
    return row


def _value(kind: str, value: Any) -> Any:
    if value is None and kind.isupper():
        return None
    kind = kind.lower()
    if kind == "n" and isinstance(value, int) and 0 <= value <= _MOST:
        return value
    if kind == "z" and isinstance(value, int) and -_MOST <= value <= _MOST:
        return value
    if kind == "r" and isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= _LAST:
        return float(value)
    if kind == "s" and isinstance(value, (str, bytes)):
        return _text(value)
    if kind == "b" and isinstance(value, bytes):
        return value
    if kind == "f" and value in (0, 1):
        return bool(value)
    raise Odd(f"a value of type {type(value).__name__} where none can be")


def _text(value: str | bytes) -> str:
    """Return a text as it was given to rows.text."""
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Odd(_NO_TEXT) from None


def schema(connection: sqlite3.Connection) -> None:
    """Raise Odd unless a ledger has exactly our tables: a view or trigger of others would run when it is read."""
    try:
        found = connection.execute("SELECT type,sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    except UnicodeDecodeError:
        raise Odd(_NO_TEXT) from None
    ours = {" ".join(statement.split()) for statement in file.SCHEMA.split(";") if statement.strip()}
    theirs = [" ".join(str(sql).split()) for kind, sql in found if kind == "table"]
    if len(theirs) != len(found) or set(theirs) != ours or len(theirs) != len(ours):
        raise Odd("other tables")
