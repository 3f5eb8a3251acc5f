"""Parts of lists are sorted in whatever order they come, and lists are read in blocks of any size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.host import list_file as file_lists
from hpcp_mpi.host.list_file import BrokenList, Parts, entries_in

ENTRIES = st.binary(min_size=1, max_size=6).filter(lambda entry: b"\n" not in entry)


def key(entry: bytes) -> bytes:
    return entry.lower() + b"\0" + entry


@given(st.lists(st.lists(ENTRIES, min_size=1, max_size=8), max_size=8), st.integers(1, 4))
def test_parts_that_lie_between_each_other_are_merged(runs: list[list[bytes]], together: int) -> None:
    parts = Parts(b"\n", key)
    for at in range(0, len(runs), together):
        text, records = b"", []
        for run in runs[at : at + together]:
            run = sorted(set(run), key=key)
            more = b"".join(entry + b"\n" for entry in run)
            records.append((key(run[0]), key(run[-1]), len(text), len(more)))
            text += more
        parts.add(text, records)
    wanted = sorted({entry for run in runs for entry in run}, key=key)
    assert b"".join(parts) == b"".join(entry + b"\n" for entry in wanted)


def test_parts_that_follow_each_other_are_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lists, "_BLOCK", 5)

    def never(entry: bytes) -> bytes:
        raise AssertionError

    parts = Parts(b"\n", never)
    parts.add(b"c\nd\n", [(b"c", b"d", 0, 4)])
    parts.add(b"a\nb\ne\n", [(b"e", b"e", 4, 2), (b"a", b"b", 0, 4)])
    assert b"".join(parts) == b"a\nb\nc\nd\ne\n"


@given(st.lists(ENTRIES | st.just(b""), min_size=1), st.integers(1, 20))
def test_a_list_is_read_in_blocks_with_the_numbers_of_lines(entries: list[bytes], block: int) -> None:
    if any(b"\0" in entry for entry in entries):
        entries = [entry.replace(b"\0", b"0") for entry in entries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            file_lists, "_blocks", lambda path, stopped: _cut(b"".join(each + b"\n" for each in entries), block)
        )
        found = [(at, text) for number, some in entries_in(b"x", b"\n") for at, text in enumerate(some, number)]
    assert found == list(enumerate(entries, 1))


def _cut(content: bytes, block: int) -> list[bytes]:
    return [content[at : at + block] for at in range(0, len(content), block)]


@given(st.integers(0, 9), st.integers(1, 9))
def test_a_NUL_is_named_with_its_line_wherever_blocks_end(before: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_lists, "_blocks", lambda path, stopped: _cut(b"ab\n" * before + b"c\0d\ne\n", block))
        with pytest.raises(BrokenList, match=rf"line {before + 1}: a NUL"):
            list(entries_in(b"x", b"\n"))


@pytest.mark.parametrize("content", ["a", "a\nb"])
def test_the_last_line_must_end(tmp_path: Path, content: str) -> None:
    (tmp_path / "list").write_text(content)
    line = content.count("\n") + 1
    with pytest.raises(BrokenList, match=re.escape(f"line {line}: it ends without a newline")):
        list(entries_in(bytes(tmp_path / "list"), b"\n"))


def test_when_a_list_cannot_be_completed_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("old")

    def pieces() -> object:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file_lists.write(file_lists.place_of(bytes(tmp_path / "list")), pieces())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
    assert (tmp_path / "list").read_text() == "old"
