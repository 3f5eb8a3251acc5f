"""A big file that cannot be finished leaves nothing under its name; its stage goes with this run or the next one."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.commands import Commands, Stopped
from hpcp_mpi.host.range_copy import RangeCopier
from hpcp_mpi.host.stage import sweep
from hpcp_mpi.operations.copy.big_files import beginning
from hpcp_mpi.operations.copy.big_files import worker as ranging
from hpcp_mpi.operations.copy.big_files.rules import Ranges
from hpcp_mpi.vocab.tally import NOTHING, one_file
from hpcp_mpi.vocab.units import Kind
from tests.support import faultfs, oracle
from tests.support.marks import needs_fuse, needs_pages, needs_root
from tests.support.ranging import BLOCK, RANGE, SIZE, Copying, fill, names, once, spoilt, stage_of, started

REPOSITORY = Path(__file__).resolve().parents[4]


# --- a destination that fails


@needs_root
def test_a_full_file_system_spoils_only_what_does_not_fit(tmp_path: Path) -> None:
    job = started(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", job.dst], check=True)
    try:
        job = started(tmp_path)
        fill(job.src / "big", 2 * SIZE)
        fill(job.src / "small", RANGE)
        outcome = job.run("big", threads=2)
        (failure,) = outcome.failures
        assert failure.path == os.fsencode(job.src / "big")
        assert failure.reason == "its copy cannot be written: No space left on device"
        job.run("small", threads=2)
        assert names(job.dst) == ["small"] and len(outcome.failures) == 1
        oracle.assert_equal_trees(job.src, job.dst, exclude=["big"], top=False)
    finally:
        dst = job.dst
        del job  # which keeps the roots open
        gc.collect()
        subprocess.run(["umount", dst], check=True)


@needs_fuse
@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_file_whose_blocks_cannot_be_read_or_written_is_named(on_tmpfs: Path, side: str) -> None:
    for name in ("src", "dst"):
        (on_tmpfs / name).mkdir()
    for name in ("bad", "good"):
        fill(on_tmpfs / "src" / name)
    # The copy is called like its stage, which is called after the rank.
    faults = {"eio_read": "bad"} if side == "src" else {"eio_write": ".0123abcd.1."}
    with faultfs.mounted(on_tmpfs / side, **faults) as mountpoint:
        ends = {"src": on_tmpfs / "src", "dst": on_tmpfs / "dst", side: mountpoint}
        job = Copying(ends["src"], ends["dst"])
        job.run("bad")
        (failure,) = job.outcome.failures
        words = "cannot be read" if side == "src" else "its copy cannot be written"
        assert failure.reason == f"{words}: Input/output error"
        assert names(job.dst) == []
        if side == "src":
            job.run("good")
            assert names(job.dst) == ["good"] and len(job.outcome.failures) == 1


def test_a_file_lands_without_the_metadata_that_cannot_be_set(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Commands.run

    def complain(self: Commands, arguments: list[bytes], *rest: Any) -> tuple[int, bytes]:
        _, stderr = real(self, arguments, *rest)
        return 1, stderr + b"cp: failed to preserve ownership for '%s': Operation not permitted\n" % arguments[-1]

    monkeypatch.setattr(Commands, "run", complain)
    job = quick()
    fill(job.src / "f")
    job.run("f")
    (failure,) = job.outcome.failures
    assert failure.path == os.fsencode(job.src / "f")
    assert failure.reason == "cp failed to preserve ownership for: Operation not permitted"
    assert failure.attempted == NOTHING and job.outcome.copied == one_file(SIZE)
    oracle.assert_equal_trees(job.src, job.dst, top=False)


@pytest.mark.parametrize(
    "answer, reason", [((1, b""), "exit code 1"), ((1, b"cp: memory exhausted\n"), "memory"), ((-9, b""), "signal 9")]
)
def test_a_cp_that_does_nothing_leaves_no_file_without_its_mtime(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes], reason: str
) -> None:
    monkeypatch.setattr(Commands, "run", lambda *args: answer)
    job = quick()
    os.utime(fill(job.src / "f"), (1, 1))
    job.run("f")
    spoilt(job, "f", reason)


# --- runs that end early


@pytest.mark.parametrize("kind, before", [(Kind.RANGE, 1), (Kind.RANGE, 6), (Kind.FINISH_FILE, 1)])
def test_a_run_that_is_stopped_takes_its_stages_with_it(quick: Callable[..., Copying], kind: Kind, before: int) -> None:
    job = quick()
    fill(job.src / "f")

    def deed() -> None:
        for place in job.places:
            place.commands.stop()

    with pytest.raises(Stopped):
        job.run("f", meddle=once(kind, deed, before))
    assert "f" not in names(job.dst)
    for place in job.places:
        ranging.abandon(place, job.outcome)
        place.release()
    assert names(job.dst) == [] and job.outcome.notes == []


def test_what_other_ranks_finished_is_not_abandoned(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")
    job.run("f", threads=2)
    for place in job.places:
        ranging.abandon(place, job.outcome)
    assert names(job.dst) == ["f"]


_VICTIM = """
import sys
from pathlib import Path
from hpcp_mpi.host import tmpfs_pages as pages
from hpcp_mpi.host import range_copy as ranges
from tests.support.ranging import Kind, once, started

def wait():
    print("ready", flush=True)
    sys.stdin.read()

def wait_within():
    def put(self, *args):
        count = real(self, *args)
        wait()
        return count

    real, pages.Pages.put = pages.Pages.put, put

ranges.cpus = lambda: 2
deed = wait_within if sys.argv[2] == "within a range" else wait
started(Path(sys.argv[1])).run("f", meddle=once(Kind.RANGE, deed, 6))
"""


@pytest.mark.parametrize(
    "where, when",
    [
        ("on_tmpfs", "between ranges"),
        ("on_disk", "between ranges"),
        pytest.param("on_tmpfs", "within a range", marks=needs_pages),  # which is mapped then
    ],
)
def test_what_a_killed_run_leaves_is_swept_by_the_next_one_and_not_before(
    request: pytest.FixtureRequest, where: str, when: str
) -> None:
    place: Path = request.getfixturevalue(where)
    job = started(place)
    fill(job.src / "f")
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, place, when],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
        (stage,) = names(job.dst)
        dest = os.open(job.dst, os.O_RDONLY)
        assert not sweep(dest, os.fsencode(stage))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert names(job.dst) == [stage]
        assert sweep(dest, os.fsencode(stage))
        assert names(job.dst) == []
        os.close(dest)
    finally:
        victim.kill()
        victim.communicate()
    job.run("f")
    oracle.assert_equal_trees(job.src, job.dst, top=False)


def test_a_stage_that_another_run_sweeps_is_a_failure_and_no_file_with_holes(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")

    def deed() -> None:
        for place in job.places:  # as on a file system that keeps locks to each node
            place.stages.close()
        dest = os.open(job.dst, os.O_RDONLY)
        assert sweep(dest, os.fsencode(stage_of(job).name))
        os.close(dest)

    job.run("f", meddle=once(Kind.RANGE, deed, 4))
    spoilt(job, "f", "its staging directory is lost: No such file or directory")


@pytest.mark.parametrize("holes", [False, True], ids=["dense", "sparse"])
def test_what_a_run_that_ends_leaves_of_a_range_is_all_that_another_copies(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch, holes: bool
) -> None:
    job = quick(split_size=RANGE, sync_ranges=True, verify=True)
    fill(job.src / "f", holes=holes)
    beginning.begin(job.places[0], job.batch("f"), job.outcome)
    (batch,) = Ranges(10**6, alignment=BLOCK).update(job.outcome.findings.pop())
    assert len(batch.units) == 1
    monkeypatch.setattr(ranging, "_STEP", 2 * RANGE)
    copied, real = [], RangeCopier.copy

    def copy(copier: RangeCopier, *args: int) -> int:
        copied.append(real(copier, *args))
        if len(copied) == 2:
            job.places[0].ending.set()
        return copied[-1]

    monkeypatch.setattr(RangeCopier, "copy", copy)
    ranging.copy_range(job.places[0], batch, job.outcome)
    (rest,) = job.outcome.new_work
    (unit,) = rest.units
    assert int(unit.name) == copied[1] < SIZE == copied[1] + unit.tally.bytes
    assert unit.amount == batch.amount - 4 * RANGE
    done, written = job.outcome.findings
    assert done.bytes == 4 * RANGE and [each.tally.bytes for each in written.batch.units] == [copied[1]]
    ranging.copy_range(job.places[1], rest, job.outcome)
    ranging.finish(job.places[1], replace(batch, kind=Kind.FINISH_FILE, units=job.batch("f").units), job.outcome)
    oracle.assert_equal_trees(job.src, job.dst, top=False)


def test_work_of_one_kind_may_come_in_any_portions(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")
    beginning.begin(job.places[0], job.batch("f"), job.outcome)
    (batch,) = job.plan.update(job.outcome.findings.pop())
    first, rest = batch.split(7)
    for place, part in zip(job.places, (rest, replace(first, over=True)), strict=True):
        ranging.copy_range(place, part, job.outcome)
    finish = [work for news in job.outcome.findings for work in job.plan.update(news)]
    assert [work.kind for work in finish] == [Kind.FINISH_FILE]
    ranging.finish(job.places[1], finish[0], job.outcome)
    oracle.assert_equal_trees(job.src, job.dst, top=False)
