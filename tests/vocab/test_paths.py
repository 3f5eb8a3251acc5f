"""Names are bytes; the printable form is one line of text and means exactly one name."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcp_mpi.vocab.paths import child_path, first_few, in_one_line, is_within, join, printable, relative_to, unescape

ANY_NAME = st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))


@given(ANY_NAME)
@example(b"back\\slash \\x41 \\n")
@example("no\u2028line \u202e\x7f\x85".encode())
@example(b"\xff\xc3\xa4\xed\xa0\x80")
def test_a_shown_name_is_one_printable_line_of_utf_8_that_reads_back_as_the_name(name: bytes) -> None:
    text = printable(name)
    assert text.isprintable()
    assert text.splitlines() in ([text], [])
    assert text.encode("utf-8").decode("utf-8") == text
    assert unescape(text) == name


@given(ANY_NAME, ANY_NAME)
def test_two_names_are_never_shown_alike(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) == (one == other)


@pytest.mark.parametrize(
    "name, text",
    [
        (b"plain [1] 'x' \"y\"", "plain [1] 'x' \"y\""),
        ("größe 日本".encode(), "größe 日本"),
        (b"a\nb\tc\\d\re", r"a\nb\tc\\d\x0de"),
        (b"latin-1 \xe4!", r"latin-1 \xe4!"),
        ("nbsp\u00a0".encode(), r"nbsp\xc2\xa0"),
        (b"", ""),
    ],
)
def test_what_is_not_printable_text_is_shown_as_escapes(name: bytes, text: str) -> None:
    assert printable(name) == text


@pytest.mark.parametrize("text, name", [(r"a\:b", b"a:b"), (r"\x3A\x3a", b"::"), ("ä\udcff", b"\xc3\xa4\xff")])
def test_escapes_that_only_lists_use_are_read_too(text: str, name: bytes) -> None:
    assert unescape(text) == name


@pytest.mark.parametrize("text, column", [(r"ab\q", 3), (r"\x4", 1), (r"\xgg", 1), ("end\\", 4)])
def test_an_unknown_escape_is_refused_with_its_column(text: str, column: int) -> None:
    with pytest.raises(ValueError, match=f"column {column}:"):
        unescape(text)


@pytest.mark.parametrize(
    "parts, path",
    [((b"", b"a"), b"a"), ((b"a", b"b", b"c"), b"a/b/c"), ((b"a", b""), b"a"), ((b"", b""), b"")],
)
def test_joining_relative_paths_leaves_empty_parts_out(parts: tuple[bytes, ...], path: bytes) -> None:
    assert join(*parts) == path


@pytest.mark.parametrize(
    "directory, name, path",
    [(b"/", b"a", b"/a"), (b"/d", b"a/b", b"/d/a/b"), (b"/d", b"", b"/d"), (b"/", b"", b"/"), (b"/d/", b"a", b"/d/a")],
)
def test_a_name_below_an_absolute_directory(directory: bytes, name: bytes, path: bytes) -> None:
    assert child_path(directory, name) == path


@pytest.mark.parametrize(
    "path, directory, below",
    [
        (b"/a/b/c", b"/a", b"b/c"),
        (b"/a", b"/a", b""),
        (b"/ab", b"/a", None),
        (b"/", b"/a", None),
        (b"/a", b"/", b"a"),
        (b"/", b"/", b""),
        (b"/a/b", b"/a/", b"b"),
        (b"a/b", b"a", b"b"),
        (b"a/b", b"", b"a/b"),
        (b"", b"", b""),
        (b"", b"a", None),
    ],
)
def test_a_path_is_within_a_directory_or_it_is_not(path: bytes, directory: bytes, below: bytes | None) -> None:
    assert relative_to(path, directory) == below
    assert is_within(path, directory) == (below is not None)


def test_of_many_names_the_first_are_told_and_the_others_counted() -> None:
    assert first_few([b"a", b"b\n"], 2) == "a, b\\n"
    assert first_few([b"a"] * 1234, 2, between=" ") == "a a and 1,232 more"


def test_a_text_of_others_is_one_line_that_a_terminal_only_shows() -> None:
    text = "a\x1b[31m\r\nb\u202ec\x9b\udcff\ud800 ä \\x1b"
    assert in_one_line(text) == "a\\x1b[31m\\x0d\\nb\\xe2\\x80\\xaec\\xc2\\x9b\\xff\\xed\\xa0\\x80 ä \\x1b"
    assert in_one_line("cannot open: ä (\\xff)") == "cannot open: ä (\\xff)", "what is printable stays"
