"""The launchers launch what they say, and end what they started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import launch, processes
from tests.support.launch import Hang, World
from tests.support.marks import each_world, needs_root

RANKS = """
import sys
try:
    from mpi4py import MPI
except ModuleNotFoundError:
    print("no MPI", sys.argv[1:])
else:
    world = MPI.COMM_WORLD
    ranks = world.gather(world.rank)
    if world.rank == 0:
        print(MPI.Get_library_version()[:8], ranks, sys.argv[1:])
"""


@each_world(sizes=(1, 3))
def test_each_way_to_start_gives_the_world_that_was_asked_for(world: World) -> None:
    done = world.run(["ARG", b"\xff"], python_args=("-c", RANKS)).check()
    library = {"mpich": "MPICH", "openmpi": "Open MPI", "plain": "", "nompi": "no MPI"}[world.flavour]
    assert done.stdout.startswith(library)
    assert "'ARG', '\\udcff'" in done.stdout
    if world.flavour != "nompi":
        assert str(list(range(world.n))) in done.stdout
    assert done.left_behind == ()


# Every rank starts a child in a session of its own and sleeps: a hang does not leave one process group.
HANGING = """
import subprocess, time
subprocess.Popen(["sleep", "300"], start_new_session=True)
print("sleeping", flush=True)
time.sleep(300)
"""


@each_world(sizes=(2,), launchers=("plain", "mpich", "openmpi"))
def test_a_hang_is_killed_whole_and_shows_where_it_was(world: World) -> None:
    began = time.monotonic()
    with world.start([], python_args=("-c", HANGING)) as running:
        running.wait_for("sleeping")
        with pytest.raises(Hang) as failure:
            running.finish(timeout=0.5)
    assert time.monotonic() - began < 20
    assert "sleep 300" in str(failure.value)
    assert 'File "<string>", line 5' in str(failure.value)
    assert running.processes() == []


def test_what_outlives_the_tool_is_reported_and_then_killed() -> None:
    script = "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)"
    with launch.start([], flavour="plain", python_args=("-c", script)) as running:
        done = running.finish()
    assert done.returncode == 0
    assert [line.split(" ", 1)[1] for line in done.left_behind] == ["sleep 300"]
    assert running.processes() == []


def test_signals_reach_the_tool() -> None:
    script = "import signal; print('ready', flush=True); signal.pause()"
    with launch.start([], flavour="plain", python_args=("-c", script)) as running:
        running.wait_for("ready")
        running.signal(signal.SIGTERM)
        assert running.finish().returncode == -signal.SIGTERM


def test_waiting_for_output_that_cannot_come_fails_at_once() -> None:
    with launch.start([], flavour="plain", python_args=("-c", "print('other')")) as running:
        with pytest.raises(AssertionError, match="ended with 0"):
            running.wait_for("never")


def test_what_a_launcher_around_the_tests_says_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "64")
    monkeypatch.setenv("PMI_RANK", "3")
    script = "import os; print(sorted(os.environ))"
    done = launch.run([], flavour="plain", python_args=("-c", script), env={"SLURM_JOB_ID": "1"}).check()
    assert "SLURM_NTASKS" not in done.stdout and "PMI_RANK" not in done.stdout
    assert "SLURM_JOB_ID" in done.stdout and processes.TAG in done.stdout


@needs_root
@each_world(sizes=(2,))
def test_another_user_can_run_it(world: World, everyone: Callable[[Path], Path], on_tmpfs: Path) -> None:
    mine = everyone(on_tmpfs / "mine")
    script = "import os, numpy, rich, hpcp_mpi; open(f'by-{os.getuid()}-{os.getgroups()}', 'w')"
    world.run([], python_args=("-c", script), user="nobody", cwd=mine).check()
    assert [path.name.split("-")[1] for path in mine.iterdir()] == ["65534"]
    assert os.stat(next(mine.iterdir())).st_uid == 65534
