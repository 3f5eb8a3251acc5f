"""The Python API: the command's copy, in process, with the same report on every rank."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi.vocab.errors import FatalError
from tests.support import oracle
from tests.support.launch import World
from tests.support.marks import needs_commands, worlds
from tests.support.torture import torture
from tests.support.trees import Dir, File, build

pytestmark = needs_commands("rsync")


def test_copy_returns_a_report_and_equal_trees(on_tmpfs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0, beyond_path_max=False)
    report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert (report.exit_code, report.failures) == (0, [])
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", sockets=False)
    again = hpcp_mpi.copy([str(on_tmpfs / "src")], os.fsencode(on_tmpfs / "dst"))
    assert again.outcome.copied.entries == 0 and again.outcome.skipped.files == report.outcome.copied.files
    assert capfd.readouterr() == ("", "")


def test_options_are_those_of_the_command(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"x": File(b"x"), "y.tmp": File(b"y")})
    build(on_tmpfs / "b", {"z": File(b"z")})
    dry = hpcp_mpi.copy([on_tmpfs / "a", on_tmpfs / "b"], on_tmpfs / "dst", excludes=(b"*.tmp",), dry_run=True)
    assert dry.dry_run and not (on_tmpfs / "dst").exists()
    report = hpcp_mpi.copy([on_tmpfs / "a", on_tmpfs / "b"], on_tmpfs / "dst", excludes=(b"*.tmp",))
    assert report.outcome.copied.files == 2
    assert sorted(path.name for path in (on_tmpfs / "dst").rglob("*")) == ["a", "b", "x", "z"]


def test_failures_are_data(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "g": File(b"g")})
    build(on_tmpfs / "dst", {"f": Dir({"full": File(b"x")})})
    report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert report.exit_code == 23
    assert [failure.path for failure in report.failures] == [os.fsencode(on_tmpfs / "src/f")]
    assert (on_tmpfs / "dst/g").read_bytes() == b"g"


def test_what_cannot_start_raises(on_tmpfs: Path) -> None:
    with pytest.raises(FatalError, match="missing"):
        hpcp_mpi.copy(on_tmpfs / "missing", on_tmpfs / "dst")
    assert not (on_tmpfs / "dst").exists()
    with pytest.raises(TypeError):
        hpcp_mpi.copy(on_tmpfs, on_tmpfs / "dst", no_such_option=1)


COLLECTIVE = """
import json, sys
from mpi4py import MPI
import hpcp_mpi
from hpcp_mpi.vocab.errors import FatalError
rank = MPI.COMM_WORLD.rank
answers = []
for source in sys.argv[1:3]:
    try:
        answers.append(hpcp_mpi.copy(source, sys.argv[3]).as_dict())
    except FatalError as error:
        answers.append("FatalError: " + error.message)
everyones = MPI.COMM_WORLD.gather(answers)
if rank == 0:
    print(json.dumps(everyones))
"""


@pytest.mark.parametrize("world", worlds((1, 3), launchers=("mpich", "openmpi")))
def test_every_rank_gets_the_same_report_and_the_same_error(world: World, on_tmpfs: Path) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0, beyond_path_max=False)
    arguments = [on_tmpfs / "missing", on_tmpfs / "src", on_tmpfs / "dst"]
    done = world.run(arguments, python_args=("-c", COLLECTIVE)).check()
    everyones = json.loads(done.stdout)
    assert len(everyones) == world.n
    assert all(each == everyones[0] for each in everyones)
    error, report = everyones[0]
    assert error.startswith("FatalError: cannot use the source") and report["exit_code"] == 0
    assert report["copied"]["files"] > 100
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", sockets=False)
