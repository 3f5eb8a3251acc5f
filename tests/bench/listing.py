"""How fast is a tree listed into a file, and with how much memory?

One run of each is not timed: the list's lines are counted, and its memory is watched.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from tests.bench import grounds, procs, sources, stopwatch
from tests.bench.arena import Entrant, Setting
from tests.bench.contestants import Job
from tests.bench.races import Cost, Race
from tests.bench.results import Report, Result, disturbance, rotated
from tests.bench.tasks import TASKS
from tests.bench.trees import Flat

# 500,000 entries, of which 5,000 are directories.
_NAMES = Flat(495_000, size=0, per_directory=99)
RACES = (
    Race(
        "list",
        "list {source}",
        _NAMES,
        ("hpcp", "plain", "mpich-4"),
        "hpcp",
        Cost(25, 7, 12),
        task="list",
        options={"hpcp-mpi": ("-nhfl",), "hpcp": ("-nhfl",)},
    ),
    Race(
        "list-hash",
        "list {source}, with hashes",
        Flat(495_000, per_directory=99),
        ("hpcp", "plain", "mpich-4"),
        "hpcp",
        Cost(25, 15, 60),
        task="list",
    ),
)
MEMORY = "-memory"  # appended to a race's name
_ENTRY = re.compile(rb"dir\d{5}\b")


@dataclass
class _Lister(Entrant):
    megabytes: float = 0.0

    def weighed(self) -> Result:
        """The result of the run that was not timed."""
        result = self.result()
        return replace(result, samples=(self.megabytes,) if result.state == "ok" else (), cpu=())


def run(full: Race, names: Sequence[str], setting: Setting) -> list[Report]:
    """Seconds, and megabytes of the biggest process. Raises sources.NoRoom."""
    race = full.at(setting.scale)
    listers = [
        _Lister(who, setting.rounds_of(who.name, race), who.missing())
        for who in (TASKS[race.task].contestants[name].given(race.options) for name in names)
    ]
    grounds.check_room(race, setting.place, setting.disk)
    with grounds.scratch(setting.place) as place:
        src = sources.make(race.source, place / "src")
        for lister in listers:
            if lister.runs_in(0):
                _count(lister, race, place, src, setting)
        for number in range(setting.rounds):
            for lister in rotated(listers, number):
                if lister.runs_in(number):
                    _time(lister, race, place, src, setting)
    what = race.describe()
    timed = tuple(lister.result() for lister in listers)
    weighed = tuple(lister.weighed() for lister in listers)
    busy = disturbance(
        chain.from_iterable(each.foreign for each in listers),
        chain.from_iterable(each.seconds for each in listers),
        os.cpu_count() or 1,
    )
    return [
        Report(race.name, what, "s", race.baseline, race == full, timed, busy),
        Report(
            race.name + MEMORY,
            f"{what}: the most that its biggest process takes",
            "MB",
            race.baseline,
            race == full,
            weighed,
        ),
    ]


def _count(lister: _Lister, race: Race, place: Path, src: Path, setting: Setting) -> None:
    peak = procs.PeakOfBiggest()
    with grounds.scratch(place) as work:
        job = Job(src, work / "missing", work)
        outcome = stopwatch.timed(lister.who.command(job), setting.timeout, look=peak)
        found = len(_entries(work / "list")) if (work / "list").exists() else 0
    wanted = sources.room(race.source).entries
    if outcome.failure or found != wanted:
        lister.fail(outcome.failure or f"wrong list: {found:,} entries of {wanted:,}", outcome.stderr)
    lister.megabytes = peak.bytes / 1e6


def _entries(file: Path) -> set[bytes]:
    with open(file, "rb") as lines:
        return {line.split(b":")[0].strip().rstrip(b"/") for line in lines if _ENTRY.search(line)}


def _time(lister: _Lister, race: Race, place: Path, src: Path, setting: Setting) -> None:
    with grounds.scratch(place) as work:
        outcome = stopwatch.timed(lister.who.command(Job(src, work / "missing", work)), setting.timeout)
    if outcome.failure:
        lister.fail(outcome.failure, outcome.stderr)
        return
    lister.seconds.append(outcome.seconds)
    lister.cpu.append(outcome.cpu)
    lister.foreign.append(outcome.foreign)
    print(f"bench: {race.name}: {lister.who.title}: {outcome.seconds:.3f} s", file=sys.stderr, flush=True)
