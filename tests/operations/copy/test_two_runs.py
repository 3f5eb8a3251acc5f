"""Two runs into one destination: what one of them finds missing, the other may have made when it gets its name.

The other run's directory is made at that very moment. Then both are merged, as if it had been there from the start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.operations.copy import worker as copying
from hpcp_mpi.operations.copy.publishing import publish_units
from tests.support import direct, oracle
from tests.support.copies import stages
from tests.support.trees import Dir, File, HardLink, Symlink, build

T = 1_600_000_000 * 10**9
DEEP = Dir({"a": File(b"a", mtime_ns=T), "b": File(b"b", mtime_ns=T)}, mode=0o750, mtime_ns=T)
TREE = {
    "d": Dir(
        {"deep": DEEP, "f": File(b"f", mtime_ns=T), "g": HardLink("d/f"), "l": Symlink("f", mtime_ns=T)}, mtime_ns=T
    )
}


@pytest.mark.parametrize("options", [{}, {"verify": True}, {"parallel_listing": True}, {"mirror": True}])
@pytest.mark.parametrize(
    "there", [{"deep": Dir({"a": File(b"old")})}, {"f": File(b"f", mtime_ns=T)}, {"deep": File(b"x")}]
)
def test_a_directory_that_came_meanwhile_is_merged(
    there: dict[str, Any], options: dict[str, Any], on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, TREE)
    came: list[bytes] = []

    def publish(context: Any, batch: Any, units: Any, *rest: Any) -> None:
        if b"d" in units.targets and not came:
            came.append(b"d")
            (dst / "d").mkdir()
            build(dst / "d", there)
        publish_units(context, batch, units, *rest)

    monkeypatch.setattr(copying, "publish_units", publish)
    report = direct.copy(src, dst, **options)
    assert came
    kept = isinstance(there.get("deep"), File) and not options.get("mirror")
    if kept:  # a directory does not replace what is none
        assert {failure.path for failure in report.failures} == {os.fsencode(src / "d/deep")}
        return
    assert report.failures == []
    oracle.assert_equal_trees(src, dst)
    assert stages(dst) == [] and report.scanned.entries == 8
    done = report.outcome.copied.plus(report.outcome.skipped).plus(report.outcome.updated)
    assert done == report.scanned
