"""ACLs and other attributes arrive, stay, and are seen when they change, whatever the two file systems are.

Judged by getfacl and getfattr: rsync -aAX, too, takes what XFS shows of its ACLs for attributes, and asks nobody by
name who does not list them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import filesystems, oracle
from tests.support.copies import changed, copy, items, state
from tests.support.marks import needs_commands, needs_fuse
from tests.support.trees import Dir, File, Node, Symlink, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_fuse,
    needs_commands("getfacl", "setfacl", "getfattr", "setfattr", "setcap"),
    pytest.mark.skipif(bool(filesystems.missing()), reason=f"not installed: {' '.join(filesystems.missing())}"),
]
S = 10**9
T = 1_600_000_000 * S
ACL = "u::rw-,u:1234:r--,g::---,m::rw-,o::---"
OTHER_ACL = "u:1234:rwx"
DEFAULT = "u::rwx,u:1234:rwx,g::r-x,m::rwx,o::---"
TREE: dict[str, Node] = {
    "acl": File(b"acl", acl=ACL, mtime_ns=T),
    "plain": File(b"plain", mtime_ns=T),
    "tagged": File(b"tagged", xattrs={"user.tag": b"1", "trusted.tag": b"2"}, mtime_ns=T),
    "link": Symlink("acl", xattrs={"trusted.link-tag": b"3"}, mtime_ns=T),
    "dir": Dir(
        {
            "acl": File(b"acl", acl=ACL, xattrs={"user.tag": b"4"}, mtime_ns=T),
            "plain": File(b"plain", mtime_ns=T),
            "sub": Dir({"plain": File(b"plain", mtime_ns=T)}, mtime_ns=T),
        },
        acl="u::rwx,u:1234:r-x,g::r-x,m::r-x,o::---",
        default_acl=DEFAULT,
        xattrs={"user.tag": b"5", "trusted.tag": b"6"},
        mtime_ns=T,
    ),
}
# Each is a source once, and a destination once.
PAIRS = [("tmpfs", "ext4"), ("ext4", "btrfs"), ("btrfs", "xfs"), ("xfs", "moose"), ("moose", "tmpfs"), ("xfs", "xfs")]


@dataclass
class Trees:
    src: Path
    dst: Path
    nameless: bool = True  # the destination makes files without a name

    def assert_equal(self) -> None:
        assert attributes(self.dst) == attributes(self.src)
        assert oracle.lstat_differences(self.src, self.dst) == []


@pytest.fixture(params=PAIRS, ids=lambda pair: "-to-".join(pair))
def trees(request: pytest.FixtureRequest, mounts: dict[str, Path]) -> Iterator[Trees]:
    source, dest = request.param
    trees = made(mounts[source] / "src", mounts[dest] / "dst", nameless=dest != "moose")
    yield trees
    for path in (trees.src, trees.dst):
        shutil.rmtree(path, ignore_errors=True)


def made(src: Path, dst: Path, nameless: bool = True, capabilities: bool = True) -> Trees:
    """A tree with attributes of each kind, and no copy yet."""
    build(src, TREE)
    if capabilities:
        subprocess.run(["setcap", "cap_net_raw=ep", src / "plain"], check=True)
    for path in (src / "plain", src):
        os.utime(path, ns=(T, T))
    return Trees(src, dst, nameless)


def attributes(root: Path) -> dict[str, str]:
    """What getfacl and getfattr say of each entry. Of attributes only those that belong to files."""
    names = sorted(os.fsdecode(path) or "." for path in oracle.lstats(root))
    real = [name for name in names if not (root / name).is_symlink()]
    acls = subprocess.run(["getfacl", "-n", "--", *real], cwd=root, check=True, capture_output=True, text=True)
    wanted = r"^(user\.|trusted\.[a-z-]*tag|security\.capability)"
    others = subprocess.run(
        ["getfattr", "-h", "-d", "-m", wanted, "--", *names], cwd=root, check=True, capture_output=True, text=True
    )
    found: dict[str, str] = {}
    for said in (acls.stdout, others.stdout):
        for block in re.split(r"\n\n(?=# file:|$)", said):
            if block.strip():
                first, _, rest = block.partition("\n")
                found[first] = found.get(first, "") + rest
    return found


def test_attributes_arrive_stay_and_are_mended(trees: Trees) -> None:
    copy(trees.src, "-d", trees.dst, "-v")
    trees.assert_equal()
    before = state(trees.dst)
    for how in ((), ("-hs", "0"), ("-pfl", "--verify")):
        assert items(copy("-v", *how, trees.src, "-d", trees.dst).done.stdout) == {}
    # Where files without a name cannot be made, finding out what can be stored leaves a trace in the root's ctime.
    assert changed(before, state(trees.dst)) <= (set() if trees.nameless else {b"."})
    trees.assert_equal()


def test_a_change_of_attributes_alone_is_seen(trees: Trees) -> None:
    copy(trees.src, "-d", trees.dst)
    subprocess.run(["setfacl", "-m", OTHER_ACL, "acl", "plain", "dir/acl"], cwd=trees.src, check=True)
    subprocess.run(["setfacl", "-m", "d:u:1234:--x", "dir", "dir/sub"], cwd=trees.src, check=True)
    subprocess.run(["setfattr", "-n", "user.new", "-v", "7", "dir/plain"], cwd=trees.src, check=True)
    wanted = {"acl", "plain", "dir/", "dir/acl", "dir/plain", "dir/sub/"}
    assert items(copy("-n", trees.src, "-d", trees.dst).done.stdout).keys() == wanted
    compared = copy("-cfl", trees.src, trees.dst, code=3)
    assert compared.report["differences"] == {"added": 0, "modified": 6, "deleted": 0}
    assert items(copy("-v", trees.src, "-d", trees.dst).done.stdout).keys() == wanted
    trees.assert_equal()
    assert copy("-cfl", trees.src, trees.dst).report["differences"] == {"added": 0, "modified": 0, "deleted": 0}


def test_attributes_that_only_the_copy_has_go(trees: Trees) -> None:
    copy(trees.src, "-d", trees.dst)
    subprocess.run(["setfacl", "-m", "u:4321:rwx", "plain", "dir/plain", "dir/acl"], cwd=trees.dst, check=True)
    subprocess.run(["setfacl", "-m", "d:u:4321:rwx", "dir", "dir/sub"], cwd=trees.dst, check=True)
    subprocess.run(["setfattr", "-n", "trusted.tag", "-v", "stale", "plain", "dir/sub"], cwd=trees.dst, check=True)
    assert copy("-cfl", trees.src, trees.dst, code=3).report["differences"]["modified"] == 5
    copy("-rme", "-rf", trees.src, "-d", trees.dst)
    trees.assert_equal()


def test_what_a_list_names_comes_with_its_attributes(trees: Trees) -> None:
    names = trees.src.parent / "list"
    names.write_text("acl\ntagged\nplain\nlink\ndir/\ndir/acl\ndir/plain\ndir/sub/\ndir/sub/plain\n")
    for _ in range(2):
        copy("-sfl", names, trees.src, "-d", trees.dst)
        assert {k: v for k, v in attributes(trees.dst).items() if k != "# file: ."} == {
            k: v for k, v in attributes(trees.src).items() if k != "# file: ."
        }


def test_a_move_takes_attributes_with_it(trees: Trees) -> None:
    wanted = attributes(trees.src)
    copy(trees.src, "-d", trees.dst)
    copy("-rm", "-rf", trees.src, "-d", trees.dst)
    assert attributes(trees.dst) == wanted and not trees.src.exists()
