"""What relative symlinks point to is copied too, where it belongs, and nothing else is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.operations.copy.test_attack import SWAP_DIRECTORY, attacked
from tests.support import oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, changed, copy, items, stages, state
from tests.support.launch import Argument, World
from tests.support.marks import needs_commands, needs_root
from tests.support.trees import Dir, File, HardLink, Name, Node, Symlink, build

pytestmark = needs_commands("rsync", "cmp")
T = 1_400_000_000 * 10**9
MPICH = World("mpich", 3)
IF_MPICH = [pytest.mark.mpi, pytest.mark.skipif(bool(MPICH.missing()), reason=MPICH.missing() or "")]
RUNS = [
    pytest.param(PLAIN, (), id="plain"),
    pytest.param(PLAIN, ("-pfl", *TINY_CHUNKS), id="plain-pfl-tiny"),
    pytest.param(MPICH, ("-pfl",), id="mpich-pfl", marks=IF_MPICH),
]
EACH_RUN = pytest.mark.parametrize("world, options", RUNS)


def paths(root: Path) -> set[str]:
    return {os.fsdecode(path) for path in oracle.entries(root)}


@pytest.fixture
def project(on_tmpfs: Path) -> Path:
    """A directory to copy, with links to what is beside it."""
    root = on_tmpfs / "project"
    build(root, {
        "src": Dir({
            "data": Symlink("../data/set1", mtime_ns=T), "sub": Dir({"one": Symlink("../../lib/one.so")}),
            "inside": Symlink("sub"), "away": Symlink("../../away"), "absolute": Symlink(os.fsdecode(root) + "/lib"),
            "nested": Symlink("../data/set1/deep/b"),
            "dangling": Symlink("../lib/missing"), "up": Symlink(".."), "itself": Symlink("../src/sub"),
        }, mtime_ns=T),
        "data": Dir({"set1": Dir({"a": File(b"a", mtime_ns=T, mode=0o640), "deep": Dir({"b": File(b"b")}, mtime_ns=T),
                                  "next": Symlink("../set2"), "own": Symlink("deep/b")}, mode=0o750, mtime_ns=T),
                     "set2": Dir({"c": File(b"c"), "back": Symlink("../set1")}), "set3": File(b"not linked to")},
                    mode=0o711, mtime_ns=T),
        "lib": Dir({"one.so": Symlink("one.so.2"), "one.so.2": File(b"elf", mode=0o755), "other": File(b"o")}),
    })  # fmt: skip
    (on_tmpfs / "away").write_bytes(b"outside")
    return root


TARGETS = {"data", "data/set1", "data/set1/a", "data/set1/deep", "data/set1/deep/b", "data/set1/next", "data/set1/own",
           "data/set2", "data/set2/c", "data/set2/back", "lib", "lib/one.so", "lib/one.so.2"}  # fmt: skip


@EACH_RUN
def test_targets_inside_the_destination_are_copied_too(
    world: World, options: tuple[str, ...], project: Path, on_tmpfs: Path
) -> None:
    dst = on_tmpfs / "deep/dst"
    done = copy(project / "src", f"{dst}/", *options, world=world)
    oracle.assert_equal_trees(project / "src", dst / "src")
    assert {path for path in paths(dst) if not path.startswith("src")} == TARGETS
    # As copied with everything else, the directories on the way included.
    left_out = ["src", *(path for path in paths(project) if path not in TARGETS)]
    assert oracle.lstat_differences(project, dst, exclude=left_out, top=False) == []
    assert oracle.differences(project, dst, exclude=left_out, top=False) == []
    assert done.report["copied"] == done.report["found"]
    assert paths(on_tmpfs / "deep") == {"dst"} | {f"dst/{path}" for path in paths(dst)} and stages(dst) == []
    before = state(dst)
    again = copy(project / "src", f"{dst}/", *options, world=world)
    assert again.copied_entries == 0 and changed(before, state(dst)) == set()


@EACH_RUN
def test_contents_in_the_destination_itself_bring_nothing_along(
    world: World, options: tuple[str, ...], project: Path, on_tmpfs: Path
) -> None:
    copy(project / "src", on_tmpfs / "here/dst", *options, world=world)
    oracle.assert_equal_trees(project / "src", on_tmpfs / "here/dst")
    assert os.listdir(on_tmpfs / "here") == ["dst"]


@EACH_RUN
def test_anywhere_is_outside_too(world: World, options: tuple[str, ...], project: Path, on_tmpfs: Path) -> None:
    dst = on_tmpfs / "a/b/dst"
    done = copy("-lt", "-v", project / "src", dst, *options, world=world)
    oracle.assert_equal_trees(project / "src", dst)
    assert {path for path in paths(on_tmpfs / "a") if not path.startswith("b/dst/")} == {
        "away", "b", "b/dst", *(f"b/{path}" for path in TARGETS),
        "b/src", "b/src/sub", "b/src/sub/one",  # a link names the source as it is not called here
    }  # fmt: skip
    assert {"../data/set1/a", "../lib/one.so.2", "../../away", "sub/one"} <= set(items(done.done.stdout))
    before = state(on_tmpfs / "a")
    assert copy("-lt", project / "src", dst, *options, world=world).copied_entries == 0
    assert changed(before, state(on_tmpfs / "a")) == set()


def test_never_is_never(project: Path, on_tmpfs: Path) -> None:
    copy("-nlt", project / "src", f"{on_tmpfs}/dst/")
    assert os.listdir(on_tmpfs / "dst") == ["src"]
    oracle.assert_equal_trees(project / "src", on_tmpfs / "dst/src")


@pytest.mark.parametrize("option", ["-lt", "-b"])
def test_a_dry_run_tells_the_same_and_makes_nothing(option: str, project: Path, on_tmpfs: Path) -> None:
    (on_tmpfs / "x/y").mkdir(parents=True)
    before = state(on_tmpfs)
    dry = copy("-n", option, project / "src", f"{on_tmpfs}/x/y/dst/")
    assert changed(before, state(on_tmpfs)) == set()
    real = copy("-v", option, project / "src", f"{on_tmpfs}/x/y/dst/")
    parents = {"data/", "lib/"}  # they are made on the way
    assert set(items(dry.done.stdout)) - parents == set(items(real.done.stdout)) - parents


def test_what_is_there_stays(project: Path, on_tmpfs: Path) -> None:
    dst = on_tmpfs / "dst"
    build(dst, {"data": Dir({"set1": Dir({"mine": File(b"m")}), "set2": Symlink("nowhere")}, mode=0o700),
                "lib": File(b"not a directory")})  # fmt: skip
    before = state(dst)
    done = copy(project / "src", f"{dst}/")
    # A link to something in a directory that is there brings only that.
    brought = {b".", b"data/set1", b"data/set1/deep", b"data/set1/deep/b"}
    assert {path for path in changed(before, state(dst)) if not path.startswith(b"src")} == brought
    assert any("Not a directory" in note for note in done.notes.values())


def test_what_is_excluded_is_not_brought_along(project: Path, on_tmpfs: Path) -> None:
    for number, (pattern, kept) in enumerate({
        "set2": TARGETS - {"data/set2", "data/set2/c", "data/set2/back"},
        "data": {"lib", "lib/one.so", "lib/one.so.2"},
        "one.so.2": TARGETS - {"lib/one.so.2"},
        f"{project}/lib": {path for path in TARGETS if not path.startswith("lib")},
        "set1/deep": TARGETS - {"data/set1/deep", "data/set1/deep/b"},
    }.items()):  # fmt: skip
        dst = on_tmpfs / f"dst{number}"
        copy("-e", pattern, project / "src", f"{dst}/")
        assert {path for path in paths(dst) if not path.startswith("src")} == kept, pattern


def test_single_files_and_several_sources_bring_theirs(project: Path, on_tmpfs: Path) -> None:
    dst = on_tmpfs / "dst"
    copy(project / "lib/one.so", f"{dst}/")
    assert paths(dst) == {"one.so", "one.so.2"}
    copy(project / "lib/one.so", on_tmpfs / "new name")  # one name was asked for
    assert sorted(os.listdir(on_tmpfs)) == ["away", "dst", "new name", "project"]
    both = on_tmpfs / "both"
    done = copy("-v", project / "src", project / "data", both)
    assert items(done.done.stdout).keys() >= {"data/set3", "lib/one.so.2"}
    oracle.assert_equal_trees(project / "data", both / "data")


def test_one_source_after_the_other_does_not_fetch_what_comes_later(project: Path, on_tmpfs: Path) -> None:
    done = copy("-nb", project / "src", project / "data", on_tmpfs / "dst")
    oracle.assert_equal_trees(project / "data", on_tmpfs / "dst/data")
    assert done.report["copied"] == done.report["found"]


def test_hard_links_and_ranges_in_targets(on_tmpfs: Path) -> None:
    target = Dir({"big": File(os.urandom(9 << 20)), "one": File(b"1"), "two": HardLink("t/one")})
    build(on_tmpfs / "p", {"src": Dir({"l": Symlink("../t")}), "t": target})
    copy("--split-size", "4M", on_tmpfs / "p/src", f"{on_tmpfs}/dst/")
    oracle.assert_equal_trees(on_tmpfs / "p", on_tmpfs / "dst", top=False)


def test_links_that_go_round_in_circles_end(on_tmpfs: Path) -> None:
    build(on_tmpfs / "p", {
        "src": Dir({"l": Symlink("../a/l"), "self": Symlink("self"), "up": Symlink("../src")}),
        "a": Dir({"l": Symlink("../b/l")}), "b": Dir({"l": Symlink("../a/l")}),
    })  # fmt: skip
    copy(on_tmpfs / "p/src", f"{on_tmpfs}/dst/")
    assert {"a/l", "b/l", "src/l"} <= paths(on_tmpfs / "dst")


@needs_root
def test_what_cannot_be_copied_is_named_once(project: Path, on_tmpfs: Path, everyone: Callable[[Path], Path]) -> None:
    everyone(on_tmpfs / "project")
    os.chown(project / "data/set1/a", 0, 0)
    os.chmod(project / "data/set1/a", 0o600)
    os.chown(project / "data/set2", 0, 0)
    os.chmod(project / "data/set2", 0o700)
    dst = everyone(on_tmpfs / "dst")
    done = copy(project / "src", f"{dst}/", user="nobody", code=23)
    assert set(done.failures) == {str(project / "data/set1/a"), str(project / "data/set2")}
    assert (dst / "lib/one.so.2").exists() and (dst / "data/set1/deep/b").exists()


@pytest.mark.parametrize("extra", [(), ("-pfl",)])
def test_a_mirror_leaves_what_links_lead_to(extra: tuple[str, ...], project: Path, on_tmpfs: Path) -> None:
    build(on_tmpfs / "other", {"x": File(b"x")})
    dst = on_tmpfs / "dst"
    sources: tuple[Argument, ...] = (f"{on_tmpfs}/other/", project / "src")
    copy(*sources, dst, *extra)
    build(dst / "lib2", {"o": File(b"o")})
    (dst / "stale").write_bytes(b"s")
    before = state(dst)
    copy("-rme", "-rf", *sources, dst, *extra)
    assert changed(before, state(dst)) == {b".", b"lib2", b"lib2/o", b"stale"}
    assert paths(dst) == {"x", "src", *(f"src/{path}" for path in paths(project / "src")), *TARGETS}
    # Nothing leads there any more.
    os.unlink(project / "src/sub/one")
    copy("-rme", "-rf", *sources, dst, *extra)
    assert "lib" not in paths(dst) and "data/set1/a" in paths(dst)


# --- nobody's symlink is followed on the way


def test_a_symlink_on_the_way_is_not_followed(project: Path, on_tmpfs: Path) -> None:
    outside = on_tmpfs / "outside"
    build(outside, {"one.so": File(b"secret")})
    os.rename(project / "lib", project / "lib.real")
    os.symlink(outside, project / "lib")  # in the source
    dst = on_tmpfs / "dst"
    elsewhere = on_tmpfs / "elsewhere"
    elsewhere.mkdir()
    build(dst, {"data": Symlink(os.fsdecode(elsewhere))})  # and at the destination
    for option in ("-b", "-lt"):
        done = copy(option, project / "src", f"{dst}/")
        assert os.listdir(elsewhere) == [] and not (dst / "lib").exists()
        assert {str(project / "lib"), str(project / "data/set1")} <= set(done.notes)


def test_a_target_around_the_destination_is_not_copied_into_itself(on_tmpfs: Path) -> None:
    build(on_tmpfs / "p", {"src": Dir({"l": Symlink("../big")}), "big": Dir({"f": File(b"f"), "dst": Dir()})})
    done = copy(on_tmpfs / "p/src", f"{on_tmpfs}/p/big/dst/")
    assert paths(on_tmpfs / "p/big") == {"f", "dst", "dst/src", "dst/src/l"}
    assert "destination lies in it" in done.notes[str(on_tmpfs / "p/big")]


def test_nothing_is_put_into_a_source(on_tmpfs: Path) -> None:
    """Seen from the destination, the link's place is in the very tree that is copied."""
    build(on_tmpfs / "src/foo", {"x": File(b"x")})
    build(on_tmpfs / "in", {"src": Dir({"l": Symlink("../../src/foo/x/../y")})})
    (on_tmpfs / "src/foo/y").write_bytes(b"y")
    build(on_tmpfs / "in/src/foo", {})
    before = state(on_tmpfs / "in")
    copy("-lt", on_tmpfs / "in/src", on_tmpfs / "in/a/dst")
    assert {path for path in changed(before, state(on_tmpfs / "in")) if path.startswith(b"src/")} == set()


def naive(dst: Path) -> None:
    """What following paths does."""
    try:
        (dst / "sub").mkdir(exist_ok=True)
        for name in range(30):
            (dst / "sub" / f"new{name}").write_bytes(b"x")
    except OSError:
        pass


@needs_root
@pytest.mark.parametrize("option", ["-b", "-lt"])
def test_a_directory_on_the_way_that_is_swapped_for_a_symlink_is_not_followed(
    option: str, on_tmpfs: Path, everyone: Callable[[Path], Path]
) -> None:
    links: dict[Name, Node] = {f"l{number}": Symlink(f"../sub/new{number}") for number in range(30)}
    files: dict[Name, Node] = {f"new{number}": File(b"x") for number in range(30)}
    build(on_tmpfs / "p", {"src": Dir(links), "sub": Dir(files)})
    outside = on_tmpfs / "outside"
    build(outside, {"precious": File(b"p")}, owner=(0, 0))
    dst = everyone(on_tmpfs / "dst")
    everyone(on_tmpfs / "p")
    build(dst, {"sub": Dir(owner=(65534, 65534)), "deep": Dir(owner=(65534, 65534))})
    to: Argument = f"{dst}/" if option == "-b" else dst / "deep"
    before = state(outside)
    with attacked(SWAP_DIRECTORY, dst, outside):
        until, runs = time.monotonic() + 2, 0
        while time.monotonic() < until or runs <= 3:  # on a busy machine too
            done = PLAIN.run([option, on_tmpfs / "p/src", to])
            assert done.returncode in (0, 1, 23, 24) and "Traceback" not in done.stderr, str(done)
            assert changed(before, state(outside)) == set()
            runs += 1
            for number in range(30):  # so that there is always something to do
                with suppress(OSError):
                    os.unlink(dst / "sub" / f"new{number}")
    assert runs > 3
    with attacked(SWAP_DIRECTORY, dst, outside):  # the attack bites whoever does not look
        until = time.monotonic() + 20
        while changed(before, state(outside)) == set():
            assert time.monotonic() < until
            naive(dst)
