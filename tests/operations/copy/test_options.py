"""What each option of a copy changes, and that a dry run changes nothing at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import TINY_CHUNKS, changed, copy, items, refused, run, state
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_root, worlds
from tests.support.torture import torture
from tests.support.trees import Dir, Fifo, File, Sparse, Symlink, build

pytestmark = needs_commands("rsync", "cmp")
MIB = 1 << 20
T = 1_600_000_000 * 10**9
CHUNKS = pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])


@each_value
@CHUNKS
@pytest.mark.parametrize("world", [*worlds(launchers=("plain",)), *worlds((3,), launchers=("mpich",))])
def test_a_dry_run_changes_nothing_and_lists_what_the_real_run_does(
    world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    torture(src, as_root=os.geteuid() == 0, beyond_path_max=False)
    before = state(on_tmpfs)
    foretold = copy(src, dst, "-n", *chunks, world=world)
    assert changed(before, state(on_tmpfs)) == set() and not dst.exists()
    real = copy(src, dst, "-v", *chunks, world=world)
    assert set(items(foretold.done.stdout)) == set(items(real.done.stdout))
    kinds = ("files", "directories", "links", "other")
    assert {k: foretold.report["copied"][k] for k in kinds} == {k: real.report["copied"][k] for k in kinds}
    assert items(copy(src, dst, "-n", *chunks, world=world).done.stdout) == {}


def test_directories_only(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": Dir({"f": File(b"f"), "b": Dir(mode=0o700, mtime_ns=5), "l": Symlink("f"),
                                       "p": Fifo()}, mode=0o2751, mtime_ns=6)})  # fmt: skip
    copy("-do", on_tmpfs / "src", on_tmpfs / "dst")
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", exclude=["a/f", "a/l", "a/p"])
    assert not (on_tmpfs / "dst/a/f").exists()
    before = state(on_tmpfs / "dst")
    assert copy("-do", on_tmpfs / "src", on_tmpfs / "dst").copied_entries == 0
    assert changed(before, state(on_tmpfs / "dst")) == set()


@CHUNKS
def test_without_directory_metadata_directories_are_made_as_mkdir_makes_them(
    chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"f", mode=0o640, mtime_ns=5), "empty": Dir(mode=0o700)}, mode=0o711, mtime_ns=6)})
    build(dst, {"kept": Dir(mode=0o750, mtime_ns=7)})
    os.mkdir(src / "kept", 0o700)
    copy("-nds", src, dst, *chunks)
    assert os.stat(dst / "a/f").st_mtime_ns == 5 and os.stat(dst / "a/f").st_mode & 0o777 == 0o640
    umask = os.umask(0o22)
    os.umask(umask)
    for name in ("a", "a/empty"):
        assert os.stat(dst / name).st_mode & 0o777 == 0o777 & ~umask
        assert os.stat(dst / name).st_mtime_ns > 10**18
    assert os.stat(dst / "kept").st_mode & 0o777 == 0o750
    before = state(dst)
    assert copy("-nds", src, dst, *chunks).copied_entries == 0
    assert changed(before, state(dst)) == set()


def test_only_directories_without_their_metadata_is_nothing_anyone_can_mean(on_tmpfs: Path) -> None:
    (on_tmpfs / "src").mkdir()
    refused("-do", "-nds", on_tmpfs / "src", on_tmpfs / "dst", code=[2])
    assert not (on_tmpfs / "dst").exists()


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Change content, keeping size and mtime."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


HASHES = [
    # (options, a change in the last 64 KiB, in the middle, at the begin is seen)
    ((), True, False, False),
    (("-hs", "0"), False, False, False),
    (("-fh",), True, True, True),
    (("-fh", "-hs", "0"), True, True, True),
    (("-hs", "100"), False, False, False),
    (("-hs", "2097152"), True, True, False),
    (("-hs", str(99 * MIB)), True, True, True),
]


@pytest.mark.parametrize("options, tail, middle, head", HASHES, ids=[" ".join(each[0]) or "-" for each in HASHES])
def test_how_much_of_a_file_is_compared(
    options: tuple[str, ...], tail: bool, middle: bool, head: bool, on_tmpfs: Path
) -> None:
    size = 3 * MIB
    names = {"tail": size - 1000, "middle": size // 2, "head": 0}
    build(on_tmpfs / "src", {name: File(b"c" * size, mtime_ns=T) for name in (*names, "same")})
    run(["cp", "-a", on_tmpfs / "src", on_tmpfs / "dst"])
    for name, at in names.items():
        overwrite(on_tmpfs / "src" / name, at, b"changed")
    again = copy(on_tmpfs / "src", on_tmpfs / "dst", "-v", *options)
    seen = dict(zip(names, (tail, middle, head), strict=True))
    assert set(items(again.done.stdout)) == {name for name, is_seen in seen.items() if is_seen}
    for name, is_seen in seen.items():
        same = subprocess.run(["cmp", "-s", on_tmpfs / "src" / name, on_tmpfs / "dst" / name]).returncode == 0
        assert same == is_seen


@CHUNKS
def test_what_is_excluded_is_pruned_and_protected(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    inner = Dir({"cache": File(b"new"), "b": File(b"b"), "x": Dir({"only": File(b"o")})})
    build(src, {"a.tmp": File(b"new"), "cache": Dir({"f": File(b"f")}), "d": inner, "keep": File(b"k"),
                "top": Dir({"f": File(b"f")})})  # fmt: skip
    build(dst, {"a.tmp": File(b"old"), "d": Dir({"cache": Dir({"old": File(b"old")})})})
    before = {path: value for path, value in state(dst).items() if path in (b"a.tmp", b"d/cache", b"d/cache/old")}
    patterns = on_tmpfs / "patterns"
    patterns.write_text(f"# a comment\n\ncache\n{src}/top\nd/x/*\n")
    copy(src, dst, "-e", "*.tmp", "-x", patterns, *chunks)
    assert {path: state(dst)[path] for path in before} == before
    oracle.assert_equal_trees(src, dst, exclude=["a.tmp", "cache", "d/cache", "d/x/only", "top"])
    assert sorted(os.listdir(dst)) == ["a.tmp", "d", "keep"] and os.listdir(dst / "d/x") == []
    again = copy(src, dst, "-e", "*.tmp", "-x", patterns, *chunks)
    assert again.copied_entries == 0


def test_a_window_for_times(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"near": File(b"1", mtime_ns=T + 2 * 10**9), "far": File(b"2", mtime_ns=T + 2 * 10**9 + 1)})
    build(on_tmpfs / "dst", {"near": File(b"1", mtime_ns=T), "far": File(b"2", mtime_ns=T)})
    again = copy("-v", "--modify-window", "2", on_tmpfs / "src", on_tmpfs / "dst")
    assert {path for path in items(again.done.stdout) if not path.endswith("/")} == {"far"}
    assert os.stat(on_tmpfs / "dst/near").st_mtime_ns == T


@contextmanager
def whole_seconds(place: Path) -> Iterator[Path]:
    """A file system that stores no fraction of a second."""
    image, mount = place / "image", place / "mount"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(32 * MIB)
    run(["mkfs.ext4", "-q", "-I", "128", "-O", "^has_journal", image])
    run(["mount", "-o", "loop", image, mount])
    try:
        yield mount
    finally:
        run(["umount", "-l", mount])


@needs_root
@needs_commands("mkfs.ext4")
@CHUNKS
def test_a_destination_that_stores_whole_seconds_converges(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"d": Dir({f"f{i}": File(b"x", mtime_ns=T + i * 123_456_789) for i in range(9)}),
                             "l": Symlink("d", mtime_ns=T + 1), "e": Dir(mtime_ns=T + 999_999_999)})  # fmt: skip
    os.utime(on_tmpfs / "src", ns=(T, T + 5))  # not as new as its copy will be: a second apart would be equal
    with whole_seconds(on_tmpfs) as mount:
        copy(on_tmpfs / "src", mount / "dst", *chunks)
        assert oracle.differences(on_tmpfs / "src", mount / "dst") == []
        before = state(mount / "dst")
        again = copy(on_tmpfs / "src", mount / "dst", *chunks)
        assert again.copied_entries == 0
        assert changed(before, state(mount / "dst")) == set()
        # What differs by a second is seen all the same.
        os.utime(on_tmpfs / "src/d/f0", ns=(T, T + 10**9))
        assert copy(on_tmpfs / "src", mount / "dst", *chunks).report["copied"]["files"] == 1


@needs_root
@needs_commands("mkfs.ext4")
def test_a_dry_run_knows_whole_seconds_too(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"x", mtime_ns=T + 1)})
    with whole_seconds(on_tmpfs) as mount:
        copy(on_tmpfs / "src", mount / "dst")
        assert items(copy("-n", on_tmpfs / "src", mount / "dst").done.stdout) == {}


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_holes(on_disk: Path) -> None:
    build(on_disk / "src", {"holes": Sparse(8 * MIB, ((MIB, b"x" * 4096),)), "zeros": File(bytes(2 * MIB))})
    for option, holes, zeros in ((None, False, True), ("always", False, False), ("never", True, True)):
        dst = on_disk / f"dst-{option}"
        copy(on_disk / "src", dst, *(["--sparse", option] if option else []))
        assert (allocated(dst / "holes") > 4 * MIB) == holes, option
        assert (allocated(dst / "zeros") > MIB) == zeros, option
        oracle.assert_equal_trees(on_disk / "src", dst, sparse=False)


def test_single_mode_and_job_counts_give_the_same(on_tmpfs: Path) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0, beyond_path_max=False)
    for index, options in enumerate((["-s"], ["-j", "1"], ["-j", "7"], ["-j", "0"], ["-j", "-1"], ["-f", "10"])):
        copy(on_tmpfs / "src", on_tmpfs / f"dst{index}", *options, "-b")
        oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / f"dst{index}", sockets=False)


@pytest.mark.parametrize("world", worlds((3,), launchers=("mpich",)))
def test_one_rank_alone_works_in_single_mode(world: World, on_tmpfs: Path) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0, beyond_path_max=False)
    run_ = copy(on_tmpfs / "src", on_tmpfs / "dst", "-s", world=world)
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", sockets=False)
    assert [share["slots"] for share in run_.report["ranks"]] == [1]
