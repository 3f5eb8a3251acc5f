"""What -dfl and -tdfl write turns one tree into the other, in the hands of programs that know nothing of the tool."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcp_mpi
from tests.support import oracle
from tests.support.comparing import compared
from tests.support.copies import run
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.small_trees import Tree, meddle, trees
from tests.support.torture import NAMES
from tests.support.trees import Dir, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync", "tar")

APPLY = Path(__file__).with_name("apply_changes.py")
T = 1_600_000_000 * 10**9
OPTIONS = st.fixed_dictionaries({
    "parallel_listing": st.booleans(),
    "chunk_size": st.sampled_from([1, 512 << 20]),
    "chunk_files": st.sampled_from([1, 8000]),
})  # fmt: skip
TAR = ["--xattrs", "--xattrs-include=*", "--acls"]


@contextmanager
def pair(tree: Tree, other: Tree, copied: bool, data: st.DataObject) -> Iterator[tuple[Path, Path, Path]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        new, old = Path(place) / "new", Path(place) / "old"
        build(new, tree)
        if copied:
            hpcp_mpi.copy(new, old)
            meddle(data.draw, old)
        else:
            build(old, other)
        yield new, old, Path(place) / "changes"


def assert_equal_but_for_links(new: Path, old: Path, *options: str) -> None:
    command = ["rsync", "-aAX", "--numeric-ids", "--checksum", "-n", "-i", *options, f"{new}/", f"{old}/"]
    assert run(command) == ""


@settings(max_examples=many(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), trees(), st.booleans(), OPTIONS, st.data())
def test_a_table_of_changes_applied_by_a_script_makes_one_tree_the_other(
    tree: Tree, other: Tree, copied: bool, options: dict[str, Any], data: st.DataObject
) -> None:
    with pair(tree, other, copied, data) as (new, old, table):
        assert compared(new, old, to=table, full_hash=True, **options).failures == []
        subprocess.run([sys.executable, APPLY, table, new, old], check=True)
        assert_equal_but_for_links(new, old, "--delete")
        assert oracle.lstat_differences(new, old) == []


def extract(new: Path, old: Path, names: Path, *options: str) -> None:
    archive = names.with_name("archive.tar")
    making = ["tar", "-C", new, *TAR, "--format=posix", "-S", "--no-recursion", *options, "-cf", archive, "-T", names]
    run([*making])
    run(["tar", "-C", old, *TAR, "-xpf", archive])


def _as_tar_can_have_it(place: Path) -> None:
    """tar takes no attributes away from a directory, and none of the setgid that a new one inherits."""
    if place.is_dir() and not place.is_symlink():
        place.chmod(place.stat().st_mode & 0o777)
        for key in os.listxattr(place):
            os.removexattr(place, key)


@settings(max_examples=many(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), trees(), st.booleans(), st.booleans(), OPTIONS, st.data())
def test_an_archive_of_the_listed_names_brings_everything_of_the_new_tree(
    tree: Tree, other: Tree, copied: bool, nul: bool, options: dict[str, Any], data: st.DataObject
) -> None:
    with pair(tree, other, copied, data) as (new, old, names):
        for path in [b"", *oracle.entries(old)]:
            _as_tar_can_have_it(old / os.fsdecode(path))
        report = compared(new, old, to=names, tar_list=True, nul=nul, full_hash=True, **options)
        assert report.failures == []
        for path, note in report.outcome.notes:
            if "before tar extracts" in note:
                shutil.rmtree(path)
        extract(new, old, names, *(["--null"] if nul else []))
        assert_equal_but_for_links(new, old)
        ours, theirs = oracle.hard_link_groups(new), oracle.hard_link_groups(old)
        known = set(oracle.entries(new))
        assert {group & known for group in theirs if len(group & known) > 1} == ours
        times, copies = oracle.lstats(new), oracle.lstats(old)
        assert {path: info.st_mtime_ns for path, info in times.items()} == {
            path: copies[path].st_mtime_ns for path in times
        }


@pytest.mark.parametrize("nul", [False, True], ids=["lines", "nul"])
def test_every_name_gets_into_an_archive(nul: bool, on_tmpfs: Path) -> None:
    new, old, names = on_tmpfs / "new", on_tmpfs / "old", on_tmpfs / "names"
    tree = {name: File(b"x", mtime_ns=T) for name in NAMES}
    build(new, {**tree, b"d": Dir(tree), b"-d\n": Dir(tree), b" links": Dir({name: Symlink(b"x") for name in NAMES})})
    old.mkdir()
    compared(new, old, to=names, tar_list=True, nul=nul)
    extract(new, old, names, *(["--null"] if nul else []))
    oracle.assert_equal_trees(new, old)


def test_every_name_gets_through_a_table(on_tmpfs: Path) -> None:
    new, old, table = on_tmpfs / "new", on_tmpfs / "old", on_tmpfs / "table"
    tree = {name: File(b"x", mtime_ns=T) for name in NAMES}
    build(new, {b"d": Dir(tree), b" links": Dir({name: Symlink(name) for name in NAMES})})
    build(old, {b"e": Dir(tree)})
    compared(new, old, to=table)
    subprocess.run([sys.executable, APPLY, table, new, old], check=True)
    oracle.assert_equal_trees(new, old)


def test_all_names_of_a_file_go_to_the_archive_if_one_does(on_tmpfs: Path) -> None:
    new, old, names = on_tmpfs / "new", on_tmpfs / "old", on_tmpfs / "names"
    build(new, {"a": File(b"x", mtime_ns=T), "d": Dir({"b": HardLink("a")}), "other": File(b"o", mtime_ns=T)})
    hpcp_mpi.copy(new, old)
    os.link(new / "a", new / "c")
    compared(new, old, to=names, tar_list=True)
    assert names.read_text().splitlines() == ["./", "a", "c", "d/", "d/b"]
    extract(new, old, names)
    oracle.assert_equal_trees(new, old)


# Written by hpcp 9.79 for these two trees.
HPCPS_TABLE = b"""#hpcp-changes\t1
#op\tpath\told\tnew
D\tgone/\td:40755:0:0:ef46db3751d8e999\t-
D\tgone/y\tf:2:1600000000000000000:100644:0:0:a3d8bf4150598976:ef46db3751d8e999\t-
D\tx\tf:2:1600000000000000000:100644:0:0:e61ffece6f07201d:ef46db3751d8e999\t-
A\tli\t-\tl:a\\tb\\nc\\\\d
A\tx/\t-\td:40755:0:0:ef46db3751d8e999
A\tx/\xff\t-\tf:1:1600000000000000000:100644:0:0:048a5a7677a8e488:ef46db3751d8e999
M\tfull\tf:0:1600000000000000000:100644:0:0:ef46db3751d8e999:ef46db3751d8e999\t\
f:0:1600000000000000000:100644:0:0:ef46db3751d8e999:91bbe7abbcd1d21f
M\tln\tl:b\tl:a
M\tsub/\td:40755:0:0:ef46db3751d8e999\td:40700:0:0:ef46db3751d8e999
"""
NEW = {
    "li": Symlink("a\tb\nc\\d"), "ln": Symlink("a"), "x": Dir({b"\xff": File(b"z", mtime_ns=T)}, mtime_ns=T),
    "full": File(b"", mtime_ns=T, xattrs={"user.q": b"1", "user.a": b"22"}), "sub": Dir(mode=0o700, mtime_ns=T),
}  # fmt: skip
OLD = {
    "gone": Dir({"y": File(b"y\n", mtime_ns=T)}), "ln": Symlink("b"), "x": File(b"q\n", mtime_ns=T),
    "full": File(b"", mtime_ns=T), "sub": Dir(mtime_ns=T),
}  # fmt: skip


def test_the_table_is_the_one_that_hpcp_writes(on_tmpfs: Path) -> None:
    new, old, table = on_tmpfs / "new", on_tmpfs / "old", on_tmpfs / "table"
    for root, tree in ((new, NEW), (old, OLD)):
        build(root, tree, owner=(0, 0) if os.geteuid() == 0 else None)
        os.utime(root, ns=(T, T))
    compared(new, old, to=table)
    owner = b":%d:%d:" % (os.geteuid(), os.getegid())
    assert table.read_bytes() == HPCPS_TABLE.replace(b":0:0:", owner)
