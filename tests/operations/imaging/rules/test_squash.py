"""The words for mksquashfs: an exclude pattern means one path only, whatever it is made of; and what its lines mean."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.rules.squash import excluding, is_safe, making, pattern, refused, said
from hpcp_mpi.vocab.errors import UsageError
from tests.support.effort import many

_PATHNAME, _EXTENDED = 1, 32  # FNM_PATHNAME, FNM_EXTMATCH: what mksquashfs compares each component with
NAME = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, ord("/")} & set(name))
SPECIAL = st.text("*?[]!^-\\()|+@. #ab\n", min_size=1, max_size=8).map(str.encode)


def matches(pattern: bytes, name: bytes) -> bool:
    return ctypes.CDLL(None).fnmatch(pattern, name, _PATHNAME | _EXTENDED) == 0


@settings(max_examples=many(600), deadline=None)
@given(NAME | SPECIAL, NAME | SPECIAL)
def test_a_pattern_matches_its_own_name_and_no_other(name: bytes, other: bytes) -> None:
    assert matches(pattern(name), name)
    assert matches(pattern(name), other) == (name == other)


def test_a_pattern_keeps_its_slashes_and_begins_and_ends_with_no_blank_or_comment_sign() -> None:
    assert pattern(b"a/b c/#d") == rb"a/b\ c/\#d"
    assert pattern(b" x") == rb"\ x" and pattern(b"... x") == rb"\.\.\.\ x" and pattern(b"-e") == rb"\-e"


def test_what_a_line_cannot_hold_is_a_word() -> None:
    assert excluding([b"a", b"b\nc", b"d/e"]) == (b"a\nd/e\n", [b"b\\\nc"])


def test_the_users_words_win_and_what_would_end_the_options_is_refused() -> None:
    assert making(3, []) == [
        *("-noappend", "-no-progress", "-quiet", "-reproducible"),
        *("-comp", "zstd", "-Xcompression-level", "3", "-processors", "3", "-wildcards"),
    ]
    assert "zstd" not in making(3, ["-comp", "gzip"]) and making(3, ["-comp", "gzip"])[-3:-1] == ["-comp", "gzip"]
    for word in ("-e", "-ef", "-regex"):
        with pytest.raises(UsageError, match="not said to mksquashfs"):
            making(1, [word, "x"])


def test_what_the_lines_of_mksquashfs_mean() -> None:
    lines = b"Failed to read file a, b, creating empty file\nUnrecognised xattr prefix system.posix_acl_access\n\nX\n"
    assert said(lines) == [
        ("empty", b"a, b"),
        ("acl", b"Unrecognised xattr prefix system.posix_acl_access"),
        ("other", b"X"),
    ]
    assert said(b"Unrecognised xattr prefix system.nfs4_acl")[0].kind == "attribute"


def test_what_an_unsquashfs_could_not_do() -> None:
    lines = (
        b"create_inode: could not create character device i:/n, because you're not superuser!\n"
        b"write_xattr: could not write xattr trusted.x for file i:/a because you're not superuser!\n"
        b"write_xattr: to avoid this error message, either specify -user-xattrs, -no-xattrs, or run as superuser!\n"
        b"Further error messages of this type are suppressed!\nFATAL ERROR: x\n"
    )
    assert [kind for kind, _ in refused(lines)] == ["device", "attribute", "other"]


@pytest.mark.parametrize(
    "version, safe",
    [
        ("unsquashfs version 4.5.1 (2022/03/17)", True),
        ("unsquashfs version 4.6.1 (2023/03/25)", True),
        ("unsquashfs version 5.0 (2025/01/01)", True),
        ("unsquashfs version 4.5 (2021/07/22)", False),
        ("unsquashfs version 4.4 (2019/08/29)", False),
        ("", False),
    ],
)
def test_an_unsquashfs_that_follows_symlinks_of_an_image_is_not_used(version: str, safe: bool) -> None:
    assert is_safe(version) is safe
