"""The command resumes with its ledger: in the middle of a big file, with other ranks, and only the same command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcp_mpi.vocab.stored_batches import unpacked
from hpcp_mpi.vocab.units import Batch, Units
from tests.support import eager_ledger, oracle, processes
from tests.support.copies import PLAIN, copy, cps, refused, stages
from tests.support.launch import Running, World
from tests.support.marks import needs_commands, worlds
from tests.support.trees import Dir, File, build

pytestmark = needs_commands("rsync")
MIB = 1 << 20
EAGER = (eager_ledger.__file__,)
WORLDS = worlds((1, 4), launchers=("plain", "mpich", "openmpi"))


@contextmanager
def slow_run(world: World, place: Path, *options: str, rate: str) -> Iterator[Running]:
    arguments = [*options, "-L", rate, "--ledger", place / "ledger", place / "src", place / "dst"]
    with world.start(arguments, python_args=EAGER) as running:
        yield running


def state(place: Path) -> list[tuple[Batch, Units]]:
    """The big files under way, as the ledger tells."""
    try:
        connection = sqlite3.connect(f"file:{place}/ledger?mode=ro", uri=True, timeout=5)
    except sqlite3.OperationalError:
        return []
    try:
        row = connection.execute("SELECT state FROM checkpoint").fetchone()
        batches = unpacked(row[0]) if row and row[0] else []
        return [(finish, ranges.units) for finish, ranges in zip(batches[::2], batches[1::2], strict=True)]
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def until(come: Callable[[], object], running: Running) -> None:
    deadline = time.monotonic() + 60
    while not come():
        assert time.monotonic() < deadline and running._process.poll() is None, running.output()
        time.sleep(0.01)


def kill(running: Running, dst: Path) -> None:
    for pid in [*(process.pid for process in running.processes()), *cps(dst)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    processes.kill_all(running._tag)
    running.finish()


def half_done(place: Path) -> bool:
    """Return whether the ledger knows that some of the big file is copied, and some is not."""
    return any(8 * MIB < left.amount < 30 * MIB for _, left in state(place))


@pytest.mark.parametrize("world", WORLDS)
def test_ranges_that_are_copied_are_not_copied_again(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"d": Dir({"big": File(os.urandom(MIB) * 40, mtime_ns=5)}), "small": File(b"s", mtime_ns=6)})
    with slow_run(world, on_tmpfs, "--split-size", "4M", "-j", "2", rate="16Mi") as running:
        until(lambda: half_done(on_tmpfs), running)
        kill(running, dst)
    ((finish, left),) = state(on_tmpfs)
    assert finish.big is not None and 0 < left.amount < 40 * MIB
    copied = set(range(0, 40 * MIB, 4 * MIB)) - {int(unit.name) for unit in left}
    # Nobody looks at what was copied: so what is there now stays there.
    stage = finish.big.stage.decode()
    with open(dst / "d" / stage / stage, "r+b") as file:
        for start in copied:
            assert os.pread(file.fileno(), 4 * MIB, start) == (src / "d/big").read_bytes()[: 4 * MIB]
            os.pwrite(file.fileno(), b"as it was left", start + MIB)
    split = "8M" if world.n > 1 else "64M"
    again = copy("--ledger", on_tmpfs / "ledger", "--resume", "--split-size", split, src, dst, world=PLAIN)
    assert "resumes 1 earlier run: " in again.done.stderr
    found = (dst / "d/big").read_bytes()
    wanted = bytearray((src / "d/big").read_bytes())
    for start in copied:
        wanted[start + MIB : start + MIB + 14] = b"as it was left"
    assert found == bytes(wanted) and (dst / "d/big").stat().st_mtime_ns == 5
    assert stages(dst) == []


def test_what_was_copied_before_a_run_was_ended_is_verified_by_the_next(on_tmpfs: Path) -> None:
    src, dst, world = on_tmpfs / "src", on_tmpfs / "dst", World("mpich", 3)
    build(src, {"big": File(os.urandom(MIB) * 40), "d": Dir({f"f{i}": File(b"f" * 1000) for i in range(50)})})
    with slow_run(world, on_tmpfs, "--split-size", "16M", "--verify", rate="16Mi") as running:
        until(lambda: any(left.amount < 39 * MIB for _, left in state(on_tmpfs)), running)
        for process in running.processes():
            words = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if process.is_python and b"PMI_RANK=0" in words:
                process.send(signal.SIGTERM)
        assert running.finish().returncode == 75
    ((_, left),) = state(on_tmpfs)
    assert left.amount
    again = copy("--ledger", on_tmpfs / "ledger", "--resume", "--verify", src, dst, world=world)
    assert again.report["verified"]["bytes"] == 40 * MIB + 50_000
    oracle.assert_equal_trees(src, dst)


def test_a_big_file_that_changed_meanwhile_is_begun_anew(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"big": File(os.urandom(MIB) * 40)})
    with slow_run(PLAIN, on_tmpfs, "--split-size", "4M", rate="16Mi") as running:
        until(lambda: half_done(on_tmpfs), running)
        kill(running, dst)
    (src / "big").write_bytes(os.urandom(MIB) * 41)
    copy("--ledger", on_tmpfs / "ledger", "--resume", src, dst)
    oracle.assert_equal_trees(src, dst)
    assert stages(dst) == []


@pytest.mark.parametrize("what", ["removed", "emptied", "shortened", "opened to others"])
def test_a_stage_that_is_not_as_it_was_left_is_not_used(what: str, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"big": File(os.urandom(MIB) * 40)})
    with slow_run(PLAIN, on_tmpfs, "--split-size", "4M", rate="16Mi") as running:
        until(lambda: half_done(on_tmpfs), running)
        kill(running, dst)
    ((finish, _),) = state(on_tmpfs)
    assert finish.big is not None
    stage = dst / finish.big.stage.decode()
    if what == "opened to others":
        stage.chmod(0o777)
    elif what == "shortened":
        os.truncate(stage / stage.name, 100)
    else:
        (stage / stage.name).unlink()
        if what == "removed":
            stage.rmdir()
    copy("--ledger", on_tmpfs / "ledger", "--resume", src, dst)
    if what == "opened to others":  # then it is no stage any more, but what somebody made of it
        assert stage.stat().st_mode & 0o7777 == 0o777
        shutil.rmtree(stage)
        shutil.copystat(src, dst)
    oracle.assert_equal_trees(src, dst)
    assert stages(dst) == []


def test_only_the_same_command_may_go_on(on_tmpfs: Path) -> None:
    src, dst, ledger = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "ledger"
    build(src, {"f": File(b"f")})
    refused("--ledger", ledger, "--resume", src, dst, says="there is no ledger")
    copy("--ledger", ledger, src, dst)
    refused("--ledger", ledger, src, dst, says="Add --resume to resume it")
    before = ledger.read_bytes()
    for other in (["-rme", src, dst], ["-e", "*.o", src, dst], [src, on_tmpfs / "dst2"], [src, f"{dst}/"]):
        refused("--ledger", ledger, "--resume", *other, says="belongs to another run: copy")
    assert ledger.read_bytes() == before and not (on_tmpfs / "dst2").exists()
    ledger.chmod(0o666)
    refused("--ledger", ledger, "--resume", src, dst, says="others may write to the ledger")
    ledger.chmod(0o600)
    (src / "g").write_bytes(b"g")
    again = copy("--ledger", ledger, "--resume", "-j", "1", "-f", "7", src, dst)
    assert again.copied_entries == 1, "a complete run looks at everything again"
    assert json.loads(json.dumps(again.report))["copied_before"]["files"] == 0
    oracle.assert_equal_trees(src, dst)


def test_a_ledger_takes_less_than_a_hundred_bytes_an_entry(on_tmpfs: Path) -> None:
    """Written twenty times a second, of files that all have a second name elsewhere, in directories that are there."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {f"d{i}": Dir({f"file {i} {j}": File(b"x") for j in range(10)}) for i in range(300)})
    build(src / "twins", {f"t{i}": Dir({}) for i in range(300)})
    for i in range(300):
        (dst / f"d{i}").mkdir(parents=True)
        for j in range(10):
            os.link(src / f"d{i}/file {i} {j}", src / f"twins/t{i}/twin {i} {j}")
    World("mpich", 3).run(["--ledger", on_tmpfs / "ledger", src, dst], python_args=EAGER).check()
    empty, entries = 44 << 10, 6000 + 600
    assert ((on_tmpfs / "ledger").stat().st_size - empty) / entries <= 100
    oracle.assert_equal_trees(src, dst)
