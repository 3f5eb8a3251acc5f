"""Launchers of another MPI than the library's are refused: N copies of "rank 0 of 1" must never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import launch
from tests.support.launch import Finished, World
from tests.support.marks import each_world
from tests.support.trees import File, build

mixed = pytest.mark.parametrize("launcher, library", [("mpich", "openmpi"), ("openmpi", "mpich")])
both = pytest.mark.skipif(
    any(World(flavour).missing() for flavour in launch.WITH_MPIEXEC), reason="needs MPICH and Open MPI"
)


@pytest.fixture
def trees(on_tmpfs: Path) -> tuple[Path, Path]:
    build(on_tmpfs / "src", {"a": File(b"a")})
    return on_tmpfs / "src", on_tmpfs / "dst"


def run_mixed(launcher: str, library: str, n: int, arguments: list[Path]) -> Finished:
    """Start ranks whose Python has one MPI with the mpiexec of the other."""
    python = launch.command_line([], flavour=library)[0]
    python = python[python.index(b"-n") + 2 :]
    command, environment = launch.command_line(arguments, flavour=launcher, n=n)
    head = command[: command.index(b"-n") + 2]
    assert head[-1] == str(n).encode()
    script = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    words = [*map(str, (word.decode() for word in [*head, *python])), *map(str, arguments)]
    own = {key: value for key, value in environment.items() if key.startswith(("OMPI_", "MPIR_"))}
    return launch.run(words, flavour="plain", python_args=("-c", script), env=own)


@both
@mixed
@pytest.mark.mpi
def test_a_launcher_of_another_flavour_is_refused_before_anything_is_done(
    launcher: str, library: str, trees: tuple[Path, Path]
) -> None:
    source, destination = trees
    done = run_mixed(launcher, library, 2, [source, destination])
    assert done.returncode == 1, str(done)
    assert done.stderr.count("hpcp-mpi: ") == 1, "once, not once per task"
    assert "started 2 tasks" in done.stderr
    assert "srun --mpi=pmi2" in done.stderr and "--mpi=pmix" in done.stderr
    assert not destination.exists()


@both
@mixed
@pytest.mark.mpi
def test_a_single_task_of_another_flavour_works(launcher: str, library: str, trees: tuple[Path, Path]) -> None:
    source, destination = trees
    assert run_mixed(launcher, library, 1, [source, destination]).returncode == 0
    assert (destination / "a").read_bytes() == b"a"


@each_world(sizes=(2,), launchers=("mpich", "openmpi"))
def test_several_tasks_without_mpi4py_are_refused(world: World, trees: tuple[Path, Path]) -> None:
    source, destination = trees
    hidden = launch.command_line([], flavour="nompi")[1]["PYTHONPATH"]
    done = world.run([source, destination], env={"PYTHONPATH": hidden})
    assert done.returncode == 1
    assert done.stderr.count("hpcp-mpi: ") == 1
    assert "2 tasks, but MPI cannot be loaded: No module named 'mpi4py'" in done.stderr
    assert "pip install" in done.stderr
    assert not destination.exists()


@each_world(sizes=(1,), launchers=("mpich", "openmpi"))
def test_one_task_without_mpi4py_works(world: World, trees: tuple[Path, Path]) -> None:
    source, destination = trees
    hidden = launch.command_line([], flavour="nompi")[1]["PYTHONPATH"]
    world.run([source, destination], env={"PYTHONPATH": hidden}).check()
    assert (destination / "a").read_bytes() == b"a"


def test_alone_without_mpi4py_it_works(trees: tuple[Path, Path]) -> None:
    source, destination = trees
    launch.run([source, destination], flavour="nompi").check()
    assert (destination / "a").read_bytes() == b"a"
