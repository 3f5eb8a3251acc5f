"""Exclude patterns, matched against absolute paths by hpcp's rules."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.rules.excludes import from_lines, matcher, normalise

EXAMPLES = [
    # a plain name: any entry that is called so, at any depth
    (b"cache", b"/s/cache", True),
    (b"cache", b"/s/a/b/cache", True),
    (b"cache", b"/s/cache2", False),
    (b"cache", b"/s/mycache", False),
    (b"cache", b"/s/cache/inner", False),  # never asked: a directory that matches is not entered
    # from a component's beginning to the end of the path, and * matches / too
    (b"cache*", b"/s/cache2", True),
    (b"cache*", b"/s/cache.d/x/y", True),
    (b"cache*", b"/s/mycache", False),
    (b"*.log", b"/s/run.log", True),
    (b"*.log", b"/s/deep/er/run.log", True),
    (b"*.log", b"/s/run.log.gz", False),
    (b"sub/cache", b"/s/sub/cache", True),
    (b"sub/cache", b"/s/x/sub/cache", True),
    (b"sub/cache", b"/s/other/cache", False),
    # the entries of a directory, but not the directory
    (b"*/cache/*", b"/s/cache/x", True),
    (b"*/cache/*", b"/s/cache/x/y", True),
    (b"*/cache/*", b"/s/cache", False),
    # entries are never listed with a slash
    (b"deep/", b"/s/deep", False),
    # absolute
    (b"/s/a", b"/s/a", True),
    (b"/s/a", b"/x/s/a", False),
    (b"/s/*.tmp", b"/s/deep/x.tmp", True),
    (b"//s//a", b"/s/a", True),
    # case, classes and single characters as fnmatch has them
    (b"Cache", b"/s/cache", False),
    (b"core.[0-9]", b"/s/core.7", True),
    (b"core.[!0-9]", b"/s/core.7", False),
    (b"?", b"/s/x", True),
    (b"?", b"/s/xy", False),
    # names are bytes
    (b"\xff*", b"/s/\xff\xfe", True),
    (b"a\nb", b"/s/a\nb", True),
    (b"*.log", b"/s/new\nline.log", True),
    ("ä".encode(), "/s/ä".encode(), True),
]


@pytest.mark.parametrize("pattern, path, excluded", EXAMPLES)
def test_a_pattern_matches_the_paths_that_it_does_in_hpcp(pattern: bytes, path: bytes, excluded: bool) -> None:
    match = matcher([pattern])
    assert match is not None
    assert match(path) is excluded


@pytest.mark.parametrize(
    "pattern, normal", [(b"a", b"*/a"), (b"/a", b"/a"), (b"*/a", b"*/a"), (b"a//b", b"*/a/b"), (b"*", b"*/*")]
)
def test_a_pattern_without_a_place_may_match_at_any_depth(pattern: bytes, normal: bytes) -> None:
    assert normalise(pattern) == normal


def test_without_patterns_nothing_is_asked() -> None:
    assert matcher([]) is None


_TEXT = st.text("ab/*?[]!-.\n\\|(é", max_size=6).map(str.encode)


@given(st.lists(_TEXT, min_size=1, max_size=4), _TEXT)
def test_several_patterns_exclude_what_any_of_them_does(patterns: list[bytes], rest: bytes) -> None:
    path = b"/" + rest
    match = matcher(patterns)
    assert match is not None
    assert match(path) == any(fnmatch.fnmatchcase(path, normalise(pattern)) for pattern in patterns)


def test_an_exclude_file_has_a_pattern_a_line_with_blank_lines_and_comments() -> None:
    text = b"*.o\n\n  \n# build\n  # indented\n with space \ncore\r\n\xff#not\nlast"
    assert from_lines(text) == [b"*.o", b" with space ", b"core", b"\xff#not", b"last"]
