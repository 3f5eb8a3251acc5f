"""Symlinks and names of files with several that seem equal are decided where they are listed, and rightly."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import listing
from hpcp_mpi.operations.scan import link_groups
from hpcp_mpi.operations.scan.deferred import torn_apart
from hpcp_mpi.operations.scan.records import ClassifiedEntries, EqualNames, Linked
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.vocab.tally import Tally
from tests.support import direct, oracle
from tests.support.copies import copy, state
from tests.support.effort import many
from tests.support.launch import World
from tests.support.marks import each_world, needs_commands, needs_root
from tests.support.trees import Dir, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync")
T = 1_600_000_000 * 10**9
NAMES = ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2"]
# Of each name: which file it is a name of, and which of two contents that has. A file may have a name elsewhere.
FILES = st.lists(st.integers(0, 3), min_size=len(NAMES), max_size=len(NAMES))
CONTENTS = st.lists(st.sampled_from([b"one", b"one", b"two"]), min_size=4, max_size=4)
ELSEWHERE = st.sets(st.integers(0, 3))


def make(root: Path, files: list[int], contents: list[bytes], elsewhere: set[int]) -> None:
    for name in "abc":
        (root / name).mkdir(parents=True)
        os.utime(root / name, ns=(T, T))
    for number in set(files):
        first, *others = [name for name, which in zip(NAMES, files, strict=True) if which == number]
        (root / first).write_bytes(contents[number])
        os.utime(root / first, ns=(T, T))
        for name in others:
            os.link(root / first, root / name)
        if number in elsewhere:
            os.link(root / first, root.with_name(f"{root.name}.{number}"))
    for name in ("a", "b", "c", "."):
        os.utime(root / name, ns=(T, T))


@settings(max_examples=many(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(FILES, CONTENTS, ELSEWHERE, FILES, CONTENTS, ELSEWHERE, st.booleans(), st.booleans(), st.booleans())
def test_names_that_are_one_file_become_one_and_others_do_not(
    files: list[int],
    contents: list[bytes],
    elsewhere: set[int],
    found: list[int],
    stale: list[bytes],
    beside: set[int],
    parallel: bool,
    one_name: bool,
    few_names: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place, pytest.MonkeyPatch.context() as patch:
        if one_name:
            patch.setattr(link_groups, "_MOST_NAMES", 1)
            patch.setattr(link_groups, "_MOST_LEADERS", 1)
        if one_name or few_names:
            patch.setattr(link_groups, "_MOST_TWINS", 2)
        src, dst = Path(place, "src"), Path(place, "dst")
        make(src, files, contents, elsewhere)
        make(dst, found, stale, beside)
        report = direct.copy(src, dst, parallel_listing=parallel)
        assert report.failures == []
        oracle.assert_equal_trees(src, dst)
        before = state(dst)
        again = direct.copy(src, dst, parallel_listing=parallel).outcome
        assert (again.copied, again.updated, again.linked) == (Tally(), Tally(), 0)
        assert (again.skipped.files, again.skipped.directories) == (len(NAMES), 4)
        assert state(dst) == before


TREE = {
    "d": Dir({"link": Symlink("here", mtime_ns=T), "other": Symlink("there", mtime_ns=T), "f": File(b"f", mtime_ns=T)}),
    "twice": Dir({"one": File(b"content", mtime_ns=T), "two": HardLink("twice/one")}),
}


@each_world((4,), ["mpich", "plain"])
def test_what_differs_beside_what_is_equal_is_found_by_any_rank(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, TREE)
    copy(src, dst, world=world)
    (dst / "d/link").unlink()
    os.symlink("gone", dst / "d/link")
    os.utime(dst / "d/link", ns=(T, T), follow_symlinks=False)
    (dst / "twice/one").write_bytes(b"contemt")
    os.utime(dst / "twice/one", ns=(T, T))
    report = copy(src, dst, world=world).report
    oracle.assert_equal_trees(src, dst)
    assert report["copied"]["links"] == 1 and report["identical"]["links"] == 1


@needs_root
def test_a_symlink_gets_an_attribute_that_it_lacks(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, TREE)
    direct.copy(src, dst)
    os.setxattr(src / "d/link", "trusted.a", b"x", follow_symlinks=False)
    report = direct.copy(src, dst, parallel_listing=True)
    assert (report.outcome.updated.links, report.outcome.skipped.links) == (1, 1)
    assert os.getxattr(dst / "d/link", "trusted.a", follow_symlinks=False) == b"x"


def test_files_with_the_same_attributes_are_equal_and_are_not_touched(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, TREE)
    os.setxattr(src / "d/f", "user.a", b"x")
    os.setxattr(src / "twice/one", "user.a", b"x")
    direct.copy(src, dst)
    before = state(dst)
    outcome = direct.copy(src, dst, parallel_listing=True).outcome
    assert (outcome.skipped.files, outcome.updated.files, outcome.copied.files) == (3, 0, 0)
    assert state(dst) == before
    os.setxattr(src / "twice/two", "user.a", b"y")
    direct.copy(src, dst, parallel_listing=True)
    oracle.assert_equal_trees(src, dst)


def test_with_lstat_alone_a_file_with_several_names_is_not_opened(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "CLOCKS_NS", 0)
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, TREE)
    direct.copy(src, dst)
    (dst / "twice/one").write_bytes(b"contemt")
    os.utime(dst / "twice/one", ns=(T, T))
    assert direct.copy(src, dst, hash_size=0).outcome.skipped.files == 3


def names(dest_inode: int, *paths: bytes, number: int = 2) -> EqualNames:
    return EqualNames((1, 7), (2, dest_inode), 0, paths[0], number, 5, b"", b"", paths)


def test_nothing_is_to_be_done_where_all_names_of_both_were_seen() -> None:
    assert list(torn_apart([names(3, b"a"), names(3, b"b")])) == []
    assert list(torn_apart([names(3, b"a", b"b")])) == []


@pytest.mark.parametrize(
    "records",
    [
        [names(3, b"a")],
        [names(3, b"a"), names(4, b"b")],
        [names(3, b"a"), names(3, b"a")],
        [names(3, b"a", b"b", number=3)],
    ],
    ids=["one is elsewhere", "two copies", "one is seen twice", "one of three is elsewhere"],
)
def test_names_that_may_not_be_all_are_looked_at_as_any_others(records: list[EqualNames]) -> None:
    ((linked, shared),) = torn_apart(records)
    assert {each.target for each in linked} == {name for each in records for name in each.names}
    assert {each.dest_inode for each in shared} == {each.dest_inode for each in records}
    assert sum(each.counts for each in linked) == sum(len(each.names) - 1 for each in records)


def test_a_file_with_more_names_than_are_kept_in_mind_counts_its_bytes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_groups, "_MOST_TWINS", 3)
    builder = UnitBuilder(10**9, 1, None)
    root = builder.root(0, b"", new=False)
    for number in range(10):
        name = Linked(b"%d" % number, Tally(files=1, bytes=5), (1, 7), 10, True, (2, 7))
        builder.add(root, ClassifiedEntries(twins=[name]))
    builder.links.end()
    assert (builder.skipped.files, builder.skipped.bytes) == (10, 5)
    assert sorted(name for each in builder.deferred.equal for name in each.names) == [b"%d" % i for i in range(10)]
    assert list(torn_apart(builder.deferred.equal)) == []
