"""Records as columns of numbers and names, for files that outlive a run: nothing read from them can become code."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_COUNT = struct.Struct("<Q")


def packed(layout: str, records: Iterable[Sequence[Any]]) -> bytes:
    """Return records as bytes.

    layout: the type of each field: i and u, numbers of 64 bits with and without a sign; b, a bool; n, a name, which
    has no NUL; p, a pair of u
    """
    rows = list(records)
    parts = [_COUNT.pack(len(rows))]
    for kind, column in zip(layout, zip(*rows, strict=True) if rows else [()] * len(layout), strict=True):
        data = _column(kind, column)
        parts += [_COUNT.pack(len(data)), data]
    return b"".join(parts)


def unpacked(layout: str, data: bytes) -> list[tuple[Any, ...]]:
    """Return the records of packed(). Raises ValueError if that did not make data."""
    try:
        (count,), at = _COUNT.unpack_from(data), _COUNT.size
        if count > len(data):
            raise ValueError("more records than bytes")
        columns = []
        for kind in layout:
            (length,) = _COUNT.unpack_from(data, at)
            at += _COUNT.size
            columns.append(_values(kind, count, data[at : at + length]))
            at += length
        if at != len(data):
            raise ValueError("more bytes than records")
        return list(zip(*columns, strict=True))
    except struct.error as error:
        raise ValueError(str(error)) from None


def _column(kind: str, column: Sequence[Any]) -> bytes:
    if kind == "n":
        return b"\0".join(column)
    if kind == "p":
        return struct.pack(f"<{2 * len(column)}Q", *(number for pair in column for number in pair))
    return struct.pack(f"<{len(column)}{_CODES[kind]}", *column)


def _values(kind: str, count: int, data: bytes) -> Sequence[Any]:
    if kind == "n":
        return data.split(b"\0") if count else ()
    if kind == "p":
        numbers: Iterator[int] = iter(struct.unpack(f"<{2 * count}Q", data))
        return list(zip(numbers, numbers, strict=True))
    return struct.unpack(f"<{count}{_CODES[kind]}", data)


_CODES = {"i": "q", "u": "Q", "b": "?"}
