"""Directories opened by descriptor: no symlink below a root is followed, and no path is too long."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host.dirfd import Tree, make_directory, path_of, pinned


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    made = Tree(os.fsencode(tmp_path / "root"))
    yield made
    made.close()


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def test_a_root_may_be_named_by_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    opened = Tree(os.fsencode(tmp_path / "link"))
    with opened.at(b"") as fd:
        assert inode(fd) == tmp_path.stat().st_ino
    opened.close()


def test_a_directory_below_is_found_at_any_depth(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "root/a/b/c").mkdir(parents=True)
    for _ in range(2):  # the second time from kept descriptors
        with tree.at(b"a/b/c") as fd:
            assert inode(fd) == (tmp_path / "root/a/b/c").stat().st_ino


@pytest.mark.parametrize("path", [b"link", b"link/sub", b"a/link", b"a/link/sub", b"file", b"file/x"])
def test_a_symlink_or_a_file_on_the_way_is_refused(path: bytes, tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "outside/sub").mkdir()
    (tmp_path / "root/a").mkdir()
    (tmp_path / "root/file").touch()
    for place in ("root/link", "root/a/link"):
        (tmp_path / place).symlink_to(tmp_path / "outside")
    for way in (tree.at, tree.made):
        with pytest.raises(OSError) as refusal:
            with way(path):
                pass
        assert refusal.value.errno in (errno.ENOTDIR, errno.ELOOP)
    assert os.listdir(tmp_path / "outside") == ["sub"]


def test_what_is_swapped_for_a_symlink_after_it_was_opened_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    with tree.at(b"a/b"):
        pass
    (root / "a").rename(root / "aside")
    (root / "a").symlink_to(tmp_path / "outside")
    with tree.made(b"a/b") as fd:  # the one that was opened
        assert inode(fd) == (root / "aside/b").stat().st_ino
    with pytest.raises(OSError):
        with tree.made(b"a"):
            pass
    assert os.listdir(tmp_path / "outside") == []


def test_paths_longer_than_the_kernel_takes_are_made_and_opened(tree: Tree) -> None:
    path = b"/".join([b"d" * 250] * 40)
    with tree.made(path) as fd:
        os.mkdir(b"end", dir_fd=fd)
    with tree.at(path + b"/end") as fd:
        assert os.listdir(fd) == []


def test_more_directories_than_are_kept_open(tree: Tree, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        with tree.made(b"p%d/c" % number):
            pass
        with tree.at(b"p%d/c" % number):
            pass
    assert len(os.listdir("/proc/self/fd")) - before < 100
    assert len(os.listdir(tmp_path / "root")) == 200


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling"])
def test_only_when_told_so_a_non_directory_in_the_way_is_replaced(kind: str, tree: Tree, tmp_path: Path) -> None:
    place = tmp_path / "root/x"
    place.touch() if kind == "file" else place.symlink_to(tmp_path / ("outside" if kind == "symlink" else "nowhere"))
    with pytest.raises(OSError):
        with tree.made(b"x/y"):
            pass
    with tree.made(b"x/y", over=True) as fd:
        assert inode(fd) == (place / "y").stat().st_ino
    assert not place.is_symlink() and os.listdir(tmp_path / "outside") == []


def test_directories_get_the_mode_that_is_asked_for(tree: Tree, tmp_path: Path) -> None:
    with tree.made(b"a/b", mode=0o700):
        pass
    assert stat.S_IMODE((tmp_path / "root/a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "root/a/b").stat().st_mode) == 0o700


def test_making_what_somebody_else_just_made_is_no_error(tree: Tree) -> None:
    with tree.at(b"") as fd:
        make_directory(b"x", 0o700, fd)
        make_directory(b"x", 0o700, fd)


def test_a_pinned_symlink_is_itself(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    with tree.at(b"") as directory, pinned(directory, b"link") as fd:
        assert stat.S_ISLNK(os.fstat(fd).st_mode)
        assert os.readlink(path_of(directory, b"link")) == os.fsencode(tmp_path / "outside")
