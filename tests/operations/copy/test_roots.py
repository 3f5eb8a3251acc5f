"""A node that sees other directories than rank 0 does must not copy: the file system may not be mounted there."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options


def workplace(source: Path, destination: Path) -> JobContext:
    paths = os.fsencode(source), os.fsencode(destination)
    job = Job(Options(), (root_of(paths[0]),), "test", paths[1], root_of(paths[1]), abilities=Abilities())
    received: Job = pickle.loads(pickle.dumps(job))  # what another rank gets has no descriptors
    return JobContext(received, Commands(), 3)


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    for name, second in (("src", 1_000_000_000), ("dst", 1_100_000_000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (second, second))
    return tmp_path / "src", tmp_path / "dst"


def test_the_same_directories_are_accepted(roots: tuple[Path, Path]) -> None:
    workplace(*roots).pin_roots(3, "node7")


@pytest.mark.parametrize("same_time", [False, True], ids=["", "of-the-same-time"])
@pytest.mark.parametrize("which", [0, 1])
def test_another_directory_under_the_same_path_is_refused_with_rank_node_and_path(
    roots: tuple[Path, Path], which: int, same_time: bool
) -> None:
    place = workplace(*roots)
    second = roots[which].stat().st_mtime
    roots[which].rename(roots[which].with_name("kept"))  # so that its inode number is not used again
    roots[which].mkdir()
    if same_time:
        os.utime(roots[which], (second, second))
    with pytest.raises(FatalError) as refusal:
        place.pin_roots(3, "node7")
    assert "rank 3 on node7" in refusal.value.message and str(roots[which]) in refusal.value.message
    assert "mounted" in refusal.value.remedy


def test_a_directory_that_is_missing_is_refused_with_the_errno_text(roots: tuple[Path, Path]) -> None:
    place = workplace(*roots)
    roots[1].rmdir()
    with pytest.raises(FatalError, match="No such file or directory"):
        place.pin_roots(3, "node7")
