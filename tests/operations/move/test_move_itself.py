"""A move never takes its own source for its copy, through whatever mount and by whatever inode numbers it is seen; and
it refuses at the start what cannot go.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.operations.move.test_move import names
from tests.support.copies import changed, copy, refused, run, stages, state
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.marks import needs_fuse, needs_root
from tests.support.trees import Dir, File, Symlink, build

PLAIN, RANKS = World("plain"), World("mpich", 3)


@contextmanager
def overlay(lower: Path, place: Path) -> Iterator[Path]:
    """Yield a place that shows lower, and is written to elsewhere."""
    for name in ("upper", "work", "merged"):
        (place / name).mkdir()
    options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
    if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, place / "merged"]).returncode:
        pytest.skip("no overlay here")
    try:
        yield place / "merged"
    finally:
        run(["umount", place / "merged"])


def unharmed(before: dict[bytes, tuple[int, int]], root: Path) -> None:
    """Nothing in root was changed, but for the change times of directories in which a marker was made."""
    after = state(root)
    assert before.keys() == after.keys()
    assert all((root / os.fsdecode(path)).is_dir() for path in changed(before, after))


@needs_root
@needs_fuse
@pytest.mark.parametrize("kind", ["fuse", "overlay", "upper"])
def test_a_source_that_is_its_destination_through_another_mount_is_refused(kind: str, on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {"d": Dir({"f": File(b"the only one")}), "g": File(b"g")})
    os.utime(src, ns=(10**18, 10**18))
    before = state(src)
    with mounted(src, own_inodes=1) if kind == "fuse" else overlay(src, on_tmpfs) as dst:
        if kind == "upper":  # what is moved is seen through the overlay, its destination is what lies below that
            refused(dst, "-d", src, "-rm", "-rf", says="through another mount")
        else:
            assert os.stat(src).st_dev != os.stat(dst).st_dev
            refused(src, "-d", dst, "-rm", "-rf", says="through another mount")
            refused(src / "g", "-d", f"{dst}/", "-rm", "-rf", says="its place in the destination")
            copy(src, dst)  # without a move nothing can be lost
    unharmed(before, src)
    assert os.stat(src).st_mtime_ns == 10**18


@needs_fuse
def test_a_destination_that_lies_in_the_source_or_holds_it_is_refused(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"a": Dir({"src": Dir({"sub": Dir({"f": File(b"f")}), "g": File(b"g")})})})
    src = on_tmpfs / "a/src"
    before = state(src)
    with mounted(src, own_inodes=1) as mount:
        refused(src, "-d", mount / "sub", "-rm", "-rf", says="holds the destination")
        assert not copy(src, "-d", mount / "sub", "-rm", "-rf", "-e", mount / "sub", "-n").failures
    with mounted(on_tmpfs / "a", own_inodes=1) as mount:
        refused(src, "-d", mount, "-rm", "-rf", says="in the destination")
    unharmed(before, src)


@needs_fuse
@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_a_destination_that_is_somewhere_in_the_source_is_not_copied_into_itself(world: World, on_tmpfs: Path) -> None:
    """Its path shows nothing of the source, so only what the scan sees tells."""
    src = on_tmpfs / "src"
    build(src, {"sub": Dir({"deep": Dir({"x": File(b"x")})}), "d": Dir({"f": File(b"f")}), "g": File(b"g")})
    with mounted(src / "sub/deep", own_inodes=1) as dst:
        run_ = copy(src, "-d", dst, "-rm", "-rf", "-pfl", world=world, code=23)
    assert f"{src}/sub/deep" in run_.failures and "destination itself" in run_.failures[f"{src}/sub/deep"]
    assert names(src / "sub/deep") >= {b"x", b"d", b"d/f", b"g"}
    assert (src / "sub/deep/d/f").read_bytes() == b"f" and (src / "sub/deep/x").read_bytes() == b"x"
    assert names(src) - {b"sub"} == {b"sub/" + each for each in names(src / "sub")}
    assert stages(src) == []


@needs_root
@needs_fuse
@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_a_directory_that_is_mounted_in_the_destination_by_fuse_stays(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"f": File(b"the only one"), "e": Dir({"g": File(b"g")})}), "h": File(b"h")})
    build(dst, {"d": Dir({})})
    with mounted(src / "d", own_inodes=1) as mount:
        run(["mount", "--bind", mount, dst / "d"])
        try:
            run_ = copy(src, "-d", dst, "-rm", "-rf", world=world, code=23)
        finally:
            run(["umount", dst / "d"])
    assert names(src) == {b"d", b"d/f", b"d/e", b"d/e/g"} and (src / "d/f").read_bytes() == b"the only one"
    assert run_.failures == {f"{src}/d": "source and destination are the same entry; kept"}


# --- what cannot go


@needs_root
def test_a_source_on_a_file_system_that_is_mounted_read_only_is_refused(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"f")})
    run(["mount", "--bind", src, src])
    try:
        run(["mount", "-o", "remount,bind,ro", src])
        for what in (src, src / "f"):
            refused(what, "-d", dst, "-rm", "-rf", says="cannot be moved.*Read-only file system")
            refused(what, "-d", dst, "-rm", "-n", says="cannot be moved.*Read-only file system")
        assert not dst.exists()
        copy(src, dst)
    finally:
        run(["umount", src])


@needs_root
def test_a_source_that_this_user_may_not_write_to_is_refused(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> None:
    build(on_tmpfs, {"src": Dir({"f": File(b"f", mode=0o644)}, mode=0o755)})
    to = everyone(on_tmpfs / "to")
    refused(on_tmpfs / "src", "-d", to / "dst", "-rm", "-rf", says="cannot be moved.*Permission denied", user="nobody")
    refused(on_tmpfs / "src/f", "-d", to / "dst", "-rm", "-rf", says="cannot be moved.*Permission", user="nobody")
    assert names(to) == set()


@needs_root
def test_what_lies_deeper_and_cannot_go_is_named_for_what_it_is(
    on_tmpfs: Path, everyone: Callable[[Path], Path]
) -> None:
    """Files that are a moment old: nothing of them is "changed during the move"."""
    build(on_tmpfs, {"to": Dir({"src": Dir({"d": Dir({"f": File(b"f")}), "e": Dir({"g": File(b"g")})})})})
    to = everyone(on_tmpfs / "to")
    os.chown(to / "src/d", 0, 65534)
    run_ = copy(to / "src", "-d", to / "dst", "-rm", "-rf", "--accept-loss", code=23, user="nobody")
    assert names(to / "src") == {b"d", b"d/f"}
    assert run_.failures == {f"{to}/src/d/f": "cannot remove: Permission denied"}


@pytest.mark.parametrize("end", ["", "/", "/."])
def test_a_symlink_to_a_directory_is_moved_only_if_it_is_clear_what_is_meant(end: str, on_tmpfs: Path) -> None:
    build(on_tmpfs, {"real": Dir({"f": File(b"f")}), "link": Symlink("real")})
    refused(f"{on_tmpfs}/link{end}", "-d", on_tmpfs / "dst", "-rm", "-rf", says="is a symlink to a directory", code=[2])
    assert names(on_tmpfs / "real") == {b"f"} and not (on_tmpfs / "dst").exists()
    if not end:
        copy(on_tmpfs / "link", "-d", f"{on_tmpfs}/dst/", "-rm", "-rf", "-nlt")
        assert os.readlink(on_tmpfs / "dst/link") == "real" and not (on_tmpfs / "link").is_symlink()
    assert names(on_tmpfs / "real") == {b"f"}
