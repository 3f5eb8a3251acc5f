"""Copying again changes what differs, that entry and no other, and says so as rsync does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, changed, copy, items, rsync_items, state
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_root, worlds
from tests.support.trees import Dir, Fifo, File, HardLink, Name, Node, Symlink, build, encode_acl

pytestmark = needs_commands("rsync", "cmp")
T = 1_600_000_000 * 10**9
ACL = "u::rw-,u:1234:rw-,g::r--,m::rw-,o::---"


def tree() -> dict[Name, Node]:
    """Every file has the same size and time, so that only what a test changes can tell."""
    files: dict[Name, Node] = {name: File(b"a" * 100, mtime_ns=T + 123) for name in ("one", "two", "three")}
    return {
        "dir": Dir({**files, "sub": Dir(dict(files), mtime_ns=T), "empty": Dir(mtime_ns=T)}, mtime_ns=T),
        "other": Dir({**files, "link": Symlink("one", mtime_ns=T), "fifo": Fifo(mtime_ns=T)}, mtime_ns=T),
        "hard": Dir({"a": File(b"h" * 50, mtime_ns=T), "b": HardLink("hard/a"), "c": File(b"h" * 50, mtime_ns=T)},
                    mtime_ns=T),
        "top": File(b"t" * 100, mtime_ns=T + 7),
    }  # fmt: skip


@pytest.fixture
def pair(on_tmpfs: Path) -> tuple[Path, Path]:
    """A tree and a copy that is up to date, made by rsync and not by us."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, tree())
    os.utime(src, ns=(T, T))
    copy_by_rsync(src, dst)
    return src, dst


def copy_by_rsync(src: Path, dst: Path) -> None:
    subprocess.run(["rsync", "-aHAX", f"{src}/", f"{dst}/"], check=True)


def keep_time(path: Path, change: Callable[[Path], None]) -> None:
    before = os.lstat(path)
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def content(path: Path) -> None:
    path.write_bytes(b"b" * path.stat().st_size)


def retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("two")


def touch(path: Path) -> None:
    os.utime(path, ns=(T, T + 10**9), follow_symlinks=False)


def setuid_of_another_group(path: Path) -> None:
    os.chown(path, -1, 4321)
    path.chmod(0o6755)


CHANGES: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "content-of-one-size": ("dir/one", content),
    "content-of-one-size-and-time": ("dir/one", lambda path: keep_time(path, content)),
    "size": ("dir/sub/two", lambda path: keep_time(path, lambda each: each.write_bytes(b"short") and None)),
    "mtime": ("dir/two", touch),
    "mtime-by-a-nanosecond": ("dir/two", lambda path: os.utime(path, ns=(T, T + 124))),
    "mode": ("dir/one", lambda path: path.chmod(0o4711)),
    "xattr": ("dir/one", lambda path: os.setxattr(path, "user.new", b"value")),
    "acl": ("dir/one", lambda path: os.setxattr(path, "system.posix_acl_access", encode_acl(ACL))),
    "link-target": ("other/link", lambda path: keep_time(path, retarget)),
    "link-mtime": ("other/link", touch),
    "fifo-mode": ("other/fifo", lambda path: path.chmod(0o600)),
    "fifo-mtime": ("other/fifo", touch),
    "directory-mode": ("dir/sub", lambda path: path.chmod(0o2700)),
    "directory-mtime": ("dir/sub", touch),
    "directory-xattr": ("dir/empty", lambda path: os.setxattr(path, "user.new", b"value")),
    "directory-acl": ("dir/empty", lambda path: os.setxattr(path, "system.posix_acl_default", encode_acl(ACL))),
}
OF_ROOT: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "owner": ("dir/one", lambda path: os.chown(path, 1234, -1)),
    "group-of-setuid": ("dir/one", setuid_of_another_group),
    "link-owner": ("other/link", lambda path: os.chown(path, 1234, 4321, follow_symlinks=False)),
    "directory-narrower": ("dir/sub", lambda path: path.chmod(0o700)),
    "directory-owner": ("dir/sub", lambda path: os.chown(path, 1234, 4321)),
}


def letters(lines: Mapping[str, str]) -> dict[str, str]:
    """What differs, without `c`: rsync was told to compare content, and then says so in its own way."""
    return {path: change[1:].replace("c", ".") for path, change in lines.items()}


def expect(src: Path, dst: Path, wanted: set[str], *options: str, world: World = PLAIN) -> None:
    """Dry run, then real run: both say what rsync says, and only wanted entries change (and where they lie)."""
    theirs = rsync_items(src, dst, "--checksum", "--modify-window=-1")
    before = state(dst)
    foretold = items(copy(src, dst, "-n", *options, world=world).done.stdout)
    assert changed(before, state(dst)) == set(), "a dry run"
    told = items(copy(src, dst, "-v", *options, world=world).done.stdout)
    oracle.assert_equal_trees(src, dst)
    assert set(told) == set(foretold)
    assert {path.rstrip("/") for path in foretold} == wanted == {path.rstrip("/") for path in theirs}
    assert letters(foretold) == letters(theirs)
    touched = {os.fsdecode(path) for path in changed(before, state(dst))}
    parents = {os.path.dirname(path) or "." for path in wanted}
    assert touched - parents == wanted - parents


@pytest.mark.parametrize("name", CHANGES)
def test_one_change_changes_one_entry(name: str, pair: tuple[Path, Path]) -> None:
    path, change = CHANGES[name]
    change(pair[0] / path)
    os.utime((pair[0] / path).parent, ns=(T, T))
    expect(*pair, {path})


@each_value
@pytest.mark.parametrize("world", worlds((3,), launchers=("mpich", "openmpi")))
@pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])
def test_many_changes_at_once_change_those_entries(
    world: World, chunks: tuple[str, ...], pair: tuple[Path, Path]
) -> None:
    names = ("content-of-one-size-and-time", "size", "mtime", "link-target", "fifo-mode", "directory-xattr")
    for name in names:
        path, change = CHANGES[name]
        change(pair[0] / path)
        os.utime((pair[0] / path).parent, ns=(T, T))
    expect(*pair, {CHANGES[name][0] for name in names}, *chunks, world=world)


@needs_root
@pytest.mark.parametrize("name", OF_ROOT)
def test_one_change_of_an_owner_changes_one_entry(name: str, pair: tuple[Path, Path]) -> None:
    path, change = OF_ROOT[name]
    change(pair[0] / path)
    expect(*pair, {path})


def test_metadata_alone_is_written_without_a_copy(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    inode = os.stat(dst / "dir/one").st_ino
    (src / "dir/one").chmod(0o600)
    os.setxattr(src / "dir/one", "user.a", b"b")
    again = copy(src, dst)
    oracle.assert_equal_trees(src, dst)
    assert os.stat(dst / "dir/one").st_ino == inode
    assert again.copied_entries == 0 and again.report["metadata_only"]["files"] == 1


def test_what_only_the_copy_has_of_xattrs_and_acls_goes(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    os.setxattr(dst / "dir/one", "user.stale", b"value")
    os.setxattr(dst / "dir/two", "system.posix_acl_access", encode_acl(ACL))
    os.setxattr(dst / "dir/sub", "user.stale", b"value")
    os.setxattr(dst / "dir/empty", "system.posix_acl_default", encode_acl(ACL))
    expect(src, dst, {"dir/one", "dir/two", "dir/sub", "dir/empty"})


def test_what_was_changed_at_the_destination_comes_back(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    keep_time(dst / "dir/one", content)
    (dst / "dir/two").unlink()
    (dst / "dir/three").write_bytes(b"longer than it was")
    touch(dst / "dir")
    expect(src, dst, {"dir", "dir/one", "dir/two", "dir/three"})


KINDS: Mapping[str, Node] = {
    "file": File(b"content", mtime_ns=T),
    "directory": Dir({"inner": File(b"i"), "deep": Dir({"f": File(b"f")})}, mtime_ns=T),
    "symlink": Symlink("nowhere", mtime_ns=T),
    "link-to-directory": Symlink("../outside", mtime_ns=T),
    "fifo": Fifo(mtime_ns=T),
}


@pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])
def test_every_type_becomes_every_other(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    src, dst, outside = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "outside"
    same = File(b"s", mtime_ns=T)
    pairs = {f"{was}-to-{becomes}": (KINDS[was], KINDS[becomes]) for was in KINDS for becomes in KINDS}
    # A directory that holds something is not removed; that has a test of its own.
    olds = {name: Dir() if "directory-to" in name and isinstance(was, Dir) else was for name, (was, _) in pairs.items()}
    build(src, {name: Dir({"x": becomes, "same": same}, mtime_ns=T) for name, (_, becomes) in pairs.items()})
    build(dst, {name: Dir({"x": olds[name], "same": same}, mtime_ns=T) for name in pairs})
    build(outside, {"inner": File(b"untouched")})
    build(dst / "outside", {"inner": File(b"untouched too")})
    before, aside, kept = state(outside), state(dst / "outside"), state(dst)
    copy(src, dst, "--backup-dir", "../backup", *chunks)
    assert state(outside) == before and state(dst / "outside") == aside
    oracle.assert_equal_trees(src, dst, exclude=["outside"], top=False)
    assert not {path for path in changed(kept, state(dst)) if path.endswith(b"/same")}
    assert copy(src, dst, *chunks).copied_entries == 0


@needs_root
@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_another_user_gives_read_only_entries_new_attributes(
    mode: int, everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    mine = everyone(on_tmpfs / "mine")
    nobody = os.stat(mine)
    entries: dict[Name, Node] = {"f": File(b"f", mode=mode), "d": Dir({"g": File(b"g")}, mode=mode | 0o111)}
    build(mine / "src", entries, owner=(nobody.st_uid, nobody.st_gid))
    copy(mine / "src", mine / "dst", user="nobody")
    for name in ("f", "d"):
        os.setxattr(mine / "src" / name, "user.new", b"value")
    copy(mine / "src", mine / "dst", user="nobody")
    oracle.assert_equal_trees(mine / "src", mine / "dst")


def test_nothing_is_copied_when_a_directory_was_only_read(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    before = state(dst)
    os.listdir(src / "dir")
    (src / "dir/one").read_bytes()
    expect(src, dst, set())
    assert changed(before, state(dst)) == set()


@needs_root
def test_few_files_of_several_directories_are_copied_though_one_is_mounted_from_the_same_file_system(
    on_tmpfs: Path,
) -> None:
    """One `cp` copies them, in a stage in one of the directories; from there no rename leads into the mounted one."""
    src, dst, elsewhere = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "elsewhere"
    build(src, {name: Dir({"f": File(name.encode())}) for name in ("one", "two", "three")})
    build(dst, {name: Dir() for name in ("one", "two", "three")})
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", elsewhere, dst / "two"], check=True)
    try:
        copy(src, dst)
        assert (elsewhere / "f").read_bytes() == b"two"
        assert (dst / "one/f").read_bytes() == b"one" and (dst / "three/f").read_bytes() == b"three"
        assert not [name for name in os.listdir(elsewhere) if name != "f"]
    finally:
        subprocess.run(["umount", dst / "two"], check=True)
