"""With -hs 0 a source that was not changed since its copy was made is not even asked for attributes; any other is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.host import listing
from tests.support import direct, oracle
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, build, encode_acl

pytestmark = needs_commands("rsync")
LISTINGS = pytest.mark.parametrize("parallel", [False, True], ids=["rank-0-lists", "all-list"])
ACL = encode_acl("u::rw-,u:65534:r--,g::r--,m::r--,o::r--")
T = 1_600_000_000 * 10**9

CHANGES: dict[str, Callable[[Path], None]] = {
    "xattr": lambda path: os.setxattr(path, "user.a", b"b"),
    "acl": lambda path: os.setxattr(path, "system.posix_acl_access", ACL),
}


@pytest.fixture
def pair(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A tree and its copy, as if it had been made long ago: all clocks agree."""
    monkeypatch.setattr(listing, "CLOCKS_NS", 0)
    build(on_tmpfs / "src", {"d": Dir({name: File(b"same", mtime_ns=T) for name in ("f", "g", "h")})})
    direct.copy(on_tmpfs / "src", on_tmpfs / "dst")
    return on_tmpfs / "src", on_tmpfs / "dst"


@LISTINGS
@pytest.mark.parametrize("change", CHANGES)
def test_attributes_of_a_source_that_was_changed_since_are_given_to_the_copy(
    change: str, parallel: bool, pair: tuple[Path, Path]
) -> None:
    CHANGES[change](pair[0] / "d/f")
    report = direct.copy(*pair, hash_size=0, parallel_listing=parallel)
    assert (report.outcome.updated.files, report.outcome.skipped.files) == (1, 2)
    oracle.assert_equal_trees(*pair)


@LISTINGS
@pytest.mark.parametrize("change", CHANGES)
def test_what_only_a_copy_got_since_goes_where_content_is_compared(
    change: str, parallel: bool, pair: tuple[Path, Path]
) -> None:
    CHANGES[change](pair[1] / "d/f")
    report = direct.copy(*pair, parallel_listing=parallel)
    assert (report.outcome.updated.files, report.outcome.skipped.files) == (1, 2)
    oracle.assert_equal_trees(*pair)


@LISTINGS
def test_what_is_not_asked_is_counted_as_identical(parallel: bool, pair: tuple[Path, Path]) -> None:
    report = direct.copy(*pair, hash_size=0, parallel_listing=parallel)
    assert (report.scanned.files, report.outcome.skipped.files, report.outcome.skipped.bytes) == (3, 3, 12)
