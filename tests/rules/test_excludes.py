"""Exclude patterns, matched against absolute paths by hpcp's rules."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.rules.excludes import from_lines, matcher, normalise, refusal, unmatched

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
    # a slash at the end: directories only, and this is none
    (b"deep/", b"/s/deep", False),
    # ways to write the same
    (b"./cache", b"/s/cache", True),
    (b"a/./b", b"/s/a/b", True),
    (b"x/../cache", b"/s/cache", True),
    (b"/s/x/../a", b"/s/a", True),
    (b"/s/./a", b"/s/a", True),
    (b"**/a", b"/s/a", True),
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
    assert match(path, False) is excluded


@pytest.mark.parametrize(
    "pattern, normal",
    [
        (b"a", b"*/a"),
        (b"/a", b"/a"),
        (b"*/a", b"*/a"),
        (b"a//b", b"*/a/b"),
        (b"*", b"*/*"),
        (b"a/", b"*/a"),
        (b"/a//", b"/a"),
        (b"a/.", b"*/a"),
        (b"*/", b"*/*"),
    ],
)
def test_a_pattern_without_a_place_may_match_at_any_depth(pattern: bytes, normal: bytes) -> None:
    assert normalise(pattern) == (normal, pattern.endswith((b"/", b"/.")))


def test_without_patterns_nothing_is_asked() -> None:
    assert matcher([]) is None


_TEXT = st.text("ab/*?[]!-.\n\\|(é", max_size=6).map(str.encode)


@given(st.lists(_TEXT, min_size=1, max_size=4), _TEXT)
def test_several_patterns_exclude_what_any_of_them_does(patterns: list[bytes], rest: bytes) -> None:
    path = b"/" + rest
    match = matcher(patterns)
    assert match is not None
    for is_directory in (False, True):
        assert match(path, is_directory) == any(
            fnmatch.fnmatchcase(path, text) and (is_directory or not only) for text, only in map(normalise, patterns)
        )


@pytest.mark.parametrize("pattern", [b"cache/", b"./cache/", b"/s/cache/", b"c*e/", b"cache/."])
def test_a_slash_at_the_end_means_directories(pattern: bytes) -> None:
    match = matcher([pattern])
    assert match is not None
    assert match(b"/s/cache", True)
    assert not match(b"/s/cache", False)
    assert not match(b"/s/cachet", True)


@pytest.mark.parametrize("pattern", [b"", b"/", b"./", b".", b"..", b"../x", b"*/../x", b"/../x", b"a\0b", b"x/.."])
def test_what_can_match_nothing_is_known_in_advance(pattern: bytes) -> None:
    assert refusal(pattern)
    assert not refusal(b"x/../y") and not refusal(b"a..b/...")


def test_a_pattern_that_matched_nothing_is_known_when_all_was_looked_at() -> None:
    match = matcher([b"a*", b"*.tmp", b"cache/", b"gone"])
    assert match is not None
    assert not match(b"/s/cache", False) and not match(b"/s/other", True)
    assert match.matched == 0
    assert match(b"/s/a.tmp", False)  # by two of them
    assert match.matched == 0b0011
    assert match(b"/s/cache", True)
    assert match.matched == 0b0111
    assert unmatched([b"a*", b"*.tmp", b"cache/", b"gone"], 4, match.matched) == [b"gone"]
    assert unmatched([b"a*", b"*.tmp", b"cache/", b"gone"], 3, match.matched) == []  # that one may


@pytest.mark.parametrize(
    "patterns, matched, named",
    [
        ([b"build", b"build/*"], 0b01, []),  # what is in it is never looked at
        ([b"build", b"build/*"], 0b00, [b"build"]),
        ([b"*.tmp", b"x.tmp"], 0b01, []),
        ([b"x.tmp", b"*.tmp"], 0b10, []),
        ([b"cache", b"*/cache", b"./cache"], 0b000, [b"cache"]),  # once is enough
        ([b"cache/", b"cache"], 0b01, [b"cache"]),  # there may be a file that is called so
        ([b"cache", b"cache/"], 0b01, []),
    ],
)
def test_a_pattern_that_another_one_covers_is_not_missed(
    patterns: list[bytes], matched: int, named: list[bytes]
) -> None:
    assert unmatched(patterns, len(patterns), matched) == named


def test_what_an_optional_pattern_that_matched_nothing_covers_is_named() -> None:
    assert unmatched([b"build/*", b"build"], 1, 0) == [b"build/*"]


def test_many_patterns_are_told_apart_quickly() -> None:
    patterns = [b"name%d" % number for number in range(3000)]
    match = matcher(patterns)
    assert match is not None
    assert match(b"/s/name7", False)
    assert unmatched(patterns, 3000, match.matched) == patterns[:7] + patterns[8:]


def test_an_exclude_file_from_windows_means_the_same() -> None:
    assert from_lines(b"\xef\xbb\xbfcache/\r\n# a comment\r\n\r\n*.tmp\r\n") == [b"cache/", b"*.tmp"]
    with pytest.raises(ValueError, match="UTF-16"):
        from_lines("cache\n".encode("utf-16"))


def test_an_exclude_file_has_a_pattern_a_line_with_blank_lines_and_comments() -> None:
    text = b"*.o\n\n  \n# build\n  # indented\n with space \ncore\r\n\xff#not\nlast"
    assert from_lines(text) == [b"*.o", b" with space ", b"core", b"\xff#not", b"last"]
