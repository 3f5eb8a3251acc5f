"""The judge is judged first: `cp -a` of the torture tree is equal, and every kind of corruption is
noticed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.marks import needs_commands, needs_root
from tests.support.torture import BEYOND_PATH_MAX, torture
from tests.support.trees import Dir, File, HardLink, Sparse, Symlink, build, encode_acl

pytestmark = needs_commands("rsync", "cp")


def cp_a(src: Path, dst: Path) -> None:
    subprocess.run(["cp", "-a", "--", src, dst], check=True, stdin=subprocess.DEVNULL)


@needs_root
def test_a_torture_tree_copied_by_cp_is_equal(place: Path) -> None:
    torture(place / "src", as_root=True, beyond_path_max=False)
    cp_a(place / "src", place / "dst")
    oracle.assert_equal_trees(place / "src", place / "dst")


@needs_root
def test_the_torture_tree_is_whole_on_memory_and_on_disk(place: Path) -> None:
    assert torture(place / "src", as_root=True) == frozenset()


def test_the_torture_tree_of_an_ordinary_user_is_equal_when_copied_by_cp(tmp_path: Path) -> None:
    torture(tmp_path / "src", as_root=False, beyond_path_max=False)
    cp_a(tmp_path / "src", tmp_path / "dst")
    oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst")


def test_the_torture_tree_reaches_beyond_path_max_and_is_compared_there(tmp_path: Path) -> None:
    for name in ("src", "dst"):
        torture(tmp_path / name, as_root=False)
    longest = max(oracle.entries(tmp_path / "src"), key=len)
    assert longest.startswith(BEYOND_PATH_MAX.encode()) and len(longest) > 4096
    # Two trees built one after the other differ in the times of what has no fixed time, and in nothing else.
    found = oracle.lstat_differences(tmp_path / "src", tmp_path / "dst")
    assert [line for line in found if "mtime_ns" not in line] == []

    parent = os.open(tmp_path / "dst", os.O_RDONLY)
    for name in longest.split(b"/")[:-1]:
        parent, above = os.open(name, os.O_RDONLY, dir_fd=parent), parent
        os.close(above)
    fd = os.open(b"file", os.O_WRONLY, dir_fd=parent)
    os.write(fd, b"DEEP")
    os.close(fd)
    os.close(parent)
    found = oracle.lstat_differences(tmp_path / "src", tmp_path / "dst")
    assert any("sha256" in line for line in found)


def test_sockets_can_be_left_out_but_not_sneak_in(tmp_path: Path) -> None:
    torture(tmp_path / "src", as_root=False, beyond_path_max=False)
    cp_a(tmp_path / "src", tmp_path / "dst")
    with pytest.raises(AssertionError, match="sockets were copied"):
        oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst", sockets=False)
    times = os.stat(tmp_path / "dst/types").st_mtime_ns
    os.unlink(tmp_path / "dst/types/socket")
    os.utime(tmp_path / "dst/types", ns=(times, times))
    oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst", sockets=False)
    with pytest.raises(AssertionError, match="missing: b'types/socket'"):
        oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst")


def test_excluded_entries_are_not_compared_however_odd_their_names(tmp_path: Path) -> None:
    odd = [b"*[x]?\\y", b"back\\slash", b"new\nline", b"\xff"]
    build(tmp_path / "src", {"kept": File(b"k", mtime_ns=1), **{name: Dir({"f": File(b"")}) for name in odd}})
    build(tmp_path / "dst", {"kept": File(b"k", mtime_ns=1)})
    oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst", exclude=odd, top=False)


SPECIMEN = {
    "file": File(b"0123456789", mtime_ns=10**18 + 5),
    "other": File(b"other"),
    "twin": HardLink("file"),
    "dir": Dir({"inside": File(b"inside")}, mtime_ns=10**18 + 7),
    "link": Symlink("file", mtime_ns=10**18 + 9),
    "sparse": Sparse(1 << 20, ((0, b"x"),)),
    "dense": File(bytes(1 << 20)),
}


def later(name: str) -> Callable[[Path], None]:
    """One nanosecond."""

    def change(root: Path) -> None:
        ns = os.lstat(root / name).st_mtime_ns + 1
        os.utime(root / name, ns=(ns, ns), follow_symlinks=False)

    return change


def other_content_of_the_same_size_and_time(root: Path) -> None:
    ns = os.stat(root / "file").st_mtime_ns
    (root / "file").write_bytes(b"0123x56789")
    os.utime(root / "file", ns=(ns, ns))


def a_broken_hard_link(root: Path) -> None:
    os.unlink(root / "twin")
    cp_a(root / "file", root / "twin")
    keep_top_time(root)


def a_hard_link_too_many(root: Path) -> None:
    os.unlink(root / "other")
    os.link(root / "file", root / "other")
    keep_top_time(root)


def keep_top_time(root: Path) -> None:
    """So that the corruption itself is what is found."""
    ns = os.stat(root.parent / "src").st_mtime_ns
    os.utime(root, ns=(ns, ns))


def entry_of_another_type(root: Path) -> None:
    os.unlink(root / "link")
    os.mkdir(root / "link")


def filled_hole(root: Path) -> None:
    rewrite(root / "sparse", ["--sparse=never"])


def punched_zeros(root: Path) -> None:
    rewrite(root / "dense", ["--sparse=always"])


def rewrite(path: Path, options: list[str]) -> None:
    new = path.with_name("new")
    subprocess.run(["cp", "-a", *options, path, new], check=True)
    os.rename(new, path)
    keep_top_time(path.parent)


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    # The second of each pair is a regular expression for a finding.
    "content": (other_content_of_the_same_size_and_time, r"rsync: >fc\S* file"),
    "size": (lambda root: os.truncate(root / "other", 3), "size 5 became 3"),
    "mode": (lambda root: os.chmod(root / "file", 0o600), "lstat: b'file': mode"),
    "directory mode": (lambda root: os.chmod(root / "dir", 0o700), "lstat: b'dir': mode"),
    "ns mtime of a file": (later("file"), "lstat: b'file': mtime_ns"),
    "ns mtime of a directory": (later("dir"), "lstat: b'dir': mtime_ns"),
    "ns mtime of a link": (later("link"), "lstat: b'link': mtime_ns"),
    "ns mtime of the root": (later("."), r"lstat: b'\.': mtime_ns"),
    "xattr": (lambda root: os.setxattr(root / "file", "user.new", b"x"), r"rsync: \.f\S*x\S* file"),
    "directory xattr": (lambda root: os.setxattr(root / "dir", "user.new", b"x"), r"rsync: \.d\S*x\S* dir/"),
    "ACL": (
        lambda root: os.setxattr(
            root / "file", "system.posix_acl_access", encode_acl("u::rw-,u:7:r--,g::r--,m::r--,o::r--")
        ),
        r"rsync: \.f\S*a\S* file",
    ),
    "default ACL": (
        lambda root: os.setxattr(
            root / "dir", "system.posix_acl_default", encode_acl("u::rwx,u:7:r--,g::r--,m::r--,o::r--")
        ),
        r"rsync: \.d\S*a\S* dir/",
    ),
    "broken hard link": (a_broken_hard_link, "hard links: broken"),
    "hard link too many": (a_hard_link_too_many, "hard links: only in the copy"),
    "missing entry": (lambda root: os.unlink(root / "dir/inside"), "missing: b'dir/inside'"),
    "extra entry": (lambda root: (root / "extra").write_bytes(b""), r"rsync: \*deleting"),
    "type": (entry_of_another_type, "lstat: b'link': mode"),
    "filled hole": (filled_hole, "sparse: b'sparse'"),
    "punched zeros": (punched_zeros, "dense: b'dense'"),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_oracle_notices_corruption_of(kind: str, tmp_path: Path) -> None:
    corrupt, expected = CORRUPTIONS[kind]
    build(tmp_path / "src", SPECIMEN)
    cp_a(tmp_path / "src", tmp_path / "dst")
    oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst")
    corrupt(tmp_path / "dst")
    with pytest.raises(AssertionError, match=expected):
        oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst")


@needs_root
@pytest.mark.parametrize("name", ["file", "dir", "link"])
def test_the_oracle_notices_another_owner_of_a(name: str, tmp_path: Path) -> None:
    build(tmp_path / "src", SPECIMEN)
    cp_a(tmp_path / "src", tmp_path / "dst")
    os.chown(tmp_path / "dst" / name, 1234, -1, follow_symlinks=False)
    with pytest.raises(AssertionError, match=f"lstat: b'{name}': uid"):
        oracle.assert_equal_trees(tmp_path / "src", tmp_path / "dst")
