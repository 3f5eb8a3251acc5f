"""Any two small trees, any options: after a mirror the destination is the source, and what is excluded is untouched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcp_mpi
from hpcp_mpi.host import listing
from hpcp_mpi.operations.remove import empty_directory as emptying
from hpcp_mpi.operations.remove import worker as removing
from hpcp_mpi.operations.scan import link_groups
from hpcp_mpi.operations.scan import worker as exploring
from tests.operations.copy.test_any_tree import LIMITS, OPTIONS
from tests.support import direct, oracle
from tests.support.copies import changed, stages, state
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import build

pytestmark = needs_commands("rsync")

# hpcp's patterns, and which names they mean in these trees.
EXCLUDES: dict[tuple[bytes, ...], tuple[bytes, ...]] = {
    (): (),
    (b"*.x",): (b"d.x",),
    (b"a",): (b"a",),
    (b"b", b".*"): (b"b", b".e"),
}
MIRROR = {"mirror": True, "unmatched_excludes": True}  # some patterns match nothing in some trees
MIRRORS = st.tuples(OPTIONS, st.sampled_from(sorted(EXCLUDES)), st.booleans()).map(
    lambda drawn: {**drawn[0], "excludes": drawn[1], "delete_excluded": drawn[2] and bool(drawn[1]), **MIRROR}
)


Marks = dict[bytes, tuple[int, int, int, int | None]]


def excluded(root: Path, patterns: tuple[bytes, ...]) -> list[bytes]:
    """The entries that are excluded or lie in something excluded."""
    return [path for path in oracle.entries(root) if set(path.split(b"/")) & set(EXCLUDES[patterns])]


def marks(root: Path, paths: Iterable[bytes]) -> Marks:
    """What shows whether entries were touched."""
    found = oracle.lstats(root)
    return {
        path: (info.st_ino, info.st_mode, info.st_mtime_ns, info.st_ctime_ns if info.st_nlink == 1 else None)
        for path, info in ((path, found[path]) for path in paths)
    }


def untouched(root: Path, before: Marks) -> bool:
    """Return whether entries are as they were. Removing a name of a file changes the change time of its others."""
    now = marks(root, before)
    return all(now[path][:3] == was[:3] and was[3] in (None, now[path][3]) for path, was in before.items())


def holders(paths: Iterable[bytes]) -> set[bytes]:
    """The directories that paths lie in."""
    return {path[:at] for path in paths for at in range(len(path)) if path[at : at + 1] == b"/"}


def judge(src: Path, dst: Path, options: dict[str, Any], protected: list[bytes], before: Marks) -> None:
    """The destination is the source, but for what is protected and what holds that."""
    if options["delete_excluded"]:
        assert excluded(dst, options["excludes"]) == []
        protected, before = [], {}
    theirs = {path for path in oracle.entries(src)}
    stray = holders(protected) - theirs
    there_too = excluded(src, options["excludes"])
    oracle.assert_equal_trees(
        src, dst, exclude=[*protected, *there_too, *stray], sparse=options["sparse"] == "auto"
    )  # fmt: skip
    assert untouched(dst, before)
    assert stages(dst) == []


def in_the_way(src: Path, protected: list[bytes], patterns: tuple[bytes, ...]) -> bool:
    """Return whether something protected is in a directory that a file of the source would replace."""
    places = [src / os.fsdecode(path) for path in holders(protected) - set(excluded(src, patterns))]
    return any(os.path.lexists(place) and (place.is_symlink() or not place.is_dir()) for place in places)


def mirrored(src: Path, dst: Path, options: dict[str, Any]) -> None:
    """Say what a mirror would do, do it, and judge; do it again, and nothing is touched."""
    protected = excluded(dst, options["excludes"])
    before, whole = marks(dst, protected), state(dst)
    if in_the_way(src, protected, options["excludes"]) and not options["delete_excluded"]:
        report = direct.copy(src, dst, **options)
        assert report.exit_code == 23
        assert untouched(dst, before)
        return
    dry = direct.copy(src, dst, **{**options, "dry_run": True, "itemize": True})
    assert dry.failures == [] and changed(whole, state(dst)) == set()
    report = direct.copy(src, dst, **{**options, "itemize": True})
    assert report.failures == []
    assert deleted(dry) == deleted(report)
    assert dry.outcome.removed == report.outcome.removed
    assert report.outcome.removed.entries == len(deleted(report))
    judge(src, dst, options, protected, before)
    after = state(dst)
    again = direct.copy(src, dst, **options)
    assert again.failures == [] and changed(after, state(dst)) == set()
    assert again.outcome.removed.entries == again.outcome.copied.entries == again.outcome.updated.entries == 0


def deleted(report: hpcp_mpi.Report) -> list[bytes]:  # type: ignore[name-defined]
    return sorted(path for change, path, _ in report.outcome.items if change.startswith("*deleting"))


@settings(max_examples=many(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), trees(), MIRRORS, MIRRORS, LIMITS, st.sampled_from([50_000, 2]), st.data())
def test_a_mirror_is_its_source(
    tree: Tree,
    other: Tree,
    options: dict[str, Any],
    others: dict[str, Any],
    limits: dict[str, Any],
    held: int,
    data: st.DataObject,
) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as place,
        mock.patch.object(exploring, "_SECONDS", limits["seconds"]),
        mock.patch.object(exploring, "_HUGE", limits["huge"]),
        mock.patch.object(removing, "_SECONDS", limits["seconds"]),
        mock.patch.object(emptying, "_HUGE", held),
        mock.patch.object(listing, "_SLICE", limits["slice"]),
        mock.patch.object(listing, "_MOST_NAMES", limits["names"]),
        mock.patch.object(link_groups, "_MOST_LEADERS", limits["leaders"]),
    ):
        src, dst = Path(place) / "src", Path(place) / "dst"
        build(src, tree)
        os.chmod(src, 0o750)
        build(dst, other)
        mirrored(src, dst, options)
        meddle(data.draw, dst)
        others["sparse"] = options["sparse"]
        mirrored(src, dst, others)
