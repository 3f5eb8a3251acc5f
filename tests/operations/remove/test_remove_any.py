"""Any small tree, any patterns, any number of slots, any limits: what is left is what is excluded and what that is in,
and nothing else in the world is touched.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import latency as gate
from hpcp_mpi.operations.remove import empty_directory as emptying
from hpcp_mpi.operations.remove import rank0 as removals
from hpcp_mpi.operations.remove import worker as removing
from tests.support import direct, oracle
from tests.support.copies import state
from tests.support.effort import many
from tests.support.removing import left_by_rule
from tests.support.small_trees import Tree, trees
from tests.support.trees import Dir, File, Symlink, build

PATTERNS = st.sets(st.sampled_from(["a", "b", "c/a", "*.x", ".e*", "\n", "é", "a/*", "b/*/c", "nowhere"]), max_size=3)
LIMITS = st.fixed_dictionaries(
    {
        (removing, "_SECONDS"): st.sampled_from([0.0, 0.1]),
        (removing, "_DEEP"): st.sampled_from([1, 2, 64]),
        (emptying, "_HUGE"): st.sampled_from([1, 2, 3, 50_000]),
        (emptying, "_HANDED"): st.sampled_from([0, 1, 8]),
        (emptying, "_PASS"): st.sampled_from([-1.0, 5.0]),
        (gate, "SLOW"): st.sampled_from([0.0, 1000.0]),
        (emptying, "_TOGETHER"): st.sampled_from([1, 500]),
        (removals, "_AT_ONCE"): st.sampled_from([1, 1000]),
        (removals, "_TAKEN"): st.sampled_from([1, 100]),
    }
)
SLOTS = st.sampled_from([1, 2, 5])
CHUNKS = st.sampled_from([{}, {"chunk_files": 1, "chunk_size": 1}])


@contextmanager
def limited(limits: dict[tuple[Any, str], Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for (module, name), value in limits.items():
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def built(place: str, tree: Tree) -> Path:
    """A tree to remove, and another beside it that links point to."""
    build(Path(place) / "tree", {**tree, "out": Symlink("../beside"), "out-file": Symlink("../beside/f")})
    build(Path(place) / "beside", {"f": File(b"precious"), "a": Dir({"a": File(b"too")})})
    return Path(place) / "tree"


@settings(max_examples=many(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), PATTERNS, LIMITS, SLOTS, CHUNKS, st.booleans())
def test_what_is_excluded_stays_and_nothing_else(
    tree: Tree, patterns: set[str], limits: dict[Any, Any], slots: int, chunks: dict[str, int], by_name: bool
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place, limited(limits):
        root = built(place, tree)
        before = state(Path(place) / "beside")
        entries = set(oracle.entries(root))
        stay = left_by_rule(root, patterns)
        excludes = tuple(map(os.fsencode, patterns))
        options = {"excludes": excludes, "unmatched_excludes": True, "slots": slots, **chunks}
        # As the root of the work, or as one of many that are removed by name.
        with mock.patch("hpcp_mpi.operations.remove.prepare._PINNED", 0 if by_name else 16):
            would = direct.remove(root, dry_run=True, itemize=True, **options)
            assert set(oracle.entries(root)) == entries
            report = direct.remove(root, itemize=True, **options)
        left = {b"", *oracle.entries(root)} if root.exists() else set()
        assert left == stay
        assert report.failures == [] == would.failures
        assert report.outcome.removed.entries == len({b"", *entries} - stay)
        assert would.outcome.removed == report.outcome.removed and would.outcome.skipped == report.outcome.skipped
        named = {path.rstrip(b"/").removeprefix(b"tree").lstrip(b"/") for _, path, _ in report.outcome.items}
        assert named == {b"", *entries} - stay
        assert sorted(would.outcome.items) == sorted(report.outcome.items)
        assert state(Path(place) / "beside") == before


@settings(max_examples=many(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), LIMITS, SLOTS, st.integers(0, 30))
def test_more_than_max_delete_and_nothing_is_removed(
    tree: Tree, limits: dict[Any, Any], slots: int, allowed: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place, limited(limits):
        root = built(place, tree)
        entries = [b"", *oracle.entries(root)]
        foretold = direct.remove(root, slots=slots, max_delete=allowed, dry_run=True)
        report = direct.remove(root, slots=slots, max_delete=allowed, optional_excludes=(b"nowhere",))
        enough = len(entries) <= allowed
        assert foretold.exit_code == report.exit_code
        assert report.exit_code == (0 if enough else 25)
        assert root.exists() != enough
        assert enough or [b"", *oracle.entries(root)] == entries
        assert report.outcome.removed.entries == (len(entries) if enough else 0)
