"""Runs with images that are killed or terminated leave nothing attached or mounted, and the same command then succeeds.

HPCP_MPI_CHAOS=N kills N of each kind, at other moments each time; HPCP_MPI_SEED=S makes them those of another run.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.host.block import staging
from hpcp_mpi.vocab.paths import STAGE_PREFIX
from tests.support import disks
from tests.support.effort import TO_THE_END
from tests.support.image_jobs import JOBS, Job
from tests.support.image_runs import ImageRuns, loops_over, until
from tests.support.marks import needs_commands, needs_root

pytestmark = [pytest.mark.root, needs_commands("rsync", *disks.COMMANDS)]
POINTS = int(os.environ.get("HPCP_MPI_CHAOS", "1"))
SEED = int(os.environ.get("HPCP_MPI_SEED", "0")) or (random.randrange(1, 1 << 30) if TO_THE_END else 1)
_STAGE = os.fsdecode(STAGE_PREFIX)
_STOPPED = 75
_LATER = pytest.mark.to_the_end
_USUALLY = {"pack-ext4": signal.SIGKILL, "update": signal.SIGTERM, "clone": signal.SIGKILL}
CASES = [
    pytest.param(verb, how, marks=() if _USUALLY.get(verb) is how else _LATER)
    for verb in JOBS
    for how in (signal.SIGKILL, signal.SIGTERM)
]
_USUAL = 1.0  # seconds from the first loop device or file to the end


@needs_root
@pytest.mark.parametrize("verb, how", CASES)
def test_nothing_is_left_of_a_killed_run_and_the_next_succeeds(
    verb: str, how: signal.Signals, on_tmpfs: Path, original_disk: Callable[[str], disks.Disk]
) -> None:
    span = _seconds_of(verb, on_tmpfs / "reference", original_disk) if TO_THE_END else _USUAL
    for point in range(POINTS):
        chance = random.Random(f"{SEED} {verb} {how} {point}")
        place = on_tmpfs / str(point)
        place.mkdir()
        try:
            _kill_and_repeat(JOBS[verb](place, original_disk), ImageRuns(place), how, chance, span)
        except AssertionError as error:
            raise AssertionError(f"HPCP_MPI_SEED={SEED}, point {point}: {error}") from error
        _remove(place)


def _seconds_of(verb: str, place: Path, disk: Callable[[str], disks.Disk]) -> float:
    """How long a run goes on after it has attached something."""
    place.mkdir()
    job = JOBS[verb](place, disk)
    runs = ImageRuns(place)
    with runs.started(*job.args) as running:
        names = set(os.listdir(place))
        assert until(lambda: running.ended or _has_begun(place, names), 60)
        began = time.monotonic()
        assert running.finish(120).returncode == 0, running.output()
    seconds = time.monotonic() - began
    job.judge()
    _remove(place)
    return seconds


def _has_begun(place: Path, names: set[str]) -> bool:
    """Whether a run has attached something, or made a file."""
    return bool(set(os.listdir(place)) - names or loops_over(place))


def _kill_and_repeat(job: Job, runs: ImageRuns, how: signal.Signals, chance: random.Random, span: float) -> None:
    before, names = job.sources(), set(os.listdir(runs.place))
    with runs.started(*job.args) as running:
        if chance.random() < 0.8:
            until(lambda: running.ended or _has_begun(runs.place, names), 60)
            time.sleep(chance.uniform(0, span))
        else:
            time.sleep(chance.uniform(0, 0.8))
        running.signal(how)
        done = running.finish(30)
        said = f"{how.name} after {done.seconds:.3f} s: {done}"
        assert until(lambda: not running.processes(), 10), said
    if how is signal.SIGKILL:
        assert done.returncode in (0, -signal.SIGKILL), said
        runs.nothing_is_left(said, directories=1)
    else:  # before it has its handlers it ends as any program does
        assert done.returncode in (0, _STOPPED, -signal.SIGTERM), said
        runs.nothing_is_left(said)
    assert job.sources() == before, said
    new = set(os.listdir(runs.place)) - names - {job.made.name}
    # A tree that is unpacked has the stage of a copy; the next run removes that, as is seen below.
    assert len(new) <= 1 and all(job.made.name in name or name.startswith(_STAGE) for name in new), f"{new}\n{said}"
    if job.made.exists() and not job.in_place:  # a name is given to what is complete
        job.judge()
        if job.once:
            return
    again = runs(*job.args)
    assert again.returncode == 0, f"{said}\nand then {again}"
    job.judge()
    assert job.sources() == before, again
    assert set(os.listdir(runs.place)) - names <= {job.made.name}, again


def _remove(place: Path) -> None:
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    place.rmdir()


@needs_root
def test_a_clone_goes_on_with_all_partitions_that_an_ended_run_has_completed(
    original_disk: Callable[[str], disks.Disk], on_tmpfs: Path
) -> None:
    job, tool = JOBS["clone"](on_tmpfs, original_disk), ImageRuns(on_tmpfs)
    assert tool(*job.args).returncode == 0
    kept = on_tmpfs / os.fsdecode(staging.PREFIX + os.fsencode(job.made.name) + staging.KEPT)
    job.made.rename(kept)  # all is in there but that a run has ended
    done = tool(*job.args)
    assert done.returncode == 0, done
    assert done.stdout.count("an earlier run had made it") == 4, done
    assert not kept.exists()
    job.judge()
