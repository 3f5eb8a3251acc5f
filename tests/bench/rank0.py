"""What rank 0 costs, as it does the planning for all others: the limit of how far this program scales.

While a tree is copied, its process is looked at: CPU time (of itself, not of children, imports included) for each
file copied; when the first content has arrived, start-up included; and its peak memory. How fast it has listed
both trees it says itself in its report.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import grounds, mounts, procs, sources, stopwatch, verify
from tests.bench.arena import Setting
from tests.bench.contestants import CONTESTANTS, Job
from tests.bench.races import SMALL, Cost
from tests.bench.results import Report, Result
from tests.bench.trees import Flat

NAME, MEMORY = "rank0", "rank0-memory"
CPU, SCAN, FIRST = "rank0-cpu", "rank0-scan", "rank0-first"
CONTESTANT = "mpich-4"
MANY = Flat(5_000_000, size=0, per_directory=1000)
COSTS = {NAME: Cost(20, 10), MEMORY: Cost(150, 400)}
MAX_ROUNDS = 3
_WHO = CONTESTANTS[CONTESTANT]
_LABEL = f"{_WHO.title}: rank 0"
# Longer than any run should take; with millions of files on two cores it takes minutes.
PATIENCE_S = 3600


class NotMeasured(Exception):
    """The copy failed, or rank 0 was not seen. The first argument says why, the second is its stderr."""


@dataclass(frozen=True)
class Found:
    """
    cpu_us:    CPU microseconds of rank 0 for each file
    entries_s: entries listed per second
    first_s:   seconds until content arrived; None if no file has any
    megabytes: peak memory of rank 0
    """

    cpu_us: float
    entries_s: float
    first_s: float | None
    megabytes: float


class Watch:
    """A look for stopwatch.timed at rank 0's process, and at the directory where the copy appears if it is given."""

    def __init__(self, into: Path | None) -> None:
        self._into = into
        self._pid: int | None = None
        self.cpu = 0.0  # seconds
        self.peak = 0  # bytes
        self.first: float | None = None  # seconds

    def __call__(self, pid: int, seconds: float) -> None:
        if self._into is not None and self.first is None and has_content(self._into):
            self.first = seconds
        if self._pid is None:
            self._pid = next((one for one in procs.descendants(pid) if procs.rank(one) == 0), None)
        if self._pid is not None:
            try:
                self.cpu, self.peak = procs.cpu_seconds(self._pid), procs.peak_memory(self._pid)
            except OSError:  # it has ended
                pass


def has_content(root: Path) -> bool:
    """Is there a file with content anywhere below? One in a stage counts, too."""
    for here, _, names in os.walk(root):
        for name in names:
            try:
                if os.lstat(os.path.join(here, name)).st_size:
                    return True
            except OSError:  # renamed meanwhile
                continue
    return False


def run(names: Sequence[str], setting: Setting) -> list[Report]:
    """Three reports. Raises sources.NoRoom."""
    tree = SMALL.scaled(setting.scale)
    found, problem = _attempt(lambda: list(_some_runs(tree, setting)))
    firsts = [one.first_s for one in found if one.first_s is not None]
    return [
        _report(CPU, "its CPU time for each file", "us", tree, problem or _result([one.cpu_us for one in found])),
        _report(SCAN, "how fast it lists", "entries/s", tree, problem or _result([one.entries_s for one in found])),
        _report(FIRST, "until the first content is there, start-up included", "s", tree, problem or _result(firsts)),
    ]


def run_memory(names: Sequence[str], setting: Setting) -> list[Report]:
    """Raises sources.NoRoom."""
    tree = MANY.scaled(setting.scale)
    found, problem = _attempt(lambda: [_run_of_many(tree, setting)])
    return [_report(MEMORY, "its peak memory", "MB", tree, problem or _result([one.megabytes for one in found]))]


def _some_runs(tree: Flat, setting: Setting) -> Iterator[Found]:
    _check_room(setting.place, tree, NAME)
    with grounds.scratch(setting.place) as place:
        src = sources.make(tree, place / "src")
        for number in range(min(setting.rounds, MAX_ROUNDS)):
            found = measure(place, src, tree, setting.timeout, verified=number == 0)
            said = f"{found.cpu_us:.2f} us per file"
            print(f"bench: {NAME}, round {number + 1}: {said}", file=sys.stderr, flush=True)
            yield found


def _run_of_many(tree: Flat, setting: Setting) -> Found:
    with _room_for_many(setting.place, tree) as place:
        src = sources.make(tree, place / "src")
        return measure(place, src, tree, max(setting.timeout, PATIENCE_S), verified=True)


@contextmanager
def _room_for_many(place: Path, tree: Flat) -> Iterator[Path]:
    """A tmpfs usually allows fewer inodes than these; root can have one that allows any number."""
    if os.geteuid() == 0:
        needed = 2 * sources.room(tree).in_memory
        sources.check_memory(needed, MEMORY)
        with mounts.big_tmpfs(2 * needed) as own:
            yield own
    else:
        _check_room(place, tree, MEMORY)
        with grounds.scratch(place) as own:
            yield own


def _check_room(place: Path, tree: Flat, what: str) -> None:
    needed = sources.room(tree)
    sources.check_room(place, 2 * needed.in_memory, 2 * needed.entries, what)


def _attempt(measure_all: Callable[[], list[Found]]) -> tuple[list[Found], Result | None]:
    """What was found, or what to report instead."""
    missing = _WHO.missing()
    if missing is not None:
        return [], Result(CONTESTANT, _LABEL, "missing", remark=missing)
    try:
        return measure_all(), None
    except (NotMeasured, mounts.NotMounted) as error:
        why, *rest = map(str, error.args)
        return [], Result(CONTESTANT, _LABEL, "failed", remark=why, detail="".join(rest))


def _result(samples: Sequence[float]) -> Result:
    return Result(CONTESTANT, _LABEL, samples=tuple(samples))


def _report(name: str, what: str, unit: str, tree: Flat, result: Result) -> Report:
    return Report(name, f"rank 0, copying {tree}: {what}", unit, None, tree in (SMALL, MANY), (result,))


def measure(place: Path, src: Path, tree: Flat, timeout: float, *, verified: bool) -> Found:
    """Copy src once, to a fresh directory in place. Raises NotMeasured."""
    into, report = place / "into", place / "report.json"
    into.mkdir()
    # Where no file has content, looking for one would go through all of them, again and again.
    watch = Watch(into if tree.size else None)
    try:
        who = _WHO.given({_WHO.program: ("--json", str(report))})
        outcome = stopwatch.timed(who.command(Job(src, into / "dst", place)), timeout, look=watch)
        error = outcome.failure or (verify.judge(src, into / "dst").error if verified else None)
    finally:
        grounds.remove(into)
    if error is None and not watch.cpu:
        error = "rank 0 was not seen"
    if error is not None:
        raise NotMeasured(error, outcome.stderr)
    said = json.loads(report.read_text())
    entries = sum(said["found"][kind] for kind in ("files", "directories", "links", "other"))
    return Found(
        cpu_us=1e6 * watch.cpu / tree.files,
        entries_s=entries / max(said["scan_seconds"], 1e-3),
        first_s=watch.first if watch.first is not None or not tree.size else outcome.seconds,
        megabytes=watch.peak / 1e6,
    )
