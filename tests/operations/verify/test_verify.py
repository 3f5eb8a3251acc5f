"""--verify finds what is wrong with a copy and has it made again; what stays wrong is named."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.operations.verify import reread as rereading
from hpcp_mpi.operations.verify.rank0 import ALONE
from tests.support import oracle
from tests.support.copies import copy
from tests.support.everyone import REPOSITORY
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse, needs_root, worlds
from tests.support.trees import Dir, Fifo, File, HardLink, Node, Sparse, Symlink, build
from tests.support.verified import Times, Watch, flip, meddling, run

pytestmark = needs_commands("rsync")

MIB = 1 << 20
T = 1_600_000_000 * 10**9 + 123
BIG: dict[str, Any] = {"split_size": 4 * MIB}
SINGLY: dict[str, Any] = {"chunk_files": 1, "chunk_size": 1}  # nothing is one unit with anything else


def tree() -> dict[str, Node]:
    """One of each that can be verified."""
    return {
        "plain": File(b"plain" * 1000, mtime_ns=T),
        "empty": File(b"", mtime_ns=T),
        "link": Symlink("plain"),
        "fifo": Fifo(mtime_ns=T),
        "big": File(os.urandom(9 * MIB + 5), mtime_ns=T),
        "sparse": Sparse(20 * MIB, ((MIB, b"x"), (19 * MIB, b"y")), mtime_ns=T),
        "one": File(b"one file, several names", mtime_ns=T),
        "sub": Dir(
            {
                "in": File(b"in a subtree", mtime_ns=T),
                "two": File(b"several names inside", mtime_ns=T),
                "twos": HardLink("sub/two"),
                "deeper": Dir({"link": Symlink("../in"), "last": File(b"l" * 300_000, mtime_ns=T)}),
                "void": Dir({}),
            }
        ),
        "elsewhere": Dir({"other": HardLink("one")}),
    }


@pytest.fixture
def src(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", tree())
    return on_tmpfs / "src"


@pytest.fixture
def dst(on_tmpfs: Path) -> Path:
    return on_tmpfs / "dst"


def files(root: Path) -> list[os.stat_result]:
    return [info for info in oracle.lstats(root).values() if stat.S_ISREG(info.st_mode)]


@pytest.mark.parametrize("options", [{}, BIG, SINGLY, {"reflink": "never", **BIG}], ids=str)
@pytest.mark.parametrize("nodes", [("a",), ("a", "a"), ("a", "b"), ("a", "a", "b", "c")], ids=str)
def test_all_that_was_copied_is_read_once_and_not_by_who_wrote_it(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch, nodes: tuple[str, ...], options: dict[str, Any]
) -> None:
    watch = Watch(monkeypatch)
    report = run(src, dst, nodes, **options)
    assert (report.exit_code, report.failures) == (0, [])
    oracle.assert_equal_trees(src, dst)
    sizes = {info.st_ino: info.st_size for info in files(src)}
    assert report.outcome.verified.bytes == sum(sizes.values())
    for inode, size in sizes.items():
        assert sorted(length for _, _, length in watch.read[inode]) and sum(n for *_, n in watch.read[inode]) == size
        starts = [start for _, start, _ in watch.read[inode]]
        assert len(starts) == len(set(starts))
    written = watch.writers(src)
    assert {inode for inode, _ in written} >= set(sizes) - {(src / "elsewhere/other").stat().st_ino}
    for inode, reads in watch.read.items():
        for rank, start, _ in reads:
            writers = written[inode, start]
            for writer in writers if len(nodes) > 1 else ():
                assert rank != writer
                assert nodes[rank - 1] != nodes[writer - 1] or len(set(nodes)) == 1
    assert [note for _, note in report.outcome.notes] == ([ALONE] if len(nodes) == 1 else [])


def landing(name: str, options: dict[str, Any]) -> list[bytes]:
    """The names of which one lands: a file's other names are linked to it, but for those in a subtree."""
    return [b"two", b"twos"] if name == "two" and "chunk_size" in options else [name.encode()]


@pytest.mark.parametrize("options", [BIG, {**BIG, **SINGLY}], ids=["subtrees", "singly"])
@pytest.mark.parametrize("name", ["plain", "big", "sparse", "one", "in", "two", "last"])
def test_a_copy_that_differs_is_made_again_and_is_good_then(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    before = files(src)
    damage = Times(flip, landing(name, options))
    with meddling(monkeypatch, damage):
        report = run(src, dst, **options)
    assert len(damage.done) == 1
    assert (report.exit_code, report.failures) == (0, [])
    ((path, note),) = report.outcome.notes
    assert os.path.basename(path) == damage.done[0] and note == f"copied again: {rereading.OTHER_BYTES}"
    oracle.assert_equal_trees(src, dst)
    assert len(before) == report.outcome.copied.files


@pytest.mark.parametrize("options", [BIG, {**BIG, **SINGLY}], ids=["subtrees", "singly"])
def test_what_differs_each_time_fails_is_named_and_is_not_taken_for_a_true_copy(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    bad = [b"plain", b"big", b"in", *landing("two", options)]
    damage = Times(flip, bad, 0)
    with meddling(monkeypatch, damage):
        report = run(src, dst, **options)
    assert report.exit_code == 23
    assert {os.path.basename(each.path) for each in report.failures} == set(damage.done)
    assert len(damage.done) == 2 * len(report.failures), "each was copied twice"
    assert all("differs from its source after two copies" in each.reason for each in report.failures)
    # By size and mtime alone, the next run sees which copies are bad.
    again = copy("-hs", "0", src, "-d", dst)
    assert again.report["copied"]["files"] >= 4
    oracle.assert_equal_trees(src, dst)


def remove(directory: int, name: bytes) -> None:
    os.unlink(name, dir_fd=directory)


def point_elsewhere(directory: int, name: bytes) -> None:
    os.unlink(name, dir_fd=directory)
    os.symlink(b"elsewhere", name, dir_fd=directory)


def make_fifo(directory: int, name: bytes) -> None:
    os.unlink(name, dir_fd=directory)
    os.mkfifo(name, dir_fd=directory)


def cut(directory: int, name: bytes) -> None:
    before = os.stat(name, dir_fd=directory)
    os.truncate(f"/proc/self/fd/{directory}/{os.fsdecode(name)}", before.st_size - 1)
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=directory)


@pytest.mark.parametrize(
    ("name", "meddle"),
    [("in", remove), ("two", remove), ("last", cut), ("plain", cut), ("link", point_elsewhere), ("in", make_fifo)],
)
def test_other_damage_is_repaired_too(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch, name: str, meddle: Callable[[int, bytes], None]
) -> None:
    with meddling(monkeypatch, Times(meddle, [name.encode()])):
        report = run(src, dst)
    assert (report.exit_code, report.failures, len(report.outcome.notes)) == (0, [], 1)
    oracle.assert_equal_trees(src, dst)


@pytest.mark.parametrize("times", [1, 0])
@pytest.mark.parametrize("how", ["grows", "is touched", "is rewritten"])
@pytest.mark.parametrize("name", ["plain", "sub/in"])
def test_a_source_that_changes_while_it_is_copied_is_copied_again_and_named(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str, times: int
) -> None:
    source = src / name

    def change(directory: int, entry: bytes) -> None:
        before = source.stat()
        if how == "grows":
            with source.open("ab") as file:
                file.write(b"more")
        elif how == "is touched":
            os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
        else:  # and its mtime put back: only the content tells
            source.write_bytes(bytes(byte ^ 1 for byte in source.read_bytes()))
            os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))

    with meddling(monkeypatch, Times(change, [os.path.basename(name).encode()], times)):
        report = run(src, dst)
    path = os.fsencode(source)
    reasons = {rereading.CHANGED} | ({rereading.OTHER_BYTES} if how == "is rewritten" else set())
    assert {(path, f"copied again: {reason}") for reason in reasons} & set(report.outcome.notes)
    if times:
        assert (report.exit_code, report.failures) == (0, [])
        oracle.assert_equal_trees(src, dst)
    else:
        assert report.exit_code == 23
        assert [each.path for each in report.failures] == [path]
        assert report.failures[0].reason.endswith(tuple(reasons))


def test_a_big_source_that_changes_after_its_ranges_were_copied_is_copied_again(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(directory: int, name: bytes) -> None:
        with (src / "big").open("r+b") as file:
            file.seek(5 * MIB)
            file.write(b"changed")

    with meddling(monkeypatch, Times(change, [b"big"])):
        report = run(src, dst, **BIG)
    assert (report.exit_code, report.failures) == (0, [])
    assert len(report.outcome.notes) == 1
    assert report.outcome.copied.files == report.outcome.verified.files + report.outcome.linked == len(files(src))
    oracle.assert_equal_trees(src, dst)


@pytest.mark.parametrize("name", ["plain", "sub/in"])
def test_a_source_that_is_gone_when_its_copy_is_to_be_verified_is_named_as_vanished(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def vanish(directory: int, entry: bytes) -> None:
        (src / name).unlink()

    with meddling(monkeypatch, Times(vanish, [os.path.basename(name).encode()])):
        report = run(src, dst)
    assert report.exit_code == 24
    assert [(each.path, each.reason) for each in report.failures] == [(os.fsencode(src / name), rereading.GONE)]


def test_what_appears_in_a_source_after_it_was_copied_is_noted_only(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def appear(directory: int, entry: bytes) -> None:
        (src / "sub/new").write_bytes(b"new")

    with meddling(monkeypatch, Times(appear, [b"in"])):
        report = run(src, dst, links="never")
    assert (report.exit_code, report.failures) == (0, [])
    assert [path for path, _ in report.outcome.notes] in ([], [os.fsencode(src / "sub/new")])


def test_identical_files_are_not_read_again(src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(src, dst).exit_code == 0
    (src / "plain").write_bytes(b"another")
    watch = Watch(monkeypatch)
    report = run(src, dst)
    assert report.exit_code == 0
    assert set(watch.read) == {(src / "plain").stat().st_ino}
    assert (report.outcome.verified.files, report.outcome.verified.bytes) == (1, 7)


def test_a_dry_run_verifies_nothing(src: Path, dst: Path) -> None:
    assert not run(src, dst, dry_run=True).outcome.verified
    assert not dst.exists()


def test_a_bad_copy_does_not_go_to_the_backup(src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dst.mkdir()
    (dst / "plain").write_bytes(b"the version before")
    with meddling(monkeypatch, Times(flip, [b"plain"])):
        report = run(src, dst, backup_dir=os.fsencode(dst.parent / "backup"))
    assert (report.exit_code, len(report.outcome.notes)) == (0, 1)
    assert (dst.parent / "backup/plain").read_bytes() == b"the version before"
    oracle.assert_equal_trees(src, dst)


@needs_fuse
def test_a_destination_that_reads_otherwise_or_not_at_all_is_found(src: Path, on_tmpfs: Path) -> None:
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing", flip_read="plain", eio_read="last") as mount:
        done = copy("--verify", src, "-d", mount / "dst", code=23)
    assert {os.path.basename(path): reason.rpartition(": ")[2] for path, reason in done.failures.items()} == {
        "plain": rereading.OTHER_BYTES,
        "last": "Input/output error",
    }
    assert all("after two copies" in reason for reason in done.failures.values())


@needs_fuse
def test_what_was_not_copied_is_named_once_and_the_rest_verified(src: Path, dst: Path) -> None:
    with mounted(src, eio_read="last") as mount:
        done = copy("--verify", mount, "-d", dst, code=23)
    (reason,) = done.failures.values()
    assert "Input/output error" in reason and "two copies" not in reason
    assert not [note for note in done.notes.values() if "again" in note]
    assert done.report["verified"]["files"] == done.report["copied"]["files"] - done.report["hard_links"]


@needs_root
def test_atimes_stay_as_they_are(src: Path, dst: Path) -> None:
    copy("--verify", src, "-d", dst)
    for path, info in oracle.lstats(dst).items():
        if stat.S_ISREG(info.st_mode):
            assert info.st_atime_ns <= os.lstat(src / os.fsdecode(path)).st_atime_ns


@pytest.mark.parametrize("world", worlds([4], ["mpich", "openmpi"]))
def test_ranks_verify_each_others_copies(src: Path, dst: Path, world: World) -> None:
    done = copy("--verify", "--split-size", "4M", "-f", "1", src, "-d", dst, world=world)
    verified, copied = done.report["verified"], done.report["copied"]
    assert verified["bytes"] == copied["bytes"] == sum({info.st_ino: info.st_size for info in files(src)}.values())
    assert done.notes == {}
    oracle.assert_equal_trees(src, dst)


@needs_commands("strace")
def test_the_system_reads_each_byte_once_more_on_both_sides_and_is_told_to_forget_it(src: Path, dst: Path) -> None:
    shutil.rmtree(src / "sub")  # what cp reads is not counted here, and names with several inodes would be looked for
    # -s: more jobs than one copy big files on tmpfs by reading them into pages.
    calls = traced(["-s", "--verify", "--split-size", "4M", os.fspath(src), "-d", os.fspath(dst)], src.parent / "trace")
    for root in (src, dst):
        for name in ("plain", "big", "one"):
            path = root / name
            reads = [int(call.rpartition("=")[2]) for call in calls if "pread" in call and f"<{path}>" in call]
            assert sum(reads) == path.stat().st_size
            told = [call for call in calls if "fadvise64" in call and f"<{path}>" in call]
            assert len([call for call in told if "DONTNEED" in call]) >= 2
    assert any("syncfs" in call or "fdatasync" in call for call in calls)


def traced(arguments: list[str], path: Path) -> list[str]:
    """Run the tool alone, without its children, and return its system calls."""
    command = ["strace", "-y", "-f", "-e", "trace=pread64,preadv,preadv2,fadvise64,syncfs,fdatasync", "-o", str(path)]
    subprocess.run(
        [*command, sys.executable, "-m", "hpcp_mpi", *arguments], check=True, capture_output=True, cwd=REPOSITORY
    )
    calls: list[str] = []
    begun: dict[str, str] = {}  # by thread: what another one's call came between
    for line in path.read_text().splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
        else:
            resumed = re.match(r"\s*<... \w+ resumed>", call)
            calls.append(begun.pop(thread) + call[resumed.end() :] if resumed else call)
    return calls
