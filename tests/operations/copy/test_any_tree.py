"""Any small tree, any options: the copy is equal, whatever happened to an older one, and a run more changes nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import listing
from hpcp_mpi.operations.scan import link_groups
from hpcp_mpi.operations.scan import worker as exploring
from tests.support import direct, oracle
from tests.support.copies import changed, stages, state
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import build

pytestmark = needs_commands("rsync")

OPTIONS = st.fixed_dictionaries({
    "parallel_listing": st.booleans(),
    "split_size": st.sampled_from([0, 4096, 1 << 30]),
    "chunk_size": st.sampled_from([1, 4096, 512 << 20]),
    "chunk_files": st.sampled_from([1, 3, 8000]),
    "chunk_seconds": st.sampled_from([0.01, 2.0]),
    "hash_size": st.sampled_from([0, 100, 64 << 10, 9 << 20]),
    "full_hash": st.booleans(),
    "slots": st.sampled_from([1, 2, 5]),
    "single": st.sampled_from([False, False, False, True]),
    "reflink": st.sampled_from(["auto", "never"]),
    "sparse": st.sampled_from(["auto", "always", "never"]),
    "excludes": st.sampled_from([(), (b"*.x",)]),
    "itemize": st.booleans(),
})  # fmt: skip


# How soon whoever lists stops, and what is too much for it.
LIMITS = st.fixed_dictionaries({
    "seconds": st.sampled_from([0.1, 0.0]),
    "huge": st.sampled_from([50_000, 4]),
    "slice": st.sampled_from([4096, 2]),
    "names": st.sampled_from([100_000, 2]),
    "leaders": st.sampled_from([50_000, 1]),
})  # fmt: skip


def judge(src: Path, dst: Path, options: dict[str, Any]) -> None:
    excluded = [path for path in oracle.entries(src) if options["excludes"] and path.endswith(b".x")]
    oracle.assert_equal_trees(src, dst, exclude=excluded, sparse=options["sparse"] == "auto")
    assert stages(dst) == []
    assert not any(path.endswith(b".x") for path in oracle.entries(dst) if excluded)


def settled(src: Path, dst: Path, options: dict[str, Any]) -> None:
    """Copy and judge; copy again, and nothing is touched."""
    report = direct.copy(src, dst, **options)
    assert report.failures == []
    judge(src, dst, options)
    before = state(dst)
    again = direct.copy(src, dst, **options)
    assert again.failures == [] and changed(before, state(dst)) == set()
    assert again.outcome.copied.entries == again.outcome.updated.entries == again.outcome.linked == 0


def in_the_way(src: Path, dst: Path) -> bool:
    """Return whether a directory has a counterpart that is none, which a copy replaces only with a backup."""
    directories = (path for path in src.rglob("*") if path.is_dir() and not path.is_symlink())
    places = [dst / path.relative_to(src) for path in directories]
    return any(os.path.lexists(place) and (place.is_symlink() or not place.is_dir()) for place in places)


@settings(max_examples=many(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), OPTIONS, OPTIONS, LIMITS, st.data())
def test_a_copy_is_equal_and_becomes_equal_again(
    tree: Tree, options: dict[str, Any], others: dict[str, Any], limits: dict[str, Any], data: st.DataObject
) -> None:
    others["excludes"] = options["excludes"]
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as place,
        mock.patch.object(exploring, "_SECONDS", limits["seconds"]),
        mock.patch.object(exploring, "_HUGE", limits["huge"]),
        mock.patch.object(listing, "_SLICE", limits["slice"]),
        mock.patch.object(listing, "_MOST_NAMES", limits["names"]),
        mock.patch.object(link_groups, "_MOST_LEADERS", limits["leaders"]),
    ):
        src, dst = Path(place) / "src", Path(place) / "dst"
        build(src, tree)
        os.chmod(src, 0o750)
        settled(src, dst, options)
        meddle(data.draw, dst)
        others["sparse"] = options["sparse"]
        if in_the_way(src, dst):
            others["backup_dir"] = os.fsencode(f"{place}/backup")
        settled(src, dst, others)
