"""The table of changes is read as it was written, and a bad line is refused by its number."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.formats.changes_table import HEADER, Op, Row, described, escaped, tar_name
from tests.formats.reading_changes import State, parsed_rows, parsed_state, unescaped

NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)
FILE = b"f:5:1600000000123456789:104755:0:1234:26c7827d889f6da3:ef46db3751d8e999"


def status(mode: int, device: int = 0) -> os.stat_result:
    """An lstat with the fields of a state."""
    fields = [0] * os.stat_result.n_sequence_fields
    fields[0], fields[4], fields[5], fields[6] = mode, 10, 20, 5
    more = {"st_mtime_ns": 1_600_000_000_123_456_789, "st_rdev": device}
    return os.stat_result(fields, more)


@given(NAMES)
def test_any_name_survives(name: bytes) -> None:
    field = escaped(name)
    assert unescaped(field) == name
    assert not re.search(rb"[\t\n\r]", field)


@given(st.lists(st.tuples(st.sampled_from(Op), NAMES, NAMES)))
def test_a_table_is_read_as_it_was_written(rows: list[tuple[Op, bytes, bytes]]) -> None:
    wanted = [Row(op, path, b"l:" + escaped(target), FILE) for op, path, target in rows]
    lines = (HEADER + b"".join(row.line for row in wanted)).split(b"\n")
    assert list(parsed_rows(line + b"\n" for line in lines[:-1])) == wanted


@pytest.mark.parametrize(("mode", "state"), [
    (0o104755, b"f:5:1600000000123456789:104755:10:20:00000000000000ff:00000000000000aa"),
    (0o042775, b"d:42775:10:20:00000000000000aa"),
    (0o120777, b"l:to\\there"),
    (0o010644, b"p:10644:10:20:00000000000000aa"),
    (0o140755, b"s:140755:10:20:00000000000000aa"),
    (0o020600, b"c:20600:10:20:1:3:00000000000000aa"),
    (0o060600, b"b:60600:10:20:1:3:00000000000000aa"),
])  # fmt: skip
def test_every_type_has_a_state(mode: int, state: bytes) -> None:
    assert described(status(mode, os.makedev(1, 3)), 0xFF, 0xAA, b"to\there") == state
    read = parsed_state(state)
    if state.startswith(b"l"):
        assert read == State(b"l", target=b"to\there")
    else:
        assert (read.mode, read.uid, read.gid, read.attributes) == (mode, 10, 20, 0xAA)
    assert read.device == ((1, 3) if state[:1] in b"cb" else None)


def test_what_is_not_known_is_none() -> None:
    assert parsed_state(b"f:?:?:?:?:?:-:?") == State(b"f")
    assert parsed_state(b"-") == State(b"-") and parsed_state(b"?") == State(b"?")
    assert described(status(0o100644), None, 0).split(b":")[6] == b"-"


@pytest.mark.parametrize(("table", "says"), [
    (b"", "line 1: .*empty"),
    (b"something else\n", "line 1: .*no table"),
    (b"#hpcp-changes\t2\n", "line 1: .*version 1"),
    (HEADER + b"A\tx\t-\n", "line 3: it has 3 fields"),
    (HEADER + b"X\tx\t-\t-\n", "line 3: .*none of A, D and M"),
    (HEADER + b"A\tx\\q\t-\tl:a\n", r"line 3: unknown escape"),
    (HEADER + b"A\tx\\\t-\tl:a\n", r"line 3: unknown escape"),
    (HEADER + b"A\tx\t-\tf:1:2\n", "line 3: no state"),
    (HEADER + b"A\tx\t-\tz:1:2:3:4\n", "line 3: no state"),
    (HEADER + b"A\tx\t-\td:9:2:3:4\n", "line 3: invalid literal"),
])  # fmt: skip
def test_what_means_nothing_is_refused_by_its_line(table: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        list(parsed_rows(table.splitlines(keepends=True)))


def test_rows_sort_as_they_are_written() -> None:
    rows = [Row(Op.DELETED, b"z", b"", b""), Row(Op.ADDED, b"a", b"", b""), Row(Op.MODIFIED, b"a", b"", b"")]
    assert sorted(rows) == rows and [row.line[:1] for row in rows] == [b"D", b"A", b"M"]


def test_names_for_tar_are_no_options() -> None:
    assert tar_name(b"-x", False) == b"./-x\n" and tar_name(b"-x", True) == b"./-x\0"
    assert tar_name(b" a\\b\nc", False) == b"./ a\\\\b\\nc\n" and tar_name(b"a\\b\nc", True) == b"a\\b\nc\0"
