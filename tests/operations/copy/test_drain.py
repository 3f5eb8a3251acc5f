"""A signal but Ctrl-C ends a run in good order: nothing is begun, what is begun ends, and what is told is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, copy, stages
from tests.support.effort import each_value
from tests.support.faultfs import mounted
from tests.support.launch import Finished, Running, World
from tests.support.marks import needs_commands, needs_fuse, worlds
from tests.support.trees import Dir, File, Name, Node, build

pytestmark = [needs_fuse, needs_commands("rsync", "cmp")]
MIB = 1 << 20
MPICH = worlds((4,), launchers=("mpich",))
DRAINING = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@dataclass
class Trees:
    src: Path
    dst: Path
    backing: Path  # of dst, which is slow
    report: Path

    def files(self) -> int:
        """How many have their names."""
        find = ["find", self.backing, "-name", ".hpcp-mpi.*", "-prune", "-o", "-type", "f", "-print"]
        return subprocess.run(find, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.count(b"\n")


@contextmanager
def slow_trees(place: Path, tree: dict[str, Node], data_us: int) -> Iterator[Trees]:
    build(place / "src", tree)
    (place / "backing").mkdir()
    with mounted(place / "backing", data_us=data_us, meta_us=300) as mount:
        yield Trees(place / "src", mount / "dst", place / "backing/dst", place / "report.json")


@pytest.fixture
def small(on_tmpfs: Path) -> Iterator[Trees]:
    """Many small files: what is begun ends soon."""
    some: dict[Name, Node] = {f"file{i:03}": File(b"%d" % i * 100, mtime_ns=5 + i) for i in range(120)}
    with slow_trees(on_tmpfs, {f"d{i}": Dir(some, mtime_ns=8) for i in range(10)}, 1000) as trees:
        yield trees


@contextmanager
def begun(world: World, trees: Trees, *options: str) -> Iterator[Running]:
    """A run of which something is copied, and not all."""
    args = ["--json", trees.report, "-f", "20", "-j", "2", *options, f"{trees.src}/", f"{trees.dst}/"]
    with world.start(args) as running:
        deadline = time.monotonic() + 60
        while not trees.backing.exists() or trees.files() < 20:
            assert time.monotonic() < deadline and not running.ended, running.output()
            time.sleep(0.01)
        yield running


def told_equals_done(trees: Trees, done: Finished) -> None:
    """It stopped early, in good order; what it says to be copied is what the next run finds identical."""
    report = json.loads(trees.report.read_text())
    assert report["exit_code"] == 75 and report["failures"] == [], str(done)
    assert "Traceback" not in done.stderr and done.left_behind == (), str(done)
    assert stages(trees.backing) == []
    again = copy("-f", "20", f"{trees.src}/", f"{trees.backing}/")
    assert 20 <= report["copied"]["files"] == again.report["identical"]["files"] < again.report["found"]["files"]
    oracle.assert_equal_trees(trees.src, trees.backing)


@pytest.mark.parametrize("number", DRAINING, ids=lambda number: number.name)
def test_what_a_run_says_to_have_copied_is_what_the_next_one_finds(number: int, small: Trees) -> None:
    with begun(PLAIN, small) as running:
        running.signal(number)
        done = running.finish()
    assert done.returncode == 75, str(done)
    told_equals_done(small, done)


def to_rank(rank: int) -> Callable[[Running], None]:
    return lambda running: os.kill(pids(running)[rank], signal.SIGTERM)


def to_all(running: Running) -> None:
    """As Slurm does."""
    for pid in pids(running).values():
        os.kill(pid, signal.SIGTERM)


def to_launcher(running: Running) -> None:
    running.signal(signal.SIGTERM)


WHERE = {"rank 0": to_rank(0), "a worker": to_rank(2), "all": to_all, "the launcher": to_launcher}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("world", MPICH)
def test_whoever_gets_the_signal_all_end_in_good_order(world: World, where: str, small: Trees) -> None:
    with begun(world, small) as running:
        WHERE[where](running)
        done = running.finish()
    told_equals_done(small, done)


def pids(running: Running) -> dict[int, int]:
    """The processes of ranks."""
    found = {}
    for process in running.processes():
        words = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        for word in words:
            if process.is_python and word.startswith(b"PMI_RANK=") and b"hpcp_mpi" in process.command:
                found.setdefault(int(word.split(b"=")[1]), process.pid)
    return found


@each_value
@pytest.mark.parametrize("split", [True, False], ids=["ranges", "one-cp-each"])
@pytest.mark.parametrize("world", [*worlds(launchers=("plain",)), *MPICH])
def test_big_files_stop_between_blocks_or_when_the_time_is_over(world: World, split: bool, on_tmpfs: Path) -> None:
    """One `cp` of a file takes longer than the time that it has; its ranges do not."""
    some: dict[Name, Node] = {f"file{i:02}": File(b"x", mtime_ns=5) for i in range(30)}
    tree: dict[str, Node] = {"a": Dir(some), "big": Dir({f"big{i}": File(os.urandom(24 * MIB)) for i in range(4)})}
    with slow_trees(on_tmpfs, tree, 20_000) as trees:
        with begun(world, trees, *(("--split-size", "4M") if split else ())) as running:
            running.signal(signal.SIGTERM)
            done = running.finish(20)
        report = json.loads(trees.report.read_text())
        assert report["exit_code"] == 75 and report["failures"] == [], str(done)
        assert stages(trees.backing) == []
        copy(f"{trees.src}/", f"{trees.backing}/")
        oracle.assert_equal_trees(trees.src, trees.backing)


@pytest.mark.parametrize("world", [*worlds(launchers=("plain",)), *MPICH])
def test_a_second_signal_ends_it_at_once(world: World, on_tmpfs: Path) -> None:
    some: dict[Name, Node] = {f"file{i:02}": File(b"x", mtime_ns=5) for i in range(30)}
    tree: dict[str, Node] = {"a": Dir(some), "big": Dir({f"big{i}": File(os.urandom(64 * MIB)) for i in range(2)})}
    with slow_trees(on_tmpfs, tree, 20_000) as trees:
        with begun(world, trees) as running:
            target = pids(running).get(0, running.pid)
            os.kill(target, signal.SIGUSR1)
            os.kill(target, signal.SIGTERM)
            done = running.finish(30)  # the time after SIGUSR1 would be a minute
        assert done.returncode == 75, str(done)
        assert done.left_behind == () and stages(trees.backing) == []
