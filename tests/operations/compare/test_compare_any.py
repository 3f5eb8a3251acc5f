"""Any two small trees, any way to compare them: the groups are rsync's, and neither tree is touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcp_mpi
from hpcp_mpi.host import listing
from hpcp_mpi.operations.compare import worker as stating
from hpcp_mpi.operations.scan import worker as exploring
from tests.support.comparing import assert_as_rsync_says, compared
from tests.support.copies import changed, state
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import build

pytestmark = needs_commands("rsync")

OPTIONS = st.fixed_dictionaries({
    "parallel_listing": st.booleans(),
    "chunk_size": st.sampled_from([1, 4096, 512 << 20]),
    "chunk_files": st.sampled_from([1, 8000]),
    "hash_size": st.sampled_from([100, 64 << 10, 9 << 20]),
    "full_hash": st.booleans(),
    "slots": st.sampled_from([1, 5]),
})  # fmt: skip


@settings(max_examples=many(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), trees(), st.booleans(), OPTIONS, st.sampled_from([4096, 2]), st.data())
def test_the_groups_are_what_rsync_would_do(
    tree: Tree, other: Tree, copied: bool, options: dict[str, Any], few: int, data: st.DataObject
) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as place,
        mock.patch.object(exploring, "_SECONDS", 0.0 if few == 2 else 0.1),
        mock.patch.object(stating, "_SECONDS", 0.0 if few == 2 else 0.1),
        mock.patch.object(listing, "_SLICE", few),
    ):
        src, dst = Path(place) / "src", Path(place) / "dst"
        build(src, tree)
        if copied:
            hpcp_mpi.copy(src, dst)
            meddle(data.draw, dst)
        else:
            build(dst, other)
            options["full_hash"] = True  # files of one size and time may differ in the middle
        before = state(src), state(dst), sorted(os.listdir(place))
        report = compared(src, dst, **options)
        assert report.failures == []
        assert changed(before[0], state(src)) == changed(before[1], state(dst)) == set()
        assert sorted(os.listdir(place)) == before[2]
        assert_as_rsync_says(report, src, dst)
        assert report.exit_code == (3 if any(report.differences.values()) else 0)  # type: ignore[union-attr]
