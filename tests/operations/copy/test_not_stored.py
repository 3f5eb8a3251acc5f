"""What the destination does not store is found at the first run, noted once, and equal ever after.

Or a failure and a difference each time, with --strict-metadata. Judged by cp -a, getfattr and lstat.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcp_mpi.vocab.report import Report
from tests.support import direct, faultfs, oracle
from tests.support.copies import changed, copy, items, state
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse
from tests.support.trees import Dir, File, HardLink, Node, build

S = 10**9
T = 1_600_000_000 * S
LATE = 16_725_225_600 * S  # the year 2500
BIG = b"x" * 10_000
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_commands("getfattr", "setcap", "getcap", "mkfs.ext4", "rsync"),
    needs_fuse,
]
TREE: dict[str, Node] = {
    "big": File(b"big", xattrs={"user.big": BIG, "user.small": b"kept"}, mtime_ns=T),
    "plain": File(b"plain", mtime_ns=T),
    "dir": Dir({"big": File(b"b", xattrs={"user.big": BIG}, mtime_ns=T)}, xattrs={"user.big": BIG}, mtime_ns=T),
    "ranged": File(b"r" * 9000, xattrs={"user.big": BIG}, mtime_ns=T),
    "linked": File(b"l", xattrs={"user.big": BIG}, mtime_ns=T),
    "name": HardLink("linked"),
}


@contextmanager
def ext4(place: Path, inode: int) -> Iterator[Path]:
    image, at = place / "image", place / "ext4"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-I", str(inode), image], check=True, capture_output=True)
    at.mkdir()
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


@pytest.fixture(scope="module", params=["ext4", "most 100", "no user"])
def dest(request: pytest.FixtureRequest) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir="/dev/shm"))
    place.chmod(0o755)
    try:
        if request.param == "ext4":
            with ext4(place, 256) as at:
                yield at
        else:
            (place / "backing").mkdir()
            limit = {"most_xattr": 100} if "100" in request.param else {"refuse_xattr": "user."}
            with faultfs.mounted(place / "backing", **limit) as at:  # type: ignore[arg-type]
                yield at
    finally:
        shutil.rmtree(place)


def attributes(root: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for path in [b".", *oracle.lstats(root)]:
        at = os.path.join(os.fsencode(root), path)
        try:
            names = [name for name in os.listxattr(at, follow_symlinks=False) if name.startswith("user.")]
        except OSError:
            names = []
        found[os.fsdecode(path)] = {name: os.getxattr(at, name, follow_symlinks=False) for name in names}
    return found


def noted(report: Report, words: str) -> list[str]:
    return [note for _, note in report.outcome.notes if words in note]


def failed(report: Report) -> set[str]:
    return {os.fsdecode(failure.path) for failure in report.failures}


def is_quiet(report: Report) -> bool:
    """Nothing failed, and nothing was done."""
    done = report.outcome
    return not (report.failures or done.copied or done.updated or done.items)


HOW: list[dict[str, object]] = [{}, {"hash_size": 0}, {"parallel_listing": True}, {"verify": True}, {"mirror": True}]


def test_what_is_refused_is_found_at_first_and_equal_ever_after(dest: Path, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    src, dst, judge = on_tmpfs / "src", dest / "dst", dest / "judge"
    subprocess.run(["cp", "-aT", src, judge], check=True)
    done = direct.copy(src, dst, split_size=5000)
    assert done.failures == [] and attributes(dst) == attributes(judge)
    (note,) = noted(done, "attribute")  # of five
    assert "5 such entries" in note or "does not store ACLs and extended attributes" in note
    before = state(dst)
    for how in HOW:
        assert is_quiet(direct.copy(src, dst, split_size=5000, itemize=True, **how)), how
    assert changed(before, state(dst)) <= {b"."}  # finding out what can be stored leaves a trace there
    assert is_quiet(direct.copy(src, dst, dry_run=True, itemize=True))
    assert direct.compare(src, dst).differences == {"added": 0, "modified": 0, "deleted": 0}
    assert changed(before, state(dst)) <= {b"."}


def test_several_ranks_agree(dest: Path, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    src, dst, world = on_tmpfs / "src", dest / "ranks", World("mpich", 3)
    done = copy(src, "-d", dst, "--split-size", "5000", "--verify", world=world)
    assert len([note for note in done.notes.values() if "attribute" in note]) == 1
    again = copy("-v", src, "-d", dst, "--verify", "-pfl", world=world)
    assert items(again.done.stdout) == {}


def test_exactness_is_a_failure_of_each_entry_every_time(dest: Path, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    src, dst = on_tmpfs / "src", dest / "strict"
    names = {str(src / name) for name in ("big", "dir", "dir/big", "ranged")}
    for how in ({}, {}, {"parallel_listing": True, "verify": True}):
        done = direct.copy(src, dst, strict_metadata=True, split_size=5000, **how)
        assert failed(done) - names <= {str(src / "linked"), str(src / "name")} != failed(done), how
        assert len(failed(done)) > len(names) and names < failed(done)
        assert all("does not store its attribute user." in failure.reason for failure in done.failures)
        assert (dst / "big").read_bytes() == b"big" and done.exit_code == 23
    differing = direct.compare(src, dst, strict_metadata=True).differences
    assert differing and differing["modified"] == len(names) + 2  # both names of one file
    before = state(dst)
    direct.copy(src, dst, strict_metadata=True)
    assert changed(before, state(dst)) <= {b"."}  # it fails, and is not copied again


def test_a_change_beside_a_refused_attribute_is_still_made(dest: Path, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    src, dst = on_tmpfs / "src", dest / "beside"
    direct.copy(src, dst)
    os.chmod(src / "big", 0o604)
    os.chmod(src / "dir", 0o775)
    done = direct.copy(src, dst, itemize=True)
    assert {(change, path) for change, path, _ in done.outcome.items} == {
        (".f...p.....", b"big"),
        (".d...p.....", b"dir/"),
    }
    assert [(dst / name).stat().st_mode & 0o777 for name in ("big", "dir")] == [0o604, 0o775]


@pytest.mark.parametrize("inode", [128, 256])
def test_times_beyond_the_range_are_equal_ever_after(inode: int, on_tmpfs: Path) -> None:
    """128 bytes have 32 bits of whole seconds, 256 bytes 34 bits and nanoseconds. cp -a is clamped by the kernel."""
    old = Dir({"old": File(b"y", mtime_ns=-LATE)}, mtime_ns=T)
    build(on_tmpfs / "src", {"late": File(b"x", mtime_ns=LATE + 1), "d": old})
    src = on_tmpfs / "src"
    late = {str(src / "late"), str(src / "d/old")}
    with ext4(on_tmpfs, inode) as at:
        dst, judge = at / "dst", at / "judge"
        subprocess.run(["cp", "-aT", src, judge], check=True)
        done = direct.copy(src, dst, verify=True)
        assert done.failures == []
        for path in ("late", "d/old"):
            assert (dst / path).stat().st_mtime_ns == (judge / path).stat().st_mtime_ns
        (note,) = noted(done, "cannot store its time")
        assert "the first of 2 such entries" in note
        for how in HOW:
            again = direct.copy(src, dst, **how)
            assert is_quiet(again) and not noted(again, "time,"), how
        assert not any((direct.compare(src, dst).differences or {"none": 1}).values())
        for target in (dst, at / "other"):
            assert failed(direct.copy(src, target, strict_metadata=True)) == late
        differing = direct.compare(src, dst, strict_metadata=True).differences
        assert differing and differing["modified"] == 2
        assert direct.copy(src, dst, move=True).failures == []
        assert not src.exists() and (dst / "late").read_bytes() == b"x"


def test_an_acl_that_is_not_stored_is_lost_at_the_first_run_too(on_tmpfs: Path) -> None:
    """cp -a fails with it, and a second run found it to be equal."""
    build(on_tmpfs / "src", {"f": File(b"f", acl="u::rw-,u:1234:r--,g::---,m::r--,o::---", mtime_ns=T)})
    (on_tmpfs / "backing").mkdir()
    with faultfs.mounted(on_tmpfs / "backing") as at:
        first = direct.copy(on_tmpfs / "src", at / "dst")
        assert first.failures == [] and noted(first, "does not store its ACL")
        assert is_quiet(direct.copy(on_tmpfs / "src", at / "dst"))
        for name in ("dst", "other"):
            strict = direct.copy(on_tmpfs / "src", at / name, strict_metadata=True)
            assert failed(strict) == {str(on_tmpfs / "src/f")}
    assert (on_tmpfs / "backing/other/f").read_bytes() == b"f"


def test_capabilities_that_another_user_cannot_give_are_noted_and_equal(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f", mtime_ns=T), "d": Dir({"g": File(b"g", mtime_ns=T)}, mtime_ns=T)})
    for name in ("f", "d/g"):
        subprocess.run(["setcap", "cap_net_raw+ep", on_tmpfs / "src" / name], check=True)
    src, home = on_tmpfs / "src", on_tmpfs / "home"
    home.mkdir()
    home.chmod(0o777)
    first = copy(src, "-d", home / "dst", user="nobody")
    (note,) = [note for note in first.notes.values() if "security.capability" in note]
    assert "2 such entries" in note
    before = state(home / "dst")
    assert items(copy("-v", src, "-d", home / "dst", user="nobody").done.stdout) == {}
    assert changed(before, state(home / "dst")) <= {b"."}
    assert not any(copy("-cfl", src, home / "dst", user="nobody").report["differences"].values())
    copy("--strict-metadata", src, "-d", home / "dst", user="nobody", code=23)
