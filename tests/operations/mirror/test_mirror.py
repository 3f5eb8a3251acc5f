"""-rme: what the sources do not have goes, once everything else is done and nothing failed. Nothing else goes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations.dispatch import lead_operation
from hpcp_mpi.operations.session import lead
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from tests.support import direct, oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, changed, copy, refused, run, state
from tests.support.faultfs import mounted
from tests.support.launch import Argument, World
from tests.support.marks import each_world, needs_commands, needs_fuse, needs_root
from tests.support.torture import torture
from tests.support.trees import Dir, Entries, File, HardLink, Socket, Symlink, build

pytestmark = needs_commands("rsync")

EXTRAS = {"gone": Dir({"deep": Dir({"f": File(b"1"), "l": Symlink("f")})}), "old": File(b"2"), "link": Symlink("sub")}


@pytest.fixture
def trees(on_tmpfs: Path) -> tuple[Path, Path]:
    build(on_tmpfs / "src", {"sub": Dir({"kept": File(b"kept")}), "f": File(b"f")})
    build(on_tmpfs / "dst", {"sub": Dir({"kept": File(b"other"), "extra": File(b"x")}), **EXTRAS})
    return on_tmpfs / "src", on_tmpfs / "dst"


def mirror(sources: list[Path], dst: Path, frontend: Frontend, **options: object) -> Report:
    request = Request(
        Verb.COPY,
        tuple(os.fsencode(path) for path in sources),
        (os.fsencode(dst),),
        Options(mirror=True, **options),  # type: ignore[arg-type]
    )
    with lead(None, StopRequest()) as ranks:
        return lead_operation(ranks.wire, request, frontend)


def deletions(root: Path, dst: Path) -> set[str]:
    """What rsync would delete."""
    out = run(["rsync", "-aHAX", "--delete", "-n", "-i", f"{root}/", f"{dst}/"])
    return {line for line in out.splitlines() if line.startswith("*deleting")}


# --- what goes


@pytest.mark.parametrize("listing", [(), ("-pfl",), TINY_CHUNKS], ids=["rank-0-lists", "all-list", "tiny-chunks"])
def test_extras_go_and_directories_keep_their_times(listing: tuple[str, ...], trees: tuple[Path, Path]) -> None:
    src, dst = trees
    run_ = copy(src, dst, "-rme", "-rf", *listing)
    oracle.assert_equal_trees(src, dst)
    removed = run_.report["removed"]
    assert removed["directories"] == 2 and removed["files"] + removed["links"] == 5


@each_world((1, 3, 4), launchers=("mpich", "openmpi"))
def test_a_torture_tree_becomes_another_one_with_ranks(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    torture(src, as_root=os.geteuid() == 0, beyond_path_max=False)
    torture(dst / "another", as_root=os.geteuid() == 0, beyond_path_max=False)
    build(dst / "wide", {f"d{i}": Dir({f"f{j}": File(b"x") for j in range(20)}) for i in range(60)})
    copy(src, dst, "-rme", "-rf", *TINY_CHUNKS, world=world)
    oracle.assert_equal_trees(src, dst, sockets=False)


def test_a_dry_run_lists_what_rsync_would_delete_and_removes_nothing(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    before = state(dst)
    run_ = copy(src, dst, "-rme", "-n")  # asks nothing, and needs no terminal
    ours = {line for line in run_.done.stdout.splitlines() if line.startswith("*deleting")}
    assert ours == deletions(src, dst)
    assert changed(before, state(dst)) == set()


def test_several_sources_are_mirrored_each_in_its_own_place(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"x": File(b"x")})
    build(on_tmpfs / "b", {"y": File(b"y")})
    build(on_tmpfs / "dst", {"a": Dir({"no": File()}), "b": Dir({"no": Dir({"f": File()})}), "c": Dir({"yes": File()})})
    copy(on_tmpfs / "a", on_tmpfs / "b", "-d", on_tmpfs / "dst", "-rme", "-rf")
    assert sorted(oracle.entries(on_tmpfs / "dst")) == [b"a", b"a/x", b"b", b"b/y", b"c", b"c/yes"]


@pytest.mark.parametrize("order", [("a/", "b/"), ("b/", "a/")])
@pytest.mark.parametrize("more", [(), ("-pfl",), ("-nb",)], ids=["", "all-list", "one-by-one"])
def test_of_merged_sources_stays_what_any_of_them_has(
    more: tuple[str, ...], order: tuple[str, str], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "a", {"x": File(b"x"), "both": Dir({"1": File()}), "only": Dir({"q": File()})})
    build(on_tmpfs / "b", {"y": File(b"y"), "both": Dir({"2": File()})})
    (on_tmpfs / "alone").write_bytes(b"a file that is a source, too")
    build(on_tmpfs / "dst", {"x": File(b"old"), "both": Dir({"2": File(), "3": File()}), "z": File(), "only": Dir({})})
    sources = [f"{on_tmpfs}/{name}" for name in order]
    copy(*sources, on_tmpfs / "alone", "-d", on_tmpfs / "dst", "-rme", "-rf", *more)
    wanted = {b"x", b"y", b"both", b"both/1", b"both/2", b"only", b"only/q", b"alone"}
    assert set(oracle.entries(on_tmpfs / "dst")) == wanted


def test_contents_beside_a_source_with_a_name_of_its_own(on_tmpfs: Path) -> None:
    """DST/b is a source's, not extra to the other one's contents."""
    build(on_tmpfs / "a", {"x": File(b"x")})
    build(on_tmpfs / "b", {"y": File(b"y")})
    for _ in range(2):
        copy(f"{on_tmpfs}/a/", on_tmpfs / "b", "-d", on_tmpfs / "dst", "-rme", "-rf")
        assert sorted(oracle.entries(on_tmpfs / "dst")) == [b"b", b"b/y", b"x"]


@pytest.mark.parametrize("inside", [{}, {"f": File(b"1"), "d": Dir({"g": File()})}], ids=["empty", "full"])
@pytest.mark.parametrize("size", [4, 9 << 20], ids=["small", "in-ranges"])
def test_a_file_takes_the_place_of_a_directory(size: int, inside: Entries, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": File(b"x" * size), "b": HardLink("a"), "c": HardLink("a"), "l": Symlink("a")})
    build(dst, {"b": File(b"old")})
    build(dst / "a", inside)
    build(dst / "l", inside)
    copy(src, dst, "-rme", "-rf", "--split-size", "4M")
    oracle.assert_equal_trees(src, dst)


# --- what stays


def test_excluded_entries_stay_with_the_directories_that_hold_them(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    build(dst / "gone" / "deep" / "cache", {"c": File(b"c")})
    before = state(dst)
    copy(src, dst, "-rme", "-rf", "-e", "cache", "-e", f"{src}/old")
    assert sorted(oracle.entries(dst)) == [
        b"f", b"gone", b"gone/deep", b"gone/deep/cache", b"gone/deep/cache/c", b"old", b"sub", b"sub/kept",
    ]  # fmt: skip
    kept = {b"gone/deep/cache", b"gone/deep/cache/c", b"old"}
    assert not kept & changed(before, state(dst))


def test_what_lies_in_an_excluded_directory_of_another_source_stays(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"d": Dir({"x": File()})})
    build(on_tmpfs / "b", {"d": Dir({"y": File()})})
    build(on_tmpfs / "dst", {"d": Dir({"z": File(), "deep": Dir({"f": File()})})})
    copy(f"{on_tmpfs}/a/", f"{on_tmpfs}/b/", "-d", on_tmpfs / "dst", "-rme", "-rf", "-e", f"{on_tmpfs}/b/d")
    assert sorted(oracle.entries(on_tmpfs / "dst")) == [b"d", b"d/deep", b"d/deep/f", b"d/x", b"d/z"]


def test_excluded_entries_go_if_that_is_asked_for(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    build(src / "cache", {"theirs": File()})
    build(dst / "cache", {"c": File(b"c")})
    build(dst / "gone" / "cache", {"c": File(b"c")})
    build(dst, {"x.tmp": File()})
    build(src, {"x.tmp": File()})
    copy(src, dst, "-rme", "-rf", "-e", "cache", "-e", "*.tmp", "--delete-excluded")
    oracle.assert_equal_trees(src, dst, exclude=["cache", "x.tmp"])
    assert sorted(oracle.entries(dst)) == [b"f", b"sub", b"sub/kept"]


def test_what_a_source_has_by_then_stays(trees: tuple[Path, Path]) -> None:
    """The question is the last moment before the removal."""
    src, dst = trees
    request: list[str] = []

    def agree(question: str) -> bool:
        request.append(question)
        build(src, {"old": File(b"back again"), "gone": Dir({})})
        return True

    report = mirror([src], dst, Frontend(confirm=agree))
    assert report.exit_code == 0
    assert sorted(oracle.entries(dst)) == [
        b"f", b"gone", b"gone/deep", b"gone/deep/f", b"gone/deep/l", b"old", b"sub", b"sub/kept",
    ]  # fmt: skip
    assert re.fullmatch(
        r"Remove 7 entries of \S+/dst that the sources do not have \(gone/, link, old, ...\)\?", request[0]
    )


@needs_root
@needs_fuse
def test_a_copy_that_kept_the_case_of_a_name_there_is_not_extra(on_tmpfs: Path) -> None:
    """Where README and readme are one entry, as on FAT: a name alone does not tell that it is extra."""
    build(on_tmpfs / "src", {"README": File(b"new"), "Dir": Dir({"f": File(b"f"), "G": File(b"g")})})
    build(on_tmpfs / "dst", {"readme": File(b"old!"), "Other": File(), "dir": Dir({"g": File(b"o"), "h": File()})})
    with mounted(on_tmpfs / "dst", fold=1) as folding:
        for _ in range(2):
            copy(on_tmpfs / "src", folding, "-rme", "-rf", *TINY_CHUNKS)
    assert set(oracle.entries(on_tmpfs / "dst")) == {b"readme", b"dir", b"dir/f", b"dir/g", b"dir/h"}
    assert (on_tmpfs / "dst/readme").read_bytes() == b"new" and (on_tmpfs / "dst/dir/g").read_bytes() == b"g"


def test_a_socket_of_the_source_keeps_what_has_its_name(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"s": Socket()})
    build(on_tmpfs / "dst", {"s": Dir({"f": File()})})
    copy(on_tmpfs / "src", on_tmpfs / "dst", "-rme", "-rf")
    assert (on_tmpfs / "dst/s/f").exists()


def test_protected_entries_keep_a_directory_that_a_file_would_replace(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": File(b"a"), "z": File(b"z")})
    build(on_tmpfs / "dst", {"a": Dir({"f": File(), "cache": Dir({"c": File()})})})
    run_ = copy(on_tmpfs / "src", on_tmpfs / "dst", "-rme", "-rf", "-e", "cache", code=23)
    assert list(run_.failures) == [f"{on_tmpfs}/src/a"]
    assert sorted(oracle.entries(on_tmpfs / "dst")) == [b"a", b"a/cache", b"a/cache/c", b"z"]


@needs_root
def test_mounts_are_not_crossed(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    run(["mount", "-t", "tmpfs", "tmpfs", dst / "gone/deep"])
    try:
        (dst / "gone/deep/precious").write_bytes(b"p")
        run_ = copy(src, dst, "-rme", "-rf")
        assert run_.notes == {f"{dst}/gone/deep": "another file system is mounted here; kept"}
        assert (dst / "gone/deep/precious").exists()
        assert not (dst / "old").exists()
    finally:
        run(["umount", dst / "gone/deep"])


@needs_root
@pytest.mark.parametrize("place", ["gone", "gone/deep"])
def test_a_source_that_lies_in_the_destination_by_another_path_stays(place: str, trees: tuple[Path, Path]) -> None:
    src, dst = trees
    run(["mount", "--bind", dst / place, src])
    try:
        before = set(oracle.entries(src))
        run_ = copy(src, dst, "-rme", "-rf", code=23)
        assert set(oracle.entries(src)) == before and oracle.entries(dst / place)
        assert list(run_.failures) == [f"{dst}/{place}"]
    finally:
        run(["umount", src])


# --- when nothing goes


@needs_root
@needs_fuse
@pytest.mark.parametrize("listing", [(), ("-pfl",)], ids=["rank-0-lists", "all-list"])
@pytest.mark.parametrize("fault", ["eio_list", "eio_read"], ids=["listing", "copy"])
def test_nothing_is_removed_if_anything_failed(fault: str, listing: tuple[str, ...], trees: tuple[Path, Path]) -> None:
    src, dst = trees
    before = set(oracle.entries(dst))
    with mounted(src, **{fault: "sub" if fault == "eio_list" else "kept"}) as faulty:  # type: ignore[arg-type]
        run_ = copy(faulty, dst, "-rme", "-rf", *listing, code=23)
    assert set(oracle.entries(dst)) >= before
    assert run_.failures[str(dst)] == "nothing was removed here, as 1 entry failed"
    assert run_.report["removed"]["files"] == 0


@needs_root
@needs_fuse
def test_nothing_is_removed_if_another_source_failed_one_by_one(on_tmpfs: Path) -> None:
    for name in ("a", "b"):
        build(on_tmpfs / name, {f"f{name}": File(b"f")})
        build(on_tmpfs / "dst" / name, {"extra": File()})
    with mounted(on_tmpfs / "b", eio_read="fb") as faulty:
        copy(on_tmpfs / "a", faulty, "-d", on_tmpfs / "dst", "-rme", "-rf", "-nb", code=23)
    assert (on_tmpfs / "dst/a/extra").exists()


def test_max_delete_is_for_all_sources_together_even_one_by_one(on_tmpfs: Path) -> None:
    for name in ("a", "b"):
        build(on_tmpfs / name, {"f": File(b"f")})
        build(on_tmpfs / "dst" / name, {"1": File(), "2": File()})
    run_ = copy(
        on_tmpfs / "a", on_tmpfs / "b", "-d", on_tmpfs / "dst", "-rme", "-rf", "-nb", "--max-delete", "3", code=25
    )
    assert run_.report["removed"]["files"] == 0 and (on_tmpfs / "dst/b/f").exists()


def test_a_file_that_a_directory_is_in_the_way_of_fails_if_nothing_may_be_removed(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": File(b"a"), "b": File(b"b")})
    build(on_tmpfs / "dst", {"a": Dir({"f": File()})})
    report = mirror([on_tmpfs / "src"], on_tmpfs / "dst", Frontend(confirm=lambda question: False))
    assert report.exit_code == 23
    assert [failure.path for failure in report.failures] == [os.fsencode(on_tmpfs / "src/a")]
    assert sorted(oracle.entries(on_tmpfs / "dst")) == [b"a", b"a/f", b"b"]


def test_more_than_max_delete_means_that_nothing_goes_and_the_rest_is_done(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    before = set(oracle.entries(dst))
    run_ = copy(src, dst, "-rme", "-rf", "--max-delete", "6", code=25)
    assert set(oracle.entries(dst)) == before | {b"f"}
    assert (dst / "sub/kept").read_bytes() == b"kept"
    assert run_.notes == {str(dst): "7 entries were to be removed here, and --max-delete allows 6: nothing is removed"}
    assert copy(src, dst, "-rme", "-n", "--max-delete", "6", code=25).report["removed"]["files"] == 0
    copy(src, dst, "-rme", "-rf", "--max-delete", "7")
    oracle.assert_equal_trees(src, dst)


@pytest.mark.parametrize("answer", [True, False])
def test_a_question_is_asked_when_all_is_copied(answer: bool, trees: tuple[Path, Path]) -> None:
    src, dst = trees
    seen: list[bytes] = []

    def confirm(question: str) -> bool:
        seen.append((dst / "sub/kept").read_bytes())
        return answer

    before = set(oracle.entries(dst))
    report = mirror([src], dst, Frontend(confirm=confirm))
    assert seen == [b"kept"] and report.exit_code == 0
    assert set(oracle.entries(dst)) == (set(oracle.entries(src)) if answer else before | {b"f"})


def test_the_question_warns_of_an_empty_source_that_may_not_be_mounted(on_tmpfs: Path) -> None:
    (on_tmpfs / "src").mkdir()
    build(on_tmpfs / "dst", EXTRAS)
    request: list[str] = []
    report = mirror(
        [on_tmpfs / "src"], on_tmpfs / "dst", Frontend(confirm=lambda question: bool(request.append(question)))
    )
    assert "empty" in request[0] and "not mounted" in request[0] and (on_tmpfs / "dst/old").exists()
    assert [note for _, note in report.outcome.notes if "empty" in note]


def test_nothing_is_asked_if_nothing_is_extra(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    direct.copy(src, dst, mirror=True)  # a program that says so is not asked
    oracle.assert_equal_trees(src, dst)

    def confirm(question: str) -> bool:
        raise AssertionError(question)

    assert mirror([src], dst, Frontend(confirm=confirm)).exit_code == 0


def test_where_nobody_can_answer_nothing_is_even_copied(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    before = state(dst)
    refused(src, dst, "-rme", says="-rf", code=[2])
    assert changed(before, state(dst)) == set()


# --- what is refused


def test_a_single_file_is_no_mirror(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"f": File(b"f"), "dst": Dir({"precious": File()})})
    refused(on_tmpfs / "f", "-d", on_tmpfs / "dst", "-rme", "-rf", says="no directory", code=[2])
    assert list(oracle.entries(on_tmpfs / "dst")) == [b"precious"]


def test_a_source_that_the_mirror_of_another_could_remove_is_refused(on_tmpfs: Path) -> None:
    build(
        on_tmpfs,
        {"a": Dir({"x": File()}), "dst": Dir({"a": Dir({"inner": Dir({"y": File()})}), "deep": Dir({"f": File()})})},
    )
    for other in ("dst/a/inner", "dst/deep/f"):
        sources: list[Argument] = [f"{on_tmpfs}/a" if "inner" in other else f"{on_tmpfs}/a/", on_tmpfs / other]
        refused(*sources, "-d", on_tmpfs / "dst", "-rme", "-rf", says="could be removed|lies inside", code=[2])
    assert (on_tmpfs / "dst/a/inner/y").exists() and (on_tmpfs / "dst/deep/f").exists()


@pytest.mark.parametrize("options", [{"delete_excluded": True}, {"max_delete": 3}])
def test_what_limits_a_mirror_needs_one(options: dict[str, object], on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File()})
    with pytest.raises(UsageError):
        direct.copy(on_tmpfs / "src", on_tmpfs / "dst", **options)
    assert not (on_tmpfs / "dst").exists()


@needs_root
def test_a_user_mirrors_what_they_may_and_the_rest_is_named(everyone: Callable[[Path], Path], on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": File(b"a")})
    build(on_tmpfs / "dst", {"own": Dir({"f": File(), "ro": Dir({"g": File()}, mode=0o555)})})
    mine = everyone(on_tmpfs / "dst")
    everyone(on_tmpfs / "src")
    build(mine / "roots", {"f": File(b"", owner=(0, 0))}, owner=(0, 0))
    run_ = copy(on_tmpfs / "src", mine, "-rme", "-rf", code=23, user="nobody")
    assert set(run_.failures) == {f"{mine}/roots/f", f"{mine}/own/ro/g"} or set(run_.failures) == {f"{mine}/roots/f"}
    assert (mine / "roots/f").exists() and (mine / "a").exists() and not (mine / "own/f").exists()


def test_without_mirror_extras_stay(trees: tuple[Path, Path]) -> None:
    src, dst = trees
    before = set(oracle.entries(dst))
    done = PLAIN.run([src, dst])
    assert done.returncode == 0 and set(oracle.entries(dst)) == before | {b"f"}
