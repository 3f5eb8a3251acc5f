"""The API under MPI: the same report or the same exception on every rank, and no rank that waits for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import worlds
from tests.support.trees import File, build

COLLECTIVE = """
import json, sys, threading, time
from mpi4py import MPI
import hpcp_mpi
rank = MPI.COMM_WORLD.rank
answers = []
def tried(verb, *arguments, **keywords):
    try:
        answers.append(getattr(hpcp_mpi, verb)(*arguments, **keywords).as_dict())
    except Exception as error:
        answers.append(f"{type(error).__name__}: {error}")
class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)
def raising(now):
    raise kind("no", *more)
missing, source, destination, listed = sys.argv[1:]
tried("copy", missing, destination)
tried("copy", source if rank == 0 else None, destination if rank == 0 else 7)
tried("compare", source, destination)
tried("list_files", destination, listed)
kind, more = ValueError, ()
tried("verify", source, destination, progress=raising if rank == 0 else None)
kind, more = Unpicklable, ("two",)
tried("verify", source, destination, progress=raising)
tried("copy", source if rank else 3, destination)
tried("verify" if rank == 1 else "copy", source, destination)
# Any thread may call, if MPI was told so.
thread = threading.Thread(target=tried, args=("remove", destination))
thread.start()
if rank == 0:
    time.sleep(0.001)
    try:
        hpcp_mpi.copy(source, destination)
    except hpcp_mpi.FatalError as error:
        print(error, file=sys.stderr)
thread.join()
everyones = MPI.COMM_WORLD.gather(answers)
MPI.Finalize()
tried("copy", source, destination)
if rank == 0:
    print(json.dumps([everyones, answers[-1]]))
"""


@pytest.mark.parametrize("world", worlds((3,), launchers=("mpich", "openmpi")))
def test_every_rank_gets_the_same_report_and_the_same_exception(world: World, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"{number}": File(b"x" * number) for number in range(120)})
    arguments = [on_tmpfs / "missing", on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "list"]
    done = world.run(arguments, python_args=("-c", COLLECTIVE)).check()
    everyones, late = json.loads(done.stdout)
    assert len(everyones) == world.n
    # What cannot be sent is said in words.
    unpicklable = [each.pop(5) for each in everyones]
    assert unpicklable == ["Unpicklable: no", *["FatalError: rank 0 raised Unpicklable: no"] * (world.n - 1)]
    assert all(each == everyones[0] for each in everyones)
    error, copied, compared, listed, raised, wrong, others, removed = everyones[0]
    assert error.startswith("FatalError: cannot use the source")
    reports = [copied, compared, listed, removed]
    assert [report["exit_code"] for report in reports] == [0, 0, 0, 0]
    assert [report["verb"] for report in reports] == ["copy", "compare", "list", "remove"]
    assert copied["copied"]["files"] > 100 and compared["differences"] == {"added": 0, "modified": 0, "deleted": 0}
    assert len((on_tmpfs / "list").read_text().splitlines()) > 100
    assert removed["removed"]["files"] >= copied["copied"]["files"] and not (on_tmpfs / "dst").exists()
    assert raised == "ValueError: no"
    assert wrong.startswith("TypeError: copy(): sources must be a path")
    assert others.startswith("FatalError: the ranks do not call the same: copy() by ranks 0, 2, verify() by rank 1")
    assert "copy() is called while another thread of this process is in a call" in done.stderr
    assert late.startswith("FatalError: MPI has been finalized in this process: copy() is too late")


SOME = """
import sys, time
import hpcp_mpi
import mpi4py
mpi4py.rc.thread_level = "single"
from mpi4py import MPI
source, destination, *ranks = sys.argv[1:]
report = hpcp_mpi.copy(source, destination)
assert (report.exit_code, MPI.Query_thread()) == (0, MPI.THREAD_SINGLE)
rank = MPI.COMM_WORLD.rank
if str(rank) in ranks:
    for patience in 1, 60:
        began = time.monotonic()
        try:
            hpcp_mpi.copy(source, destination, join_timeout=patience)
        except hpcp_mpi.FatalError as error:
            sys.stdout.write(f"{rank}: {error.message} [{time.monotonic() - began < 7}]\\n")
            sys.stdout.flush()
"""


@each_value
@pytest.mark.parametrize("came", ["02", "12"])
@pytest.mark.parametrize("world", worlds((3,), launchers=("mpich", "openmpi")))
def test_ranks_that_call_alone_are_told_who_did_not_come(world: World, came: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x")})
    done = world.run([on_tmpfs / "src", on_tmpfs / "dst", *came], python_args=("-c", SOME)).check()
    missing = "rank 1" if came == "02" else "rank 0, and perhaps others,"
    lines = [f"{rank}: {missing} did not call copy() within 1 s [True]" for rank in came]
    again = "copy() cannot be called any more: not all ranks came when it called copy() [True]"
    assert sorted(done.stdout.splitlines()) == sorted([*lines, *(f"{rank}: {again}" for rank in came)]), str(done)
