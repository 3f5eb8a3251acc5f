"""Where a relative symlink leads, judged by os.path."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.scan.symlinks import climbs, leads, tracked
from hpcp_mpi.vocab.paths import is_within, join

names = st.sampled_from([b"a", b"b", b"c"])
paths = st.lists(names, max_size=4).map(b"/".join)
targets = st.lists(st.sampled_from([b"..", b".", b"a", b"b", b""]), min_size=1, max_size=8).map(b"/".join)


@given(paths, targets)
def test_a_link_leads_where_os_path_says(directory: bytes, target: bytes) -> None:
    root = b"/1/2/3/4/5/6/7/8/9"
    found = leads(directory, target)
    if target.startswith(b"/"):
        assert found is None
        return
    assert found is not None
    up, path = found
    above = root
    for _ in range(up):
        above = os.path.dirname(above)
    assert os.path.normpath(os.path.join(above, path)) == os.path.normpath(os.path.join(root, directory, target))
    assert b".." not in path.split(b"/")


@pytest.mark.parametrize(
    "landed, source_dir, dest_dir, target, inside, anywhere",
    [
        # contents in the destination itself: what is copied with the link, or outside
        (b"", b"d", b"d", b"../f", None, None),
        (b"", b"d", b"d", b"../../f", None, (1, b"f", 1, b"f")),
        # below the destination under its own name
        (b"src", b"", b"src", b"f", None, None),
        (b"src", b"", b"src", b"../f", (0, b"f", 1, b"f"), (0, b"f", 1, b"f")),
        (b"src", b"d", b"src/d", b"../../x/f", (0, b"x/f", 1, b"x/f"), (0, b"x/f", 1, b"x/f")),
        (b"src", b"", b"src", b"../src/f", None, None),
        (b"src", b"", b"src", b"../../f", None, (1, b"f", 2, b"f")),
        (b"src", b"", b"src", b"..", None, None),
        (b"src", b"", b"src", b"../..", None, None),
        (b"src", b"", b"src", b"/etc/passwd", None, None),
        # a single entry: all beside it is left behind
        (None, b"", b"", b"f", (0, b"f", 0, b"f"), (0, b"f", 0, b"f")),
        (None, b"", b"", b"../f", None, (1, b"f", 1, b"f")),
        (None, b"", b"", b".", None, None),
    ],
)  # fmt: skip
def test_which_targets_are_copied_too(
    landed: bytes | None, source_dir: bytes, dest_dir: bytes, target: bytes, inside: object, anywhere: object
) -> None:
    assert tracked(landed, source_dir, dest_dir, target, False) == inside
    assert tracked(landed, source_dir, dest_dir, target, True) == anywhere


@pytest.mark.parametrize(
    "path, directory, below",
    [(b"/a", b"/a", True), (b"/a/b", b"/a", True), (b"/ab", b"/a", False), (b"/a", b"/a/b", False), (b"/a", b"/", True),
     (b"a", b"", True)],
)  # fmt: skip
def test_what_lies_below(path: bytes, directory: bytes, below: bool) -> None:
    assert is_within(path, directory) == below


@given(st.none() | paths, paths, paths, targets, st.booleans())
def test_a_link_that_climbs_no_higher_than_what_is_copied_leads_nowhere_else(
    landed: bytes | None, source_dir: bytes, other: bytes, target: bytes, outside: bool
) -> None:
    for dest_dir in (join(landed or b"", source_dir), other):
        if target.count(b"..") <= climbs(landed, source_dir, dest_dir):
            assert tracked(landed, source_dir, dest_dir, target, outside) is None
