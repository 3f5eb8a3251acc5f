"""What does a rank cost that has nothing to do?

One file of one block is copied from a file system that takes its time for the read, so one rank waits for its
copy and the others wait for work. Meanwhile /proc tells what CPU time each of them has used.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import procs
from tests.bench.arena import Setting
from tests.bench.contestants import CONTESTANTS, WORLDS
from tests.bench.grounds import scratch
from tests.bench.races import Cost
from tests.bench.results import Report, Result
from tests.support import faultfs, launch
from tests.support.trees import File, build

NAME = "idle"
WHAT = "CPU share of a rank while another copies one slow file (the worst idle worker; below it rank 0)"
CONTESTANTS_WITH_RANKS = ("mpich-4", "openmpi-4")
COST = Cost(1, 12)
# Each run is an average over the window already, so a few are enough.
MAX_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """All in seconds.

    settle:   until a rank surely polls at its slowest
    window:   of the measurement
    spare:    how much longer the copy lasts, so that it cannot end in the window on a busy machine
    patience: for the launcher to begin, and to end
    """

    settle: float = 1.0
    window: float = 4.0
    spare: float = 3.0
    patience: float = 30.0

    @property
    def read_us(self) -> int:
        """How long the one read of the copy lasts."""
        return round((self.settle + self.window + self.spare) * 1e6)


class NotMeasured(Exception):
    """What was seen is no idle rank."""


@dataclass(frozen=True)
class Shares:
    """Percent of a core by rank; `busy` is the rank whose copy it is."""

    by_rank: dict[int, float]
    busy: int

    @property
    def worst_idle_worker(self) -> float:
        return max(share for rank, share in self.by_rank.items() if rank not in (0, self.busy))


@dataclass
class _Tally:
    """What was seen of one world; `label` is the contestant's."""

    name: str
    label: str
    missing: str | None
    workers: list[float] = field(default_factory=list)
    planner: list[float] = field(default_factory=list)
    failure: str = ""
    detail: str = ""

    def results(self) -> list[Result]:
        if self.missing is not None:
            return [Result(self.name, self.label, "missing", remark=self.missing)]
        if self.failure:
            return [Result(self.name, self.label, "failed", remark=self.failure, detail=self.detail)]
        return [
            Result(self.name, f"{self.label}: worker", samples=tuple(self.workers)),
            Result(f"{self.name} rank 0", f"{self.label}: rank 0", samples=tuple(self.planner)),
        ]


def run(names: Sequence[str], setting: Setting, timing: Timing | None = None) -> list[Report]:
    timing = timing or Timing()
    no_fuse = faultfs.unavailable()
    because = None if no_fuse is None else f"the slow file system cannot be mounted ({no_fuse})"
    tallies = [_Tally(name, CONTESTANTS[name].title, because or WORLDS[name].missing()) for name in names]
    for number in range(min(setting.rounds, MAX_ROUNDS)):
        for tally in tallies:
            if tally.missing is None and not tally.failure:
                _one_run(tally, setting, timing)
                said = tally.failure or f"{tally.workers[-1]:.2f} %"
                print(f"bench: idle, round {number + 1}: {tally.label}: {said}", file=sys.stderr, flush=True)
    results = tuple(result for tally in tallies for result in tally.results())
    return [Report(NAME, WHAT, "% of a core", None, True, results)]


def _one_run(tally: _Tally, setting: Setting, timing: Timing) -> None:
    try:
        shares = measure(WORLDS[tally.name], setting.place, timing)
    except (NotMeasured, AssertionError) as error:
        first, _, rest = str(error).partition("\n")
        tally.failure, tally.detail = first, rest[-2000:]
        return
    tally.workers.append(shares.worst_idle_worker)
    tally.planner.append(shares.by_rank[0])


def measure(world: launch.World, place: Path, timing: Timing) -> Shares:
    """Raises NotMeasured, or AssertionError if the copy fails."""
    with scratch(place) as directory:
        build(directory / "src", {"slow": File(b"x" * 4096)})
        with faultfs.mounted(directory / "src", data_us=timing.read_us) as slow:
            with world.start([slow, directory / "dst"]) as running:
                busy = _reader(running, slow / "slow", timing.patience)
                time.sleep(timing.settle)
                before, began = cpu_by_rank(running), time.monotonic()
                time.sleep(timing.window)
                after, ended = cpu_by_rank(running), time.monotonic()
                if _readers(running, slow / "slow") != {busy}:
                    raise NotMeasured("the slow copy ended before the measurement")
                running.finish(timing.read_us / 1e6 + timing.patience).check()
        if before.keys() != after.keys() or before.keys() != set(range(world.n)):
            raise NotMeasured(f"ranks 0 to {world.n - 1} expected, seen {sorted(before)}, then {sorted(after)}")
        if (directory / "dst/slow").read_bytes() != b"x" * 4096:
            raise NotMeasured("wrong copy")
    return Shares({rank: 100 * (after[rank] - before[rank]) / (ended - began) for rank in sorted(before)}, busy)


def _reader(running: launch.Running, path: Path, patience: float) -> int:
    """Wait for the rank that copies."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = _readers(running, path)
        if found:
            return found.pop()
        if not running.processes():
            break
        time.sleep(0.02)
    raise NotMeasured(f"no rank was seen to copy the slow file\n{running.output()}")


def _ranks(running: launch.Running) -> dict[int, int]:
    """Process of each rank."""
    ranks = {procs.rank(process.pid): process.pid for process in running.processes() if process.is_python}
    return {rank: pid for rank, pid in ranks.items() if rank is not None}


def _readers(running: launch.Running, path: Path) -> set[int]:
    """Ranks that have it open, or a process of theirs."""
    return {
        rank
        for rank, pid in _ranks(running).items()
        if any(procs.has_open(one, path) for one in (pid, *procs.descendants(pid)))
    }


def cpu_by_rank(running: launch.Running) -> dict[int, float]:
    """CPU seconds so far of the ranks' own processes."""
    try:
        return {rank: procs.cpu_seconds(pid) for rank, pid in _ranks(running).items()}
    except OSError as error:
        raise NotMeasured(f"a rank has ended: {error}") from error
