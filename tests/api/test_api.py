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
    dry = hpcp_mpi.copy([on_tmpfs / "a", on_tmpfs / "b"], on_tmpfs / "dst", exclude="*.tmp", dry_run=True)
    assert dry.dry_run and not (on_tmpfs / "dst").exists()
    report = hpcp_mpi.copy([on_tmpfs / "a", on_tmpfs / "b"], on_tmpfs / "dst", exclude="*.tmp")
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


def test_compare_tells_what_differs_and_writes_nothing(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"same": File(b"s"), "new": File(b"n"), "changed": File(b"1")})
    hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    equal = hpcp_mpi.compare(on_tmpfs / "src", on_tmpfs / "dst")
    assert (equal.verb, equal.exit_code, sum((equal.differences or {"": 1}).values())) == ("compare", 0, 0)
    (on_tmpfs / "dst/new").rename(on_tmpfs / "dst/old")
    (on_tmpfs / "dst/changed").write_bytes(b"22")
    os.utime(on_tmpfs / "dst", ns=((on_tmpfs / "src").stat().st_atime_ns, (on_tmpfs / "src").stat().st_mtime_ns))
    before = oracle.lstats(on_tmpfs)
    report = hpcp_mpi.compare([on_tmpfs / "src"], on_tmpfs / "dst")
    assert (report.exit_code, report.differences) == (3, {"added": 1, "modified": 1, "deleted": 1})
    assert oracle.lstats(on_tmpfs).keys() == before.keys()


def test_to_call_remove_is_to_agree(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"x": File(b"x"), "y.keep": File(b"y")})
    build(on_tmpfs / "b", {"z": File(b"z")})
    dry = hpcp_mpi.remove([on_tmpfs / "a", on_tmpfs / "b"], exclude=[b"*.keep"], dry_run=True)
    assert dry.dry_run and (on_tmpfs / "b/z").exists()
    report = hpcp_mpi.remove([on_tmpfs / "a", on_tmpfs / "b"], exclude=[b"*.keep"])
    assert (report.verb, report.exit_code, report.outcome.removed.files) == ("remove", 0, 2)
    assert dry.outcome.removed == report.outcome.removed
    assert sorted(path.name for path in on_tmpfs.rglob("*")) == ["a", "y.keep"]


def test_mirrors_and_moves_ask_nothing(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x")})
    build(on_tmpfs / "dst", {"extra": File(b"e")})
    assert hpcp_mpi.mirror(on_tmpfs / "src", on_tmpfs / "dst").outcome.removed.files == 1
    assert hpcp_mpi.move(on_tmpfs / "src", on_tmpfs / "dst").exit_code == 0
    assert sorted(path.name for path in on_tmpfs.rglob("*")) == ["dst", "x"]


@pytest.mark.parametrize("hashes", [True, False])
def test_a_list_is_written_with_or_without_hashes(hashes: bool, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x"), "d": Dir({"y": File(b"")})})
    report = hpcp_mpi.list_files(os.fsencode(on_tmpfs / "src") + b"/", on_tmpfs / "list", hashes=hashes)
    assert (report.verb, report.exit_code, report.scanned.files) == ("list", 0, 2)
    names = [line.partition(":")[0] for line in (on_tmpfs / "list").read_text().splitlines()]
    assert names == ["./", "d/", "d/y", "x"]
    assert ("d/y:ef46db3751d8e999" in (on_tmpfs / "list").read_text()) == hashes


COLLECTIVE = """
import json, sys
from mpi4py import MPI
import hpcp_mpi
from hpcp_mpi.vocab.errors import FatalError
rank = MPI.COMM_WORLD.rank
answers = []
def tried(verb, *arguments):
    try:
        answers.append(getattr(hpcp_mpi, verb)(*arguments).as_dict())
    except FatalError as error:
        answers.append("FatalError: " + error.message)
missing, source, destination, listed = sys.argv[1:]
tried("copy", missing, destination)
tried("copy", source, destination)
tried("compare", source, destination)
tried("list_files", destination, listed)
tried("remove", destination)
everyones = MPI.COMM_WORLD.gather(answers)
if rank == 0:
    print(json.dumps(everyones))
"""


@pytest.mark.parametrize("world", worlds((1, 3), launchers=("mpich", "openmpi")))
def test_every_rank_gets_the_same_report_and_the_same_error(world: World, on_tmpfs: Path) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0, beyond_path_max=False)
    arguments = [on_tmpfs / "missing", on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "list"]
    done = world.run(arguments, python_args=("-c", COLLECTIVE)).check()
    everyones = json.loads(done.stdout)
    assert len(everyones) == world.n
    assert all(each == everyones[0] for each in everyones)
    error, *reports = everyones[0]
    copied, compared, _listed, removed = reports
    assert error.startswith("FatalError: cannot use the source")
    assert [report["exit_code"] for report in reports] == [0, 0, 0, 0]
    assert [report["verb"] for report in reports] == ["copy", "compare", "list", "remove"]
    assert copied["copied"]["files"] > 100 and compared["differences"] == {"added": 0, "modified": 0, "deleted": 0}
    assert len((on_tmpfs / "list").read_text().splitlines()) > 100
    assert removed["removed"]["files"] >= copied["copied"]["files"] and not (on_tmpfs / "dst").exists()
