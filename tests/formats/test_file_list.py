"""The format of file lists and their order."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcp_mpi.formats.file_list import Entry, Type, needs_escapes, read, relative, written
from hpcp_mpi.formats.natural_order import in_order, key_of, key_of_name
from hpcp_mpi.vocab.request import Style

COMPONENT = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, ord("/")} & set(name)) | st.text(
    "aAbB019.-_: \\ßÉéΣσς", min_size=1, max_size=6
).map(str.encode)
COMPONENT = COMPONENT.filter(lambda name: name not in (b".", b".."))
PATH = st.lists(COMPONENT, min_size=1, max_size=4).map(b"/".join)
TARGET = st.binary(min_size=1, max_size=20).filter(lambda target: 0 not in target)
HASH = st.just(b"") | st.integers(0, 2**64 - 1).map(lambda number: b"%016x" % number)
KIND = st.sampled_from([b"fifo", b"socket", b"char 1,3", b"block 259,1048575"])
ENTRIES = st.one_of(
    st.builds(Entry, PATH, st.just(Type.FILE), HASH),
    st.builds(Entry, st.just(b"") | PATH, st.just(Type.DIRECTORY), st.just(b"")),
    st.builds(Entry, PATH, st.just(Type.LINK), TARGET | HASH.filter(bool) | KIND.map(lambda kind: b"=" + kind)),
    st.builds(Entry, PATH, st.just(Type.OTHER), KIND),
)


@given(ENTRIES)
def test_every_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert read(written(entry, Style.HASHES), Style.HASHES) == entry


@given(ENTRIES, st.sampled_from([Style.NAMES, Style.NUL]))
def test_every_name_is_read_as_it_was_written_without_hashes(entry: Entry, style: Style) -> None:
    again = read(written(entry, style), style)
    assert again.name == entry.name
    if style is Style.NAMES:
        assert (again.type is Type.DIRECTORY) == (entry.type is Type.DIRECTORY)


@given(ENTRIES, st.sampled_from([Style.HASHES, Style.NAMES]))
def test_a_line_is_one_line_of_printable_text(entry: Entry, style: Style) -> None:
    assert written(entry, style).decode("utf-8").isprintable()


@given(ENTRIES, ENTRIES)
def test_no_two_entries_share_a_line(one: Entry, other: Entry) -> None:
    assert one == other or written(one, Style.HASHES) != written(other, Style.HASHES)


@given(st.lists(PATH))
def test_a_name_that_needs_no_escapes_is_written_as_it_is(paths: list[bytes]) -> None:
    for path in paths:
        as_it_is = written(Entry(path, Type.UNKNOWN), Style.NAMES) == path
        assert as_it_is == (not needs_escapes(path.decode("utf-8", "surrogateescape")))


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (b"./", Entry(b"", Type.DIRECTORY)),
        (b"sub/", Entry(b"sub", Type.DIRECTORY)),
        (b"sub/b.txt:afc37974405adf22", Entry(b"sub/b.txt", Type.FILE, b"afc37974405adf22")),
        (b"b.txt:", Entry(b"b.txt", Type.FILE)),
        (b"ln:a.txt", Entry(b"ln", Type.LINK, b"a.txt")),
        (b"10\\:30.log:", Entry(b"10:30.log", Type.FILE)),
        (b"ln:\\x61fc37974405adf22", Entry(b"ln", Type.LINK, b"afc37974405adf22")),
        (b" edge :", Entry(b" edge ", Type.FILE)),
        (b"name", Entry(b"name", Type.UNKNOWN)),
        (b"p:=fifo", Entry(b"p", Type.OTHER, b"fifo")),
        (b"f:" + b"0" * 128, Entry(b"f", Type.FILE, b"0" * 128)),
    ],
)
def test_what_lines_mean(line: bytes, entry: Entry) -> None:
    assert read(line, Style.HASHES) == entry


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "no name"),
        (b":afc37974405adf22", "no name"),
        (b"a\\q:", "unknown escape at column 2"),
        (b"a\\", "unknown escape"),
        (b"a\\x00:", "NUL"),
        (b"10:30.log:", "second `:`"),
        (b"ln:a\\\\:b", "second `:`"),
        (b"d/:afc37974405adf22", "directory with a hash"),
        (b"p:=pipe", "unknown kind"),
    ],
)
def test_what_lines_do_not_mean_anything(line: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read(line, Style.HASHES)


def test_a_colon_is_part_of_a_plain_name() -> None:
    assert read(b"10:30.log", Style.NAMES).name == read(b"10:30.log", Style.NUL).name == b"10:30.log"


@pytest.mark.parametrize(
    ("name", "path"),
    [(b"a", b"a"), (b"./a//b/.", b"a/b"), (b".", b""), (b"a/", b"a"), (b"..a/b..", b"..a/b.."), (b"...", b"...")],
)
def test_a_name_means_a_path_below_the_root(name: bytes, path: bytes) -> None:
    assert relative(name) == path


@pytest.mark.parametrize("name", [b"/a", b"/", b"..", b"a/../b", b"a/.."])
def test_a_name_never_leads_out_of_the_root(name: bytes) -> None:
    with pytest.raises(ValueError, match=r"absolute|\.\."):
        relative(name)


# --- order


def _independent(name: bytes) -> list[tuple[int, str] | tuple[str, int]]:
    """Python's usual key: text and numbers in turn."""
    parts = re.split(r"([0-9]+)", name.decode())
    return [int(part) if at % 2 else part.lower() for at, part in enumerate(parts)]  # type: ignore[misc]


SIMPLE = st.text("aAbB0129.-_ ß", min_size=1, max_size=6).map(str.encode)


@given(st.lists(SIMPLE, unique=True))
@example([b"a", b"a1", b"a-", b"ab", b"a10", b"a2", b"A3", b"a02", b"10", b"9"])
@example([b"%03d" % number for number in range(100, 0, -1)])
@example([b"%d" % number for number in range(100, 0, -1)])
def test_numbers_count_as_numbers_and_case_does_not_count(names: list[bytes]) -> None:
    assert in_order(names) == sorted(names, key=lambda name: (_independent(name), name))


@given(st.lists(COMPONENT, unique=True), st.integers(0, 5))
def test_the_order_is_that_of_the_keys(names: list[bytes], directories: int) -> None:
    names = [name + b"/" if at < directories else name for at, name in enumerate(names)]
    assert in_order(names) == sorted(names, key=key_of_name)


@given(st.lists(PATH, unique=True), st.sampled_from([b"d", b"D1", b"d01"]), PATH)
def test_what_a_directory_holds_follows_it_and_nothing_else_does(paths: list[bytes], name: bytes, other: bytes) -> None:
    key = key_of(name, directory=True)
    assert all(key_of(name + b"/" + path, False).startswith(key) for path in paths)
    below = other.startswith(name + b"/")
    assert key_of(other, False).startswith(key) == below
    assert key_of(b"", True) == b""


@pytest.mark.parametrize("digits", [1, 254, 255, 256, 300])
def test_numbers_of_any_length_are_compared(digits: int) -> None:
    names = [b"9" * digits, b"1" + b"0" * digits, b"0" * 400 + b"1"]
    assert in_order(names) == [names[2], names[0], names[1]]
