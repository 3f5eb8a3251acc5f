"""Exceptions on any rank end the whole job: the traceback is on stderr, the exit code is 1, and no rank hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import each_world
from tests.support.trees import Dir, File, build

SCRIPT = str(Path(__file__).with_name("breaking.py"))
SECONDS = 30  # for a run that breaks at once; a hang would wait for close(), a minute


@each_value
@pytest.mark.parametrize("where, rank", [("slot", 2), ("slot", 1), ("loop", 2), ("scan", 0)])
@each_world(sizes=(4,), launchers=("mpich", "openmpi"))
def test_a_rank_that_raises_ends_the_job_with_its_traceback(
    world: World, where: str, rank: int, on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", {f"d{number}": Dir({"a": File(b"a" * 1000), "b": File(b"b")}) for number in range(40)})
    arguments = [where, str(rank), "--chunk-size", "4K", on_tmpfs / "src", on_tmpfs / "dst"]
    done = world.run(arguments, python_args=(SCRIPT,), timeout=SECONDS)
    assert done.returncode == 1, str(done)
    assert "Traceback (most recent call last)" in done.stderr
    assert "in injected_fault" in done.stderr and "RuntimeError: injected" in done.stderr
    assert done.left_behind == ()
    if where != "scan":
        assert f"hpcp-mpi: rank {rank} on " in done.stderr, "rank 0 says who broke down"


@pytest.mark.parametrize("where", ["slot", "scan"])
@each_world(launchers=("plain", "nompi"))
def test_without_mpi_it_ends_likewise(world: World, where: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"a": File(b"a"), "d": Dir({"b": File(b"b")})})
    done = world.run([where, "0", on_tmpfs / "src", on_tmpfs / "dst"], python_args=(SCRIPT,), timeout=SECONDS)
    assert done.returncode == 1
    assert "in injected_fault" in done.stderr and "RuntimeError: injected" in done.stderr
    assert done.left_behind == ()
