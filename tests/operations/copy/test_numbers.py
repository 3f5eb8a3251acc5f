"""The numbers of a run add up: what was found is copied, or got metadata only, or is identical, or is left.

Counted from outside too: what is left is what is not at the destination.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, Tally
from tests.support import direct, faultfs
from tests.support.copies import copy
from tests.support.effort import many
from tests.support.marks import needs_fuse
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import Dir, File, HardLink, Node, Symlink, build

T = 1_600_000_000 * 10**9
TREE: dict[str, Node] = {
    "a": File(b"a" * 100, mtime_ns=T),
    "same": HardLink("a"),
    "link": Symlink("a", mtime_ns=T),
    "dir": Dir({"b": File(b"b" * 10, mtime_ns=T), "deep": Dir({"c": File(b"c", mtime_ns=T)}, mtime_ns=T)}, mtime_ns=T),
    "empty": Dir({}, mtime_ns=T),
}


def entries(root: Path) -> int:
    return 1 + sum(len(files) + len(directories) for _, directories, files in os.walk(root))


def add_up(report: Report, left: Tally = NOTHING) -> None:
    """Without any clipping: nothing is counted twice, and nothing is forgotten."""
    done = report.outcome
    assert report.scanned.minus(done.copied).minus(done.updated).minus(done.skipped) == left == report.undone


@settings(max_examples=many(18), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), st.data())
def test_the_numbers_of_any_copy_add_up(tree: Tree, data: st.DataObject) -> None:
    options: dict[str, Any] = {
        "parallel_listing": data.draw(st.booleans()),
        "split_size": data.draw(st.sampled_from([0, 4096])),
        "chunk_size": data.draw(st.sampled_from([1, 512 << 20])),
        "hash_size": data.draw(st.sampled_from([0, 64 << 10])),
        "excludes": data.draw(st.sampled_from([(), (b"*.x",)])),
        "directory_sync": data.draw(st.sampled_from([True, True, False])),
        "verify": data.draw(st.booleans()),
    }
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        src, dst = Path(place) / "src", Path(place) / "dst"
        build(src, tree)
        whole = entries(src) if not options["excludes"] else None
        for how in ({"dry_run": True}, {}, {}, {"meddle": True}, {"mirror": True}, {"move": True}):
            meddled = how.pop("meddle", False)
            if meddled:
                meddle(data.draw, dst)
            report = direct.copy(src, dst, **options, **how)
            assert meddled or report.failures == [], how  # a directory does not replace what is none
            add_up(report, report.undone)
            assert bool(report.failed) == bool(report.failures) and not report.left, how
            refused = [each for each in report.failures if "cannot be made" in each.reason]  # with all below them
            assert whole in (None, report.scanned.entries) or (refused and report.scanned.entries < whole), how


@pytest.mark.parametrize("parallel", [False, True])
def test_what_two_sources_have_is_counted_for_each(parallel: bool, on_tmpfs: Path) -> None:
    build(on_tmpfs / "one", TREE)
    build(on_tmpfs / "two", {"dir": Dir({"other": File(b"o", mtime_ns=T)}, mtime_ns=T), "z": File(b"z", mtime_ns=T)})
    sources = [f"{on_tmpfs}/one/", f"{on_tmpfs}/two/"]
    for _ in range(2):
        report = direct.copy(sources, on_tmpfs / "dst", parallel_listing=parallel)
        assert report.scanned.entries == entries(on_tmpfs / "one") + entries(on_tmpfs / "two")
        add_up(report)


def test_several_destinations(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    for _ in range(2):
        report = direct.copy(on_tmpfs / "src", [on_tmpfs / "d1", on_tmpfs / "d2"])
        assert report.scanned.entries == entries(on_tmpfs / "src")
        add_up(report)


@pytest.mark.parametrize("names", ["a\ndir/b\n", ".\ndir\nlink\n", "dir/deep/c\nsame\na\n"])
def test_what_a_list_names(names: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    (on_tmpfs / "list").write_text(names)
    for left_out in (True, False):
        report = copy("-nhfl", "-sfl", on_tmpfs / "list", on_tmpfs / "src", "-d", on_tmpfs / "dst").report
        kinds = ("files", "directories", "links", "other", "bytes")
        done = [[report[name][kind] for kind in kinds] for name in ("copied", "metadata_only", "identical")]
        assert [sum(some) for some in zip(*done, strict=True)] == [report["found"][kind] for kind in kinds], left_out
        assert not any((*report["failed"].values(), *report["left"].values()))


def test_one_file_and_a_directory_that_is_in_the_way(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    add_up(direct.copy(on_tmpfs / "src/a", on_tmpfs / "new"))
    build(on_tmpfs / "dst", {"a": Dir({"in": File(b"the way")})})
    report = direct.copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert len(report.failures) == 1
    assert report.failed.entries == 1 and report.failed.files == 1


@needs_fuse
@pytest.mark.parametrize("parallel", [False, True])
def test_what_failed_is_left_and_named(parallel: bool, on_tmpfs: Path) -> None:
    build(
        on_tmpfs / "src", {f"f{n}": File(b"x" * n, mtime_ns=T) for n in range(1, 9)} | {"d": Dir({"f9": File(b"nine")})}
    )
    with faultfs.mounted(on_tmpfs / "src", eio_read="f3") as src:
        for _ in range(2):
            report = direct.copy(src, on_tmpfs / "dst", parallel_listing=parallel)
            assert [failure.path for failure in report.failures] == [os.fsencode(src / "f3")]
            add_up(report, Tally(files=1, bytes=3))
