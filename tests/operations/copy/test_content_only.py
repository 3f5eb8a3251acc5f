"""-co: content, and nothing else. What a new entry gets is what plain `mkdir` and `cp` would have given it."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support import direct, oracle
from tests.support.copies import TINY_CHUNKS, changed, copy, items, refused, run, state
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_root, worlds
from tests.support.trees import Dir, File, HardLink, Symlink, at, build, encode_acl

pytestmark = needs_commands("rsync", "cmp", "cp")
MIB = 1 << 20
T = 1_500_000_000 * 10**9
DEFAULT_ACL = "u::rwx,u:65534:rwx,g::r-x,m::rwx,o::---"
RUNS = pytest.mark.parametrize(
    "options", [(), TINY_CHUNKS, ("-pfl",), ("--split-size", "4M")], ids=["chunks", "tiny", "pfl", "ranges"]
)


def metadata(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        entry = at(fd, path.name)
        names = sorted(os.listxattr(entry, follow_symlinks=False))
        xattrs = {name: os.getxattr(entry, name, follow_symlinks=False) for name in names}
    finally:
        os.close(fd)
    return stat.filemode(info.st_mode), info.st_uid, info.st_gid, xattrs


@pytest.fixture
def source(on_tmpfs: Path) -> Path:
    src = on_tmpfs / "src"
    owner = (1234, 2345) if os.geteuid() == 0 else None
    build(src, {
        "f": File(b"f", mode=0o640, mtime_ns=T, owner=owner), "x": File(b"x", mode=0o755, mtime_ns=T),
        "read-only": File(b"r", mode=0o444, xattrs={"user.a": b"b"}), "l": Symlink("f", mtime_ns=T),
        "d": Dir({"g": File(b"g", mode=0o600), "twin": HardLink("f"), "big": File(os.urandom(9 * MIB), mode=0o440),
                  "empty": Dir(mode=0o700)}, mode=0o700, mtime_ns=T, owner=owner),
    })  # fmt: skip
    return src


def same_content(src: Path, dst: Path) -> bool:
    done = subprocess.run(["rsync", "-rlHnic", "--delete", f"{src}/", f"{dst}/"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith(".")] == []


@RUNS
def test_new_entries_are_what_cp_and_mkdir_make_there(options: tuple[str, ...], source: Path, on_tmpfs: Path) -> None:
    ours, theirs = on_tmpfs / "ours", on_tmpfs / "theirs"
    for root in (ours, theirs):
        build(root, {"d": Dir()})
        os.setxattr(root / "d", "system.posix_acl_default", encode_acl(DEFAULT_ACL))
        if os.geteuid() == 0:
            for path in (root, root / "d"):
                os.chown(path, -1, 4321)
                os.chmod(path, 0o2755)
    before = os.stat(source / "f").st_mtime
    copy("-co", *options, source, ours)
    for name in ("f", "x", "read-only", "d/g", "d/big"):
        run(["cp", source / name, theirs / name])
    run(["mkdir", theirs / "d/empty"])
    for name in ("f", "x", "read-only", "d/g", "d/big", "d/empty", "d", "."):
        assert metadata(ours / name) == metadata(theirs / name), name
    assert same_content(source, ours)
    assert os.stat(ours / "f").st_mtime > before and os.readlink(ours / "l") == "f"
    assert os.path.samefile(ours / "f", ours / "d/twin")


@RUNS
def test_again_nothing_is_touched_though_no_time_is_equal(
    options: tuple[str, ...], source: Path, on_tmpfs: Path
) -> None:
    dst = on_tmpfs / "dst"
    copy("-co", *options, source, dst)
    before = state(dst)
    os.chmod(source / "x", 0o700)
    os.utime(source / "d/g")
    again = copy("-co", *options, source, dst)
    assert again.copied_entries == 0 and changed(before, state(dst)) == set()


@RUNS
def test_content_decides_wherever_it_differs(options: tuple[str, ...], source: Path, on_tmpfs: Path) -> None:
    dst = on_tmpfs / "dst"
    copy("-co", *options, source, dst)
    with open(source / "d/big", "r+b") as file:  # same size, far from the tail
        file.write(b"other")
    os.utime(source / "d/big", ns=(T, T))
    again = copy("-co", "-v", *options, source, dst)
    assert {path for path in items(again.done.stdout)} == {"d/big"}
    assert same_content(source, dst)


def test_a_size_alone_makes_nothing_identical(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"same size": File(b"1"), "longer": File(b"22")})
    build(on_tmpfs / "dst", {"same size": File(b"0"), "longer": File(b"0")})
    for compared in ((), ("-cfl",)):
        refused("-co", "-hs", "0", *compared, on_tmpfs / "src", on_tmpfs / "dst", says="sizes only")
    assert (on_tmpfs / "dst/same size").read_bytes() == b"0"
    copy("-co", "-hs", "0", "-fh", on_tmpfs / "src", on_tmpfs / "dst")
    assert (on_tmpfs / "dst/same size").read_bytes() == b"1"
    build(on_tmpfs / "dst2", {"same size": File(b"0"), "longer": File(b"0")})
    direct.copy(on_tmpfs / "src", on_tmpfs / "dst2", content_only=True, hash_size=0)  # as there is no one to refuse
    assert (on_tmpfs / "dst2/same size").read_bytes() == b"1"


@needs_root
@RUNS
def test_a_file_that_is_replaced_keeps_its_own_metadata(options: tuple[str, ...], source: Path, on_tmpfs: Path) -> None:
    dst = on_tmpfs / "dst"
    build(dst, {
        "f": File(b"old", mode=0o4711, owner=(77, 88), xattrs={"user.kept": b"1"},
                  acl="u::rwx,u:9:r--,g::--x,m::r-x,o::--x"),
        "d": Dir({"big": File(b"old", mode=0o606, owner=(5, 6))}, mode=0o1777, owner=(7, 8)),
    })  # fmt: skip
    before = {name: metadata(dst / name) for name in ("f", "d/big", "d")}
    copy("-co", *options, source, dst)
    assert stat.S_IMODE(os.stat(dst / "f").st_mode) == 0o751  # as when it is written to: setuid was for the old content
    os.chmod(dst / "f", 0o4751)
    assert same_content(source, dst)
    assert {name: metadata(dst / name) for name in before} == before


@needs_root
def test_a_user_who_cannot_give_files_away_replaces_them_all_the_same(on_tmpfs: Path, everyone: object) -> None:
    give = everyone
    assert callable(give)
    build(on_tmpfs / "src", {"f": File(b"new", mode=0o644)})
    give(on_tmpfs / "dst")
    build(on_tmpfs / "dst", {"f": File(b"old!", mode=0o6755, owner=(0, 0))})
    copy("-co", on_tmpfs / "src", on_tmpfs / "dst", user="nobody")
    info = os.stat(on_tmpfs / "dst/f")
    assert (on_tmpfs / "dst/f").read_bytes() == b"new"
    assert info.st_uid == 65534 and stat.S_IMODE(info.st_mode) == 0o755


def test_equal_sizes_alone_are_no_reason_to_remove_the_source_of_a_move(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"new")})
    build(on_tmpfs / "dst", {"f": File(b"old")})
    direct.copy(on_tmpfs / "src", on_tmpfs / "dst", content_only=True, hash_size=0, move=True)
    assert (on_tmpfs / "dst/f").read_bytes() == b"new" and not (on_tmpfs / "src").exists()


@pytest.mark.parametrize("world", worlds((3,), launchers=("mpich",)))
def test_with_ranks(world: World, source: Path, on_tmpfs: Path) -> None:
    copy("-co", "--split-size", "4M", source, on_tmpfs / "dst", world=world)
    assert same_content(source, on_tmpfs / "dst")
    assert oracle.lstats(on_tmpfs / "dst")[b"d/big"].st_mode & 0o777 == 0o440
