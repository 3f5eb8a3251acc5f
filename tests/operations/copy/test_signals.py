"""A run that is ended in the middle ends soon, clears away what is half done, and says so; the next run goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, copy, cps, partial_files, stages
from tests.support.effort import each_value
from tests.support.faultfs import mounted
from tests.support.launch import Finished, Running, World
from tests.support.marks import needs_commands, needs_fuse, worlds
from tests.support.trees import Dir, File, Name, Node, build

pytestmark = [needs_fuse, needs_commands("rsync", "cmp")]
MIB = 1 << 20
SLOW_US = 20_000  # for each read and write: a copy of the tree takes many times what the tests wait
WORLDS = [*worlds(launchers=("plain",)), *worlds((4,), launchers=("mpich",)), *worlds((3,), launchers=("openmpi",))]
SIGNALS = {"ctrl-c": (signal.SIGINT, 130), "sigterm": (signal.SIGTERM, 75)}


@pytest.fixture
def slow(on_tmpfs: Path) -> Iterator[tuple[Path, Path, Path]]:
    """A source, a slow destination, and where that is kept."""
    small: dict[Name, Node] = {f"small{i:03}": File(b"%03d" % i * 1000, mtime_ns=5) for i in range(100)}
    tree = {
        "new": Dir({"big": File(os.urandom(MIB) * 12, mtime_ns=6), **small}, mode=0o750, mtime_ns=7),
        "old": Dir({**small, "big": File(os.urandom(MIB) * 12, mtime_ns=6)}, mtime_ns=8),
        "also": Dir(dict(list(small.items())[:9]), mtime_ns=9),
    }
    src, backing = on_tmpfs / "src", on_tmpfs / "backing"
    build(src, tree)
    build(backing, {"dst": Dir({"old": Dir({"big": File(b"the old one")})})})
    with mounted(backing, data_us=SLOW_US, meta_us=1000) as mount:
        yield src, mount / "dst", backing / "dst"


def in_stages(backing: Path) -> dict[Path, int]:
    """The sizes of files in stages. Directories come and go meanwhile, which Path.glob does not bear."""
    found = {}
    for here, _, names in os.walk(backing):
        for path in (Path(here, name) for name in names if "/.hpcp-mpi." in here):
            with suppress(FileNotFoundError):
                found[path] = path.stat().st_size
    return found


@contextmanager
def in_the_middle(world: World, src: Path, dst: Path, backing: Path) -> Iterator[Running]:
    """A run of which a cp is writing, and something is in a stage."""
    with world.start([src, dst, "-j", "2"]) as running:
        deadline = time.monotonic() + 60
        while not (cps(src) and in_stages(backing)):
            assert time.monotonic() < deadline, running.output()
            time.sleep(0.01)
        yield running


def stage_of_a_big_file(backing: Path) -> str:
    """The path of a stage that will be there for a while, below backing."""
    deadline = time.monotonic() + 60
    while not (found := [path for path, size in in_stages(backing).items() if path.name == "big" and size < MIB // 2]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parts = found[0].relative_to(backing).parts
    return os.path.join(*parts[: 1 + next(i for i, part in enumerate(parts) if part.startswith(".hpcp-mpi."))])


def nothing_half_done(src: Path, backing: Path) -> None:
    broken = [path for path in partial_files(src, backing) if path != b"old/big"]
    assert broken == []
    assert (backing / "old/big").read_bytes() in (b"the old one", (src / "old/big").read_bytes())


def completed(src: Path, dst: Path, backing: Path) -> None:
    """The next run, no longer slowed down, ends what was begun."""
    copy(src, backing)
    oracle.assert_equal_trees(src, backing)
    assert copy(src, backing).copied_entries == 0


@each_value
@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("world", WORLDS)
def test_a_signal_ends_the_run_soon_and_cleanly(how: str, world: World, slow: tuple[Path, Path, Path]) -> None:
    src, dst, backing = slow
    number, code = SIGNALS[how]
    with in_the_middle(world, src, dst, backing) as running:
        began = time.monotonic()
        if how == "ctrl-c":
            running.signal_group(number)  # as a terminal does
        else:
            running.signal(number)
        done = running.finish(timeout=20)
        assert time.monotonic() - began < 8  # five seconds are for what is begun
    check_end(world, done, code)
    assert cps(src) == []
    nothing_half_done(src, backing)
    # Open MPI's kills the ranks before they have cleared everything away; the next run does.
    assert world.flavour == "openmpi" or stages(backing) == []
    completed(src, dst, backing)
    assert stages(backing) == []


def check_end(world: World, done: Finished, code: int) -> None:
    assert done.left_behind == (), str(done)
    assert "Traceback" not in done.stderr, str(done)
    if world.flavour == "openmpi":
        # Its mpiexec ends the ranks itself, drops what they say then, and has an exit code of its own.
        assert done.returncode != 0, str(done)
        return
    assert done.returncode == code, str(done)
    words = {130: "interrupted", 75: "stopped early"}[code]
    assert words in done.stderr.strip().splitlines()[-1], str(done)


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("world", worlds((4,), launchers=("mpich",)))
def test_a_signal_to_one_rank_ends_all_of_them(world: World, rank: int, slow: tuple[Path, Path, Path]) -> None:
    src, dst, backing = slow
    with in_the_middle(world, src, dst, backing) as running:
        os.kill(pid_of(rank, running), signal.SIGTERM)
        began = time.monotonic()
        done = running.finish(timeout=20)
        assert time.monotonic() - began < 8  # five seconds are for what is begun
    check_end(world, done, 75)
    assert cps(src) == [] and stages(backing) == []
    nothing_half_done(src, backing)
    completed(src, dst, backing)


def pid_of(rank: int, running: Running) -> int:
    for process in running.processes():
        words = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        if process.is_python and b"PMI_RANK=%d" % rank in words:
            return process.pid
    raise AssertionError(f"no rank {rank}: {running.processes()}")


@pytest.mark.parametrize("world", WORLDS[:2])
def test_a_killed_job_is_cleared_away_by_the_next_run(world: World, slow: tuple[Path, Path, Path]) -> None:
    src, dst, backing = slow
    with in_the_middle(world, src, dst, backing) as running:
        # All at once, as when a node loses power.
        for pid in [running.pid, *(process.pid for process in running.processes()), *cps(src)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        running.finish(timeout=20)
    for pid in cps(src):
        os.kill(pid, signal.SIGKILL)
    nothing_half_done(src, backing)
    assert stages(backing) != []
    completed(src, dst, backing)
    assert stages(backing) == []


def test_a_second_run_leaves_the_stage_of_a_living_one_alone(slow: tuple[Path, Path, Path]) -> None:
    src, dst, backing = slow
    with in_the_middle(PLAIN, src, dst, backing) as running:
        stage = stage_of_a_big_file(backing)
        again = copy(src / "also", dst / os.path.dirname(stage), "-f", "1")
        assert cps(src), "the run was over too soon to tell"
        assert any(path.endswith(stage) and "another run" in note for path, note in again.notes.items()), again.notes
        running.signal(signal.SIGTERM)
        assert running.finish().returncode == 75
