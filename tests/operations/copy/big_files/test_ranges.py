"""A big file that is copied in ranges comes out as with `cp -a`. Judged by rsync, lstat, cp and cmp."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.operations.copy import worker as copying
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import one_file
from hpcp_mpi.vocab.units import Kind
from tests.support import oracle
from tests.support.marks import needs_commands, needs_root
from tests.support.ranging import BLOCK, RANGE, SIZE, Copying, fill, names, pieces_of, sparse, spoilt


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights, in this process and in those it starts."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("holes", [False, True], ids=["dense", "sparse"])
def test_a_file_in_ranges_comes_out_as_with_cp(copying_in: Callable[..., Copying], threads: int, holes: bool) -> None:
    job = copying_in(split_size=RANGE)
    path = fill(job.src / "f", holes=holes)
    os.setxattr(path, "user.colour", b"blue")
    subprocess.run(["setfacl", "-m", "u:33:r,g:44:rw", path], check=True)
    os.utime(path, ns=(1_000_000_007_123_456_789, 1_111_111_111_987_654_321))
    before = path.stat()
    outcome = job.run("f", threads=threads)
    assert outcome.failures == [] and outcome.notes == []
    assert outcome.copied == one_file(SIZE)
    assert outcome.touched == {(0, b"", b"")}
    assert (job.kinds(Kind.RANGE), job.kinds(Kind.FINISH_FILE)) == (6 if holes else 11, 1), "by data"
    copy = (job.dst / "f").stat()
    assert (copy.st_mtime_ns, copy.st_atime_ns) == (before.st_mtime_ns, before.st_atime_ns)
    oracle.assert_equal_trees(job.src, job.dst, top=False)


@needs_root
@pytest.mark.parametrize("mode", [0o4755, 0o2711, 0o000, 0o444])
@pytest.mark.parametrize("owner", [(0, 0), (33, 44), (65534, 65534)])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_owner_and_mode_are_those_that_cp_gives(
    quick: Callable[..., Copying], user: str, owner: tuple[int, int], mode: int
) -> None:
    job = quick()
    path = fill(job.src / "f")
    os.chown(path, *owner)
    path.chmod(mode)
    other = job.dst.parent / "cp"
    other.mkdir()
    for directory in (job.dst, other):
        os.chown(directory, *((65534, 65534) if user == "nobody" else (0, 0)))
    command = ["cp", "-a", path, other / "f"]
    if user == "root":
        subprocess.run(command, check=True)
        job.run("f")
    else:
        job.places = [JobContext(place.job, place.commands, 1) for place in job.places]
        with as_nobody():
            readable = subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
            job.run("f")
        if not readable:
            spoilt(job, "f", "cannot open")
            return
    assert job.outcome.failures == []
    expected, found = (other / "f").stat(), (job.dst / "f").stat()
    for key in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size"):
        assert getattr(expected, key) == getattr(found, key), key
    assert subprocess.run(["cmp", path, job.dst / "f"]).returncode == 0


@needs_commands("getfacl", "setfacl")
def test_what_a_directory_passes_on_is_not_what_the_copy_gets(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f").chmod(0o640)
    subprocess.run(["setfacl", "-d", "-m", "u:33:rwx", job.dst], check=True)
    job.run("f")
    assert job.outcome.failures == []
    acls = [subprocess.run(["getfacl", "-cp", d / "f"], capture_output=True).stdout for d in (job.src, job.dst)]
    assert acls[0] == acls[1]


@pytest.mark.parametrize("sparse", ["always", "never"])
def test_holes_are_made_and_filled_as_asked(quick: Callable[..., Copying], sparse: str) -> None:
    job = quick(sparse=sparse)
    fill(job.src / "f", holes=sparse == "never")
    with open(job.src / "f", "r+b") as file:
        file.seek(0 if sparse == "always" else SIZE)
        file.write(bytes(RANGE))
    job.run("f")
    subprocess.run(["cmp", job.src / "f", job.dst / "f"], check=True)
    blocks = [(d / "f").stat().st_blocks for d in (job.src, job.dst)]
    assert blocks[1] < blocks[0] if sparse == "always" else blocks[1] * 512 >= SIZE > blocks[0] * 512


@needs_root
@pytest.mark.parametrize("at", [0, 5 << 40, (8 << 40) - 4096], ids=["beginning", "middle", "end"])
def test_a_file_that_is_nearly_all_hole_is_as_soon_copied_as_by_cp(quick: Callable[..., Copying], at: int) -> None:
    job = quick()
    path = sparse(job.src / "f", 8 << 40, [(at, 4096)])
    outcome = job.run("f")
    assert outcome.failures == [] and outcome.copied == one_file(8 << 40) and job.kinds(Kind.RANGE) == 0
    assert pieces_of(job.dst / "f") == pieces_of(path)


@pytest.mark.parametrize("threads", [1, 4])
def test_ranges_have_data_and_holes_take_no_time(copying_in: Callable[..., Copying], threads: int) -> None:
    job = copying_in(split_size=MIB)
    written = [(at << 30, MIB + 77) for at in (0, 3, 4, 90, 999)]
    path = sparse(job.src / "f", 1 << 40, written)
    outcome = job.run("f", threads=threads)
    assert outcome.failures == [] and outcome.copied == one_file(1 << 40)
    assert 5 <= job.kinds(Kind.RANGE) <= 5 * MIB // RANGE + 10
    assert pieces_of(job.dst / "f") == pieces_of(path)


@pytest.mark.parametrize("limited", [False, True])
def test_files_with_little_data_each_are_copied_at_once_or_when_rates_allow(
    quick: Callable[..., Copying], limited: bool
) -> None:
    job = quick(split_size=RANGE, rate_bytes=int(limited))
    for name in "ab":
        sparse(job.src / name, SIZE, [(0, BLOCK)])
    outcome = job.run("a", "b")
    assert outcome.copied.files == (0 if limited else 2) and job.kinds(Kind.RANGE) == 0
    assert [(batch.kind, batch.amount) for batch in outcome.new_work] == ([(Kind.COPY, 2 * BLOCK)] if limited else [])


def test_files_of_one_batch_get_their_names_whatever_they_are(quick: Callable[..., Copying]) -> None:
    job = quick()
    strange = "a\n$'b' \udcff"
    (job.src / "in").mkdir()
    for name, size in {strange: SIZE, "empty": 0, "-f": 1, "old": RANGE}.items():
        fill(job.src / "in" / name, size)
    outcome = job.run(strange, "empty", "-f", "old:new", source_dir="in", dest_dir="to/there", threads=4)
    assert outcome.failures == [] and outcome.copied.files == 4
    (job.src / "in" / "old").rename(job.src / "in" / "new")
    oracle.assert_equal_trees(job.src / "in", job.dst / "to/there", top=False)


def test_nothing_is_open_and_nothing_is_left_when_all_is_done(quick: Callable[..., Copying]) -> None:
    job = quick()
    gc.collect()  # what other tests left open would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    fill(job.src / "f")
    job.run("f", threads=4)
    assert names(job.dst) == ["f"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(quick: Callable[..., Copying]) -> None:
    job = quick(dry_run=True, itemize=True)
    fill(job.src / "f")
    outcome = job.run("f")
    assert outcome.copied == one_file(SIZE) and names(job.dst) == []
    assert outcome.items == [(">f+++++++++", b"f", b"")]


@pytest.mark.parametrize("there", [False, True], ids=["new", "over an old one"])
def test_a_file_has_the_same_line_as_one_that_cp_copies(quick: Callable[..., Copying], there: bool) -> None:
    job, lines = quick(itemize=True), []
    fill(job.src / "f").chmod(0o600)
    if there:
        fill(job.dst / "f", 10).chmod(0o644)
    pretending = Copying(job.src, job.dst, {"itemize": True, "dry_run": True})
    reference = Outcome()
    copying.copy(pretending.places[0], [job.batch("f", kind=Kind.COPY)], reference)
    lines = job.run("f").items
    assert lines == reference.items and len(lines) == 1


def test_an_old_file_is_replaced_in_one_step_also_if_it_is_read_only_or_a_link(quick: Callable[..., Copying]) -> None:
    job = quick()
    for name in ("f", "g"):
        fill(job.src / name)
    fill(job.dst.parent / "outside", 7)
    fill(job.dst / "f", 99).chmod(0o400)
    (job.dst / "g").symlink_to("../outside")
    before = (job.dst / "f").stat().st_ino
    seen = []
    job.run("f", "g", meddle=lambda batch: seen.append((job.dst / "f").stat()))
    assert {(status.st_ino, status.st_size) for status in seen[:-1]} == {(before, 99)}
    oracle.assert_equal_trees(job.src, job.dst, top=False)
    assert (job.dst.parent / "outside").stat().st_size == 7


def test_blocks_that_can_be_shared_are_all_there_is_to_do(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone(dest: int, request: int, source: int) -> int:
        os.sendfile(dest, source, 0, SIZE)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    job = quick(itemize=True)
    fill(job.src / "f")
    outcome = job.run("f")
    assert job.kinds(Kind.RANGE) == 0
    assert outcome.copied == one_file(SIZE) and len(outcome.items) == 1
    oracle.assert_equal_trees(job.src, job.dst, top=False)


def test_blocks_that_must_be_shared_and_cannot_are_a_failure(quick: Callable[..., Copying]) -> None:
    job = quick(reflink="always")
    fill(job.src / "f")
    job.run("f")
    spoilt(job, "f", "failed to clone")
