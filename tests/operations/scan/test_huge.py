"""Directories too big to hold are listed in slices, by rank 0 alone: nothing is lost or told twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcp_mpi.host import listing
from hpcp_mpi.operations.scan import worker as exploring
from tests.support import direct, oracle
from tests.support.copies import changed, state
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, HardLink, Name, Node, Socket, Symlink, build

pytestmark = needs_commands("rsync")
LISTINGS = pytest.mark.parametrize("parallel", [False, True], ids=["rank-0-lists", "all-list"])


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploring, "_HUGE", 8)
    monkeypatch.setattr(listing, "_SLICE", 3)
    monkeypatch.setattr(listing, "_MOST_NAMES", 5)


def many(count: int = 40) -> dict[Name, Node]:
    entries: dict[Name, Node] = {f"f{i}": File(b"%d" % i) for i in range(count)}
    entries |= {f".hidden{i}": File(b"h") for i in range(5)}
    entries |= {f"d{i}": Dir({"f": File(b"f")}) for i in range(5)}
    return {**entries, "socket": Socket(), "link": Symlink("f1"), b"\xff": File(b"odd")}


def forest() -> dict[Name, Node]:
    """One in the root of what is new, one that is alone in its directory, one beside others, one in another."""
    return {
        "alone": Dir({"huge": Dir(many())}, mtime_ns=5),
        "beside": Dir({"huge": Dir(many()), "small": Dir({"f": File(b"f")}), "f": File(b"f")}, mode=0o711),
        "outer": Dir({**many(), "inner": Dir(many(), mtime_ns=6)}, mtime_ns=7),
        "x": Dir({"twin": HardLink("alone/huge/f3")}),
        "y": Dir({"twin": HardLink("alone/huge/f3"), "other": HardLink("beside/huge/f3")}),
    }


def copied(src: Path, dst: Path, *, sockets: list[str], **options: object) -> None:
    """Copy, judge what is there and what is told; copy again, and nothing is touched."""
    report = direct.copy(src, dst, **options)
    assert report.failures == []
    oracle.assert_equal_trees(src, dst, sockets=False)
    done = report.outcome.copied.plus(report.outcome.skipped).plus(report.outcome.updated)
    assert done.entries == report.scanned.entries or options.get("directory_sync") is False
    kinds = oracle.lstats(src)
    assert report.scanned.entries == len(kinds) - len(sockets)
    assert sorted(os.fsdecode(path) for path, _ in report.outcome.notes) == sorted(f"{src}/{each}" for each in sockets)
    before = state(dst)
    again = direct.copy(src, dst, **options)
    assert again.outcome.copied.entries == again.outcome.updated.entries == 0
    assert again.scanned.entries == report.scanned.entries
    assert changed(before, state(dst)) == set()


@LISTINGS
@pytest.mark.parametrize("chunk", [{}, {"chunk_size": 1, "chunk_files": 1}], ids=["chunks", "tiny-chunks"])
def test_huge_directories_come_out_right(chunk: dict[str, int], parallel: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, forest())
    sockets = ["alone/huge/socket", "beside/huge/socket", "outer/socket", "outer/inner/socket"]
    copied(src, dst, sockets=sockets, parallel_listing=parallel, **chunk)


@LISTINGS
def test_a_root_that_is_huge_is_counted_once(parallel: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, many())
    copied(src, dst, sockets=["socket"], parallel_listing=parallel)


@LISTINGS
def test_changes_in_huge_directories_are_found(parallel: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, forest())
    direct.copy(src, dst)
    outer = dst / "outer"
    (outer / "f1").unlink()
    (outer / "f2").write_bytes(b"other content")
    (outer / "f3").chmod(0o600)
    (outer / "d1/f").unlink()
    (outer / "d1").rmdir()
    (outer / "d1").symlink_to("elsewhere")
    (outer / "inner/.hidden1").unlink()
    report = direct.copy(src, dst, parallel_listing=parallel, backup_dir=os.fsencode(on_tmpfs / "backup"))
    assert report.failures == []
    oracle.assert_equal_trees(src, dst, sockets=False)
    assert report.outcome.removed.links == 1
    assert report.outcome.copied.entries == 5 and report.outcome.updated.files == 1


@LISTINGS
def test_stages_of_killed_runs_are_found_among_many_names(parallel: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir(many())})
    build(
        dst,
        {
            "d": Dir(
                {**{f"z{i}": File() for i in range(20)}, ".hpcp-mpi.deadbeef.1.1": Dir({"f": File(b"f")}, mode=0o1700)}
            )
        },
    )
    direct.copy(src, dst, parallel_listing=parallel)
    assert not (dst / "d/.hpcp-mpi.deadbeef.1.1").exists()
    assert {name for name in os.listdir(dst / "d") if name[0] != "z"} == set(os.listdir(src / "d")) - {"socket"}


@LISTINGS
def test_stages_and_what_is_excluded_are_not_copied(parallel: bool, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    extra: dict[Name, Node] = {".hpcp-mpi.deadbeef.1.1": Dir({"f": File()}, mode=0o1700), "no.tmp": File()}
    only_called_so = {".hpcp-mpi.x.1.1": Dir({"f": File()}), ".hpcp-mpi.file": File(b"f")}
    build(src, {"d": Dir({**many(), **extra, **only_called_so, "dir.tmp": Dir({"f": File()})})})
    report = direct.copy(src, dst, parallel_listing=parallel, excludes=(b"*.tmp", b"f7"))
    assert report.failures == []
    wanted = set(os.listdir(src / "d")) - {*extra, "dir.tmp", "f7", "socket"}
    assert set(os.listdir(dst / "d")) == wanted
    noted = {os.path.basename(os.fsdecode(path)) for path, _ in report.outcome.notes}
    assert noted == {"socket", ".hpcp-mpi.deadbeef.1.1"} and len(report.outcome.notes) == 2
