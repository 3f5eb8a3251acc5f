"""A round: a random tree, a run that something happens to at some moment, and a run that goes on; then it is judged.

All of it follows from one number. What happens is tied to what can be seen (entries at the destination, the stage of a
big file, a phase, a checkpoint), so that every part of a run is hit.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import trees
from tests.support import faultfs, oracle, processes
from tests.support.copies import PLAIN, cps, stages
from tests.support.launch import Finished, Running, World

TOOL = Path(__file__).with_name("tool.py")
DEEDS = ("kill all", "kill all", "kill rank 0", "kill a worker", "SIGTERM", "SIGUSR1", "two signals", "full")
_PATIENCE = 110.0  # seconds for a run


@dataclass
class Round:
    """What a seed means."""

    seed: int
    world: World = PLAIN
    again: World = PLAIN  # what goes on
    options: list[str] = field(default_factory=list)
    budget: int = 0
    dest: str = "nothing"
    extras: bool = False
    slow: str = ""  # "fuse", "rate", or not
    delays: tuple[int, int] = (0, 0)  # microseconds
    moment: tuple[str, float] = ("entries", 0.5)
    jitter: float = 0.0
    deed: str = "kill all"
    to: int = 0  # the rank it is done to
    twice: bool = False  # and killed while it goes on, too

    def __str__(self) -> str:
        what = f"{self.deed} at {self.moment[0]} {self.moment[1]:g}" + (" and once more" if self.twice else "")
        how = f"{self.world} then {self.again}, {self.dest}, {self.slow or 'fast'}"
        return f"seed {self.seed}: {what} ({how}) {' '.join(self.options)}"


def planned(seed: int) -> Round:
    """Return the round of a seed."""
    rng = random.Random(seed)
    round_ = Round(seed)
    round_.deed = rng.choice(DEEDS)
    worlds = [World("plain"), World("mpich", rng.randint(2, 5)), World("mpich", rng.randint(2, 5))]
    openmpi = World("openmpi", rng.randint(2, 5))
    if openmpi.missing() is None:
        worlds.append(openmpi)
    round_.world, round_.again = rng.choice(worlds), rng.choice(worlds)
    if round_.deed == "kill a worker" and round_.world.n < 3:
        round_.world = worlds[-1] if worlds[-1].n > 2 else World("mpich", 3)
    if round_.deed == "full" and os.geteuid() != 0:
        round_.deed = "kill all"
    round_.to = rng.randrange(max(1, round_.world.n))
    round_.options = ["--split-size", "1M", "-f", rng.choice(("10", "50", "300")), "--chunk-seconds"]
    round_.options += [rng.choice(("0.1", "0.3")), "-j", rng.choice(("1", "2", "4"))]
    round_.options += ["-pfl"] * (rng.random() < 0.35) + ["--verify"] * (rng.random() < 0.3)
    mirror = rng.random() < 0.4
    round_.options += ["-rme", "-rf"] * mirror + ["-hs", "0"] * (rng.random() < 0.2)
    round_.dest = rng.choice(("nothing", "nothing", "empty", "partial"))
    round_.extras = mirror
    round_.budget = rng.choice((60, 250, 400))
    round_.slow = rng.choice(("fuse", "fuse", "fuse", "rate", ""))
    if (faultfs.unavailable() is not None and round_.slow == "fuse") or round_.deed == "full":
        round_.slow = "rate"
    round_.delays = rng.choice((0, 100, 400)), rng.choice((0, 500, 1500))
    moments = [
        ("entries", rng.random()),
        ("entries", rng.random()),
        ("stage", 1.0),
        ("checkpoints", float(rng.randint(1, 20))),
        ("separating hard links", 1.0),
        ("linking", 1.0),
        ("setting directory metadata", 1.0),
    ]
    if "--verify" in round_.options:
        moments += [("verifying", 1.0)] * 3
    if mirror:
        round_.dest = rng.choice((round_.dest, "partial"))
        moments += [("removing", 1.0)] * 3
    round_.moment = rng.choice(moments)
    round_.jitter = rng.choice((0.0, 0.0, 0.01, 0.05, 0.2))
    round_.twice = rng.random() < 0.1
    return round_


@dataclass
class Result:
    """What came of a round."""

    struck: bool  # the first run was not over when it happened
    phase: str  # of the run when it happened
    again: int  # bytes that were copied though they were there
    looked: str  # what the run that went on said


class Arena:
    """The place of a round."""

    def __init__(self, round_: Round, place: Path) -> None:
        self.round = round_
        self.rng = random.Random(round_.seed + 1)
        self.source = place / "src"
        self.backing = place / "backing"
        self.ledger = place / "ledger"
        self.marks = place / "marks"
        self.report = place / "report.json"
        self.backing.mkdir()
        trees.grow(self.source, self.rng, round_.budget)
        trees.prepare(self.source, self.backing / "dst", self.rng, round_.dest, round_.extras)
        self.total = max(1, trees.missing(self.source, self.backing / "dst")[0])
        self.rate: list[str] = []
        if round_.slow == "rate":
            missing = trees.missing(self.source, self.backing / "dst")[1]
            self.rate = ["-L", str(max(100_000, missing))]

    @property
    def dest(self) -> Path:
        """Where it is really."""
        return self.backing / "dst"

    def play(self) -> Result:
        """Carry the round out, and judge it."""
        with self.shown() as shown:
            struck, phase = self.first(shown / "dst")
            if self.round.twice:
                self.second_kill(shown / "dst")
            self.no_process_left()
            known = trees.linked(self.source) + trees.linked(self.dest)
            missing = trees.missing(self.source, self.dest)[1]
            done = self.run(self.round.again, shown / "dst", ["--resume"])
        assert done.returncode == 0, str(done)
        assert "Traceback" not in done.stderr, str(done)
        self.judge(done)
        again = json.loads(self.report.read_text())["copied"]["bytes"] - missing
        assert again <= known, f"{again:,} bytes were there and were copied again; {known:,} may be.\n{done}"
        looked = re.search(r"resumes .*", done.stderr)
        return Result(struck, phase, max(0, again), looked[0] if looked else "")

    @contextmanager
    def shown(self) -> Iterator[Path]:
        """Yield where the runs see the destination."""
        if self.round.slow == "fuse":
            meta, data = self.round.delays
            with faultfs.mounted(self.backing, meta_us=meta, data_us=data) as mountpoint:
                yield mountpoint
        elif self.round.deed == "full":
            with self.small() as place:
                yield place
        else:
            yield self.backing

    @contextmanager
    def small(self) -> Iterator[Path]:
        """Have the destination, and in some rounds the ledger, on a file system that is too small at first."""
        there = trees.room_of(self.dest) if self.dest.exists() else 0
        kept = self.backing.with_name("kept")
        self.backing.rename(kept)
        self.backing.mkdir()
        size = there + int((trees.room_of(self.source) - there) * self.rng.uniform(0.2, 0.9)) + (1 << 18)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", self.backing], check=True)
        try:
            if (kept / "dst").exists():
                subprocess.run(["cp", "-a", kept / "dst", self.dest], check=True)
            if self.rng.random() < 0.5:
                self.ledger = self.backing / "ledger"
            yield self.backing
        finally:
            # What is judged later is put where it was.
            shutil.rmtree(kept)
            subprocess.run(["cp", "-a", self.backing, kept], check=True)
            subprocess.run(["umount", "-l", self.backing], check=True)
            self.backing.rmdir()
            kept.rename(self.backing)

    def arguments(self, dest: Path, more: list[str]) -> list[str | Path]:
        options = [*self.round.options, "--json", str(self.report), "--ledger", str(self.ledger)]
        return [*options, *more, self.source, dest]

    def setting(self, world: World) -> dict[str, object]:
        ulfm = ["--with-ft", "ulfm"] if self.round.deed == "kill a worker" and world.flavour == "openmpi" else []
        return {
            "python_args": (str(TOOL),),
            "launcher_args": ulfm,
            "env": {"CHAOS_MARKS": str(self.marks)},
        }

    def run(self, world: World, dest: Path, more: list[str]) -> Finished:
        return world.run(self.arguments(dest, more), timeout=_PATIENCE, **self.setting(world))

    # --- what happens

    def first(self, dest: Path) -> tuple[bool, str]:
        """Run until it happens, and until that has ended the run; tell whether it was in time, and the phase."""
        if self.round.deed == "full":
            done = self.run(self.round.world, dest, self.rate)
            subprocess.run(["mount", "-o", "remount,size=1G", self.backing], check=True)
            assert "Traceback" not in done.stderr, str(done)
            return done.returncode != 0, "copying"
        world = self.round.world
        with world.start(self.arguments(dest, self.rate), **self.setting(world)) as running:
            struck = self.await_moment(running)
            time.sleep(self.round.jitter)
            phase = self.phase()
            struck = struck and alive(running)
            self.strike(running, self.round.deed)
            done = running.finish(_PATIENCE)
            processes.kill_all(running._tag)
        assert not [line for line in done.stderr.splitlines() if line.startswith("Traceback")] or struck, str(done)
        return struck, phase

    def second_kill(self, dest: Path) -> None:
        """Have it go on, and kill that too."""
        self.marks.unlink(missing_ok=True)
        with self.round.again.start(self.arguments(dest, ["--resume"]), **self.setting(self.round.again)) as running:
            count = self.rng.randint(1, 6)
            self.until(running, lambda: self.count(b"checkpoint") >= count)
            self.kill_all(running)
            running.finish(_PATIENCE)
            processes.kill_all(running._tag)

    def await_moment(self, running: Running) -> bool:
        """Wait for the moment; return False if it never came."""
        what, number = self.round.moment
        if what == "entries":
            wanted = max(1, int(self.total * number))
            return self.until(running, lambda: self.total - trees.missing(self.source, self.dest)[0] >= wanted)
        if what == "stage":
            return self.until(running, self.has_shared_stage)
        if what == "checkpoints":
            return self.until(running, lambda: self.count(b"checkpoint") >= number)
        return self.until(running, lambda: self.count(what.encode()) > 0)

    def until(self, running: Running, come: object) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                if come():  # type: ignore[operator]
                    return True
            except FileNotFoundError:  # it changes while it is looked at
                pass
            if running._process.poll() is not None:
                return False
            time.sleep(0.003)
        raise AssertionError(f"it neither came to {self.round.moment} nor to its end:\n{running.have_told()}")

    def count(self, word: bytes) -> int:
        return self.marks.read_bytes().split(b"\n").count(word) if self.marks.exists() else 0

    def phase(self) -> str:
        words = self.marks.read_bytes().split() if self.marks.exists() else []
        return next((word.decode() for word in reversed(words) if word != b"checkpoint"), "")

    def has_shared_stage(self) -> bool:
        for root, directories, files in os.walk(os.fsencode(self.dest)):
            name = root.rpartition(b"/")[2]
            if name.startswith(b".hpcp-mpi.") and name in files:
                return True
            directories[:] = [each for each in directories if not name.startswith(b".hpcp-mpi.")]
        return False

    def strike(self, running: Running, deed: str) -> None:
        if deed == "kill all":
            self.kill_all(running)
        elif deed == "kill rank 0":
            send(rank_of(running, 0), signal.SIGKILL)
        elif deed == "kill a worker":
            send(rank_of(running, max(1, self.round.to)), signal.SIGKILL)
        elif deed in ("SIGTERM", "SIGUSR1"):
            # To one rank, as the launchers treat them in ways of their own.
            send(rank_of(running, self.round.to), getattr(signal, deed))
        else:
            send(rank_of(running, self.round.to), signal.SIGTERM)
            time.sleep(self.round.jitter)
            send(rank_of(running, self.round.to), signal.SIGTERM)

    def kill_all(self, running: Running) -> None:
        """All at once, as when the power fails."""
        for pid in [*(process.pid for process in running.processes()), *cps(self.dest, self.backing)]:
            send(pid, signal.SIGKILL)
        processes.kill_all(running._tag)

    def no_process_left(self) -> None:
        for pid in cps(self.backing, self.dest):
            send(pid, signal.SIGKILL)

    # --- judging

    def judge(self, done: Finished) -> None:
        found = stages(self.dest)
        assert not found, f"stages are left: {found}\n{done}"
        differences = oracle.differences(self.source, self.dest)
        differences += oracle.lstat_differences(self.source, self.dest)
        differences += oracle.hard_link_differences(self.source, self.dest)
        assert not differences, "\n".join([*differences[:30], str(done)])


def alive(running: Running) -> bool:
    return running._process.poll() is None


def send(pid: int | None, number: int) -> None:
    if pid is not None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def rank_of(running: Running, rank: int) -> int | None:
    """Return the process of a rank; None if it is over, and the only one where there is no launcher."""
    wanted = {b"PMI_RANK=%d" % rank, b"OMPI_COMM_WORLD_RANK=%d" % rank}
    found = [process for process in running.processes() if process.is_python]
    for process in found:
        try:
            words = set(Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if words & wanted or process.pid == running.pid:
            return process.pid
    return None


def play(seed: int, place: Path) -> Result:
    """Carry out the round of a seed in an empty directory. Raises AssertionError with a command that repeats it."""
    round_ = planned(seed)
    try:
        return Arena(round_, place).play()
    except AssertionError as error:
        command = f"make crashes ARGS='--seed {seed}'"
        raise AssertionError(f"{round_}\n{error}\nagain with: {command}") from None
