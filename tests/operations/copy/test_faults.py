"""One bad file never stops the others: what failed is named, what is there is whole, and the next run completes it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, copy, cps, partial_files, run, stages
from tests.support.effort import each_value
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse, needs_root, worlds
from tests.support.trees import Dir, File, HardLink, Name, Node, build

pytestmark = needs_commands("rsync", "cmp")
WORLDS = pytest.mark.parametrize("world", [*worlds(launchers=("plain",)), *worlds((3,), launchers=("mpich",))])
CHUNKS = pytest.mark.parametrize(
    "chunks", [(), TINY_CHUNKS, ("-pfl", *TINY_CHUNKS)], ids=["chunks", "tiny-chunks", "all-list"]
)
KIB, MIB = 1 << 10, 1 << 20


@contextmanager
def small(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own."""
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place])
    try:
        yield place
    finally:
        run(["umount", "-l", place])


def others_are_there(src: Path, dst: Path, failed: set[str]) -> None:
    """Every source file that did not fail is there and equal; nothing that failed is there in part."""
    assert partial_files(src, dst) == []
    assert stages(dst) == []
    assert failed
    for path, info in oracle.lstats(src).items():
        name = os.fsdecode(path)
        if str(src / name) not in failed:
            assert (dst / name).lstat().st_size == info.st_size or not (src / name).is_file(), name


@each_value
@needs_root
@CHUNKS
@WORLDS
@pytest.mark.parametrize("into", ["new", "existing"])
def test_a_full_destination(into: str, world: World, chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {f"d{i}": Dir({f"f{j}": File(os.urandom(100 * KIB)) for j in range(10)}) for i in range(4)})
    with small(on_tmpfs / "mount", "size=2m") as mount:
        dst = mount / "dst"
        if into == "existing":
            build(dst, {f"d{i}": Dir({"f0": File(b"old")}) for i in range(4)})
        (mount / "in-the-way").write_bytes(bytes(MIB))
        first = copy(src, dst, *chunks, world=world, code=23)
        assert all("No space left on device" in reason for reason in first.failures.values()), first.failures
        failed = set(first.failures)
        # A file that could not be replaced still is what it was.
        old = {path for path in partial_files(src, dst) if (dst / os.fsdecode(path)).read_bytes() == b"old"}
        assert {f"{src}/{os.fsdecode(path)}" for path in old} <= failed
        for path in old:
            (dst / os.fsdecode(path)).unlink()
        others_are_there(src, dst, failed)
        assert 5 <= len(failed) <= 40
        run(["mount", "-o", "remount,size=20m", mount])
        copy(src, dst, *chunks, world=world)
        oracle.assert_equal_trees(src, dst)


@needs_root
@CHUNKS
def test_a_destination_without_inodes_left(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {f"d{i}": Dir({f"f{j}": File(b"x") for j in range(10)}) for i in range(10)})
    with small(on_tmpfs / "mount", "nr_inodes=60") as mount:
        first = copy(src, mount / "dst", *chunks, code=23)
        assert all("No space left on device" in reason for reason in first.failures.values()), first.failures
        named = set(first.failures)
        assert partial_files(src, mount / "dst") == [] and stages(mount / "dst") == []
        missing = oracle.lstats(src).keys() - oracle.lstats(mount / "dst").keys()
        # Each missing entry is named, or a directory above it is.
        assert missing
        for path in map(os.fsdecode, missing):
            assert {f"{src}/{path}", f"{src}/{os.path.dirname(path)}"} & named, path
        run(["mount", "-o", "remount,nr_inodes=1000", mount])
        copy(src, mount / "dst", *chunks)
        oracle.assert_equal_trees(src, mount / "dst")


def broken_tree() -> dict[Name, Node]:
    good: dict[Name, Node] = {f"good{i}": File(b"good%d" % i * 1000) for i in range(20)}
    return {
        "whole": Dir({**good, "broken": File(b"b" * 300_000), "deep": Dir({"broken-too": File(b"b"), **good})}),
        "mixed": Dir({**good, "broken": File(b"b" * 5000), "few": Dir({"broken": File(b"b"), "good": File(b"g")})}),
    }


BROKEN = ("whole/broken", "whole/deep/broken-too", "mixed/broken", "mixed/few/broken")


@each_value
@needs_fuse
@CHUNKS
@WORLDS
@pytest.mark.parametrize("side", ["read", "write"])
def test_eio_in_a_whole_new_subtree_and_among_changed_files(
    side: str, world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, broken_tree())
    build(dst, {"mixed": Dir({"good1": File(b"old"), "broken": File(b"old"), "few": Dir({"broken": File(b"old")})})})
    faults = {f"eio_{side}": "broken"}
    with mounted(src if side == "read" else dst, **faults) as mount:  # type: ignore[arg-type]
        seen = mount if side == "read" else src
        first = copy(seen, dst if side == "read" else mount, *chunks, world=world, code=23)
    failed = {path.removeprefix(f"{seen}/") for path in first.failures}
    # While they are copied, a few files of a directory may have other names, which faultfs lets pass.
    passed = set(BROKEN) - failed
    assert failed <= set(BROKEN) and (side == "write" or not passed)
    assert passed <= {"mixed/broken", "mixed/few/broken"}
    assert all("Input/output error" in reason for reason in first.failures.values()), first.failures
    assert all((dst / name).read_bytes() == b"old" for name in failed if name.startswith("mixed/"))
    oracle.assert_equal_trees(src, dst, exclude=failed)
    assert not (dst / "whole/broken").exists() and not (dst / "whole/deep/broken-too").exists()
    copy(src, dst, *chunks, world=world)
    oracle.assert_equal_trees(src, dst)


@needs_fuse
@CHUNKS
def test_a_directory_that_cannot_be_listed_is_named_and_not_half_copied_as_whole(
    chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", {"good": Dir({"f": File(b"f")}), "a": Dir({"broken": Dir({"f": File(b"f")}), "g": File()})})
    with mounted(on_tmpfs / "src", eio_list="broken") as mount:
        run_ = copy(mount, on_tmpfs / "dst", *chunks, code=23)
        assert {path: "Input/output error" in why for path, why in run_.failures.items()} == {f"{mount}/a/broken": True}
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", exclude=["a/broken"])


@needs_fuse
@CHUNKS
def test_a_destination_that_cannot_be_listed_is_not_written_to(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"good": Dir({"f": File(b"f")}), "broken": Dir({"f": File(b"new")})})
    build(on_tmpfs / "dst", {"broken": Dir({"f": File(b"old")})})
    with mounted(on_tmpfs / "dst", eio_list="broken") as mount:
        run_ = copy(on_tmpfs / "src", mount, *chunks, code=23)
        assert set(run_.failures) == {f"{on_tmpfs}/src/broken"}
    assert (on_tmpfs / "dst/broken/f").read_bytes() == b"old"
    oracle.assert_equal_trees(on_tmpfs / "src/good", on_tmpfs / "dst/good")


@needs_root
@CHUNKS
def test_what_another_user_cannot_read(
    chunks: tuple[str, ...], everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", {
        "a": Dir({"secret": File(b"s", mode=0o600), "twin": HardLink("a/secret"), "open": File(b"o")}),
        "b": Dir({"vault": Dir({"f": File(b"f")}, mode=0o700), "listed": Dir({"f": File(b"f")}, mode=0o744)}),
        "c": File(b"c"),
    })  # fmt: skip
    mine = everyone(on_tmpfs / "mine")
    first = copy(on_tmpfs / "src", mine / "dst", *chunks, user="nobody", code=23)
    failed = {path.removeprefix(f"{on_tmpfs}/src/"): why for path, why in first.failures.items()}
    assert failed.keys() >= {"a/secret", "a/twin", "b/vault"}
    assert failed.keys() <= {"a/secret", "a/twin", "b/vault", "b/listed", "b/listed/f"}
    assert any(name.startswith("b/listed") for name in failed)
    assert all("Permission denied" in why for why in failed.values()), failed
    oracle.assert_equal_trees(on_tmpfs / "src/a", mine / "dst/a", exclude=["secret", "twin"], owners=False)
    assert (mine / "dst/c").read_bytes() == b"c"
    assert not os.path.lexists(mine / "dst/a/secret") and not os.path.lexists(mine / "dst/a/twin")


@each_value
@needs_fuse
@CHUNKS
@WORLDS
@pytest.mark.parametrize("also", ["", "and-a-real-failure"])
def test_sources_that_vanish(also: str, world: World, chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    good: dict[Name, Node] = {f"good{i}": File(b"g") for i in range(5)}
    vanishing = {"d": Dir({"vanishing": File(b"v"), **good}), "vanishing": File(b"v" * 9999), **good}
    build(on_tmpfs / "src", {"new": Dir(vanishing), "old": Dir(vanishing), "broken": File(b"b")})
    build(on_tmpfs / "dst", {"old": Dir({"good1": File(b"old"), "d": Dir()})})
    with mounted(on_tmpfs / "src", vanish="vanishing", eio_read="broken" if also else "") as mount:
        first = copy(mount, on_tmpfs / "dst", *chunks, world=world, code=23 if also else 24)
        names = {path.removeprefix(f"{mount}/") for path in first.failures}
        if not also:
            assert all(each["vanished"] for each in first.report["failures"])
    vanished = {"new/vanishing", "new/d/vanishing", "old/vanishing", "old/d/vanishing"}
    assert names == vanished | ({"broken"} if also else set())
    # The source's directories changed when their entries vanished, in part after they had been copied.
    times = oracle.exact_times(on_tmpfs / "src", on_tmpfs / "dst", exclude=["broken"])
    copy(on_tmpfs / "src", on_tmpfs / "dst", *chunks, world=world)
    assert len(times) <= 5
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


@needs_fuse
def test_failing_names_are_shown_on_one_line_and_can_be_read_back(on_tmpfs: Path) -> None:
    names = [b"new\nline-bad", b"\xff\xfe-bad", b"tab\t-bad", b"back\\slash-bad", "é-bad".encode(), b"'quote\"-bad"]
    build(on_tmpfs / "src", {"d": Dir({name: File(b"x") for name in names}), "fine": File(b"fine")})
    with mounted(on_tmpfs / "src", eio_read="bad") as mount:
        first = copy(mount, on_tmpfs / "dst", code=23)
        prefix = f"{mount}/d/"
    shown = {"new\\nline-bad", "\\xff\\xfe-bad", "tab\\t-bad", "back\\\\slash-bad", "é-bad", "'quote\"-bad"}
    assert {path.removeprefix(prefix) for path in first.failures} == shown
    lines = [line for line in first.done.stderr.splitlines() if "bad" in line]
    # Five of a kind in full, the others counted.
    assert len(lines) == 5 and all(line.startswith(f"failed: {prefix}") for line in lines)
    assert "1 more" in first.done.stderr


@needs_fuse
@CHUNKS
def test_the_leader_of_hard_links_that_cannot_be_read_does_not_take_the_others_along(
    chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", {"a": Dir({"x1": File(b"x" * 5000)}), "b": Dir({"x2": HardLink("a/x1")}),
                             "c": Dir({"d": Dir({"x3": HardLink("a/x1")})})})  # fmt: skip
    for broken in ("x1", "x2", "x3"):
        with mounted(on_tmpfs / "src", eio_read=broken) as mount:
            dst = on_tmpfs / f"dst-{broken}"
            done = PLAIN.run([mount, dst, *chunks])
        good = [path for path in ("a/x1", "b/x2", "c/d/x3") if not path.endswith(broken)]
        assert done.returncode in (0, 23), str(done)
        assert chunks or len({os.stat(dst / path).st_ino for path in good}) == 1
        assert {(dst / path).read_bytes() for path in good} == {b"x" * 5000}
        assert done.returncode == 23 or os.stat(dst / good[0]).st_nlink == 3
        copy(on_tmpfs / "src", dst, *chunks)
        oracle.assert_equal_trees(on_tmpfs / "src", dst)


@needs_fuse
@pytest.mark.parametrize("kind", ["one-big-file", "many-small-files"])
def test_a_cp_that_is_killed_leaves_nothing_in_part(kind: str, on_tmpfs: Path) -> None:
    sizes = {"one-big-file": (3, 8 * MIB), "many-small-files": (300, 4 * KIB)}[kind]
    files: dict[Name, Node] = {f"f{i:03}": File(os.urandom(64) * (sizes[1] // 64), mode=0o640) for i in range(sizes[0])}
    build(on_tmpfs / "src", {"d": Dir(files, mode=0o711, mtime_ns=5)})
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing", data_us=4000) as mount:
        arguments = ["--json", on_tmpfs / "json", on_tmpfs / "src", mount / "dst", "-j", "2"]
        with PLAIN.start(arguments) as running:
            killed: list[int] = []
            while not killed:
                if any((on_tmpfs / "backing/dst").glob(".hpcp-mpi.*/d/f*")):
                    killed = cps(on_tmpfs)
                    for pid in killed:
                        os.kill(pid, signal.SIGKILL)
            done = running.finish()
        assert done.returncode == 23, str(done)
        assert "signal 9" in done.stderr
        assert partial_files(on_tmpfs / "src", mount / "dst") == []
        assert stages(mount / "dst") == []
        # What is there without its metadata is named too.
        named = {each["path"] for each in json.loads((on_tmpfs / "json").read_text())["failures"]}
        there = oracle.lstats(mount / "dst")
        for path, info in oracle.lstats(on_tmpfs / "src").items():
            if (
                path in there
                and path != b"."
                and (info.st_mode, info.st_mtime_ns)
                != (
                    there[path].st_mode,
                    there[path].st_mtime_ns,
                )
            ):
                assert f"{on_tmpfs}/src/{os.fsdecode(path)}" in named
        copy(on_tmpfs / "src", mount / "dst")
        oracle.assert_equal_trees(on_tmpfs / "src", mount / "dst")
