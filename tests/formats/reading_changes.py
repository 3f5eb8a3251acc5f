"""A reader of tables of changes, which judges what the product writes: nothing in the product reads one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hpcp_mpi.formats.changes_table import ABSENT, UNKNOWN, Op, Row

_MEANINGS = {b"\\\\": b"\\", b"\\t": b"\t", b"\\n": b"\n", b"\\r": b"\r"}
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)
_OPS = {op.letter: op for op in Op}


@dataclass(frozen=True, slots=True)
class State:
    """The state of an entry in one tree. None: its type has no such field, or it is not known."""

    type: bytes  # a letter; ABSENT or UNKNOWN
    size: int | None = None
    mtime_ns: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    hash: int | None = None
    attributes: int | None = None
    device: tuple[int, int] | None = None
    target: bytes = b""  # of a symlink


def unescaped(field: bytes) -> bytes:
    """Return the name or target that a field stands for. Raises ValueError for an unknown escape."""

    def meaning(match: re.Match[bytes]) -> bytes:
        if match[0] not in _MEANINGS:
            raise ValueError(f"unknown escape {match[0].decode('ascii', 'backslashreplace')!r}")
        return _MEANINGS[match[0]]

    return _ESCAPED.sub(meaning, field)


def parsed_state(text: bytes) -> State:
    """Return the state that a field of the table stands for. Raises ValueError."""
    if text in (ABSENT, UNKNOWN):
        return State(text)
    letter, colon, rest = text.partition(b":")
    if letter == b"l" and colon:
        return State(letter, target=unescaped(rest))
    fields = rest.split(b":")
    if letter == b"f" and len(fields) == 7:
        size, mtime, mode, uid, gid, digest, attributes = fields
        return State(
            letter, _int(size), _int(mtime), _int(mode, 8), _int(uid), _int(gid), _int(digest, 16), _int(attributes, 16)
        )
    if letter in (b"d", b"p", b"s") and len(fields) == 4:
        device = None
    elif letter in (b"c", b"b") and len(fields) == 6:
        device = int(fields[3]), int(fields[4])
    else:
        raise ValueError(f"no state: {text.decode('ascii', 'backslashreplace')!r}")
    mode, uid, gid, *_, attributes = fields
    return State(letter, None, None, _int(mode, 8), _int(uid), _int(gid), None, _int(attributes, 16), device)


def _int(field: bytes, base: int = 10) -> int | None:
    return None if field in (b"-", b"?") else int(field, base)


def parsed_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows of a table, with states unparsed. lines: the header's too, with line ends or without.

    Raises ValueError, which names the line.
    """
    number = 0
    for number, line in enumerate(lines, 1):
        line = line.removesuffix(b"\n")
        if number == 1 and line != b"#hpcp-changes\t1":
            raise ValueError("line 1: this is no table of changes of version 1: it does not begin with #hpcp-changes 1")
        if line.startswith(b"#") or not line:
            continue
        fields = line.split(b"\t")
        try:
            if len(fields) != 4:
                raise ValueError(f"it has {len(fields)} fields, not 4")
            if fields[0] not in _OPS:
                raise ValueError("it begins with none of A, D and M")
            parsed_state(fields[2]), parsed_state(fields[3])
            yield Row(_OPS[fields[0]], unescaped(fields[1]), fields[2], fields[3])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if not number:
        raise ValueError("line 1: the table of changes is empty")
