"""How fast is a tree listed, and with how much memory?

This program says what it would copy to a place that is missing (-n -hs 0); hpcp writes its list to a file.
One run of each is not timed: its lines are counted, and its memory is watched. In the timed runs the output of
this program is thrown away.
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
from tests.bench.contestants import CONTESTANTS, HPCP_LIST, Contestant, Job
from tests.bench.races import Cost, Flat, Race
from tests.bench.results import Report, Result, disturbance, rotated

# 500,000 entries, of which 5,000 are directories.
RACE = Race(
    "list",
    "list {source}",
    Flat(495_000, size=0, per_directory=99),
    ("hpcp", "plain", "mpich-4"),
    "hpcp",
    Cost(25, 7, 12),
    options={"hpcp-mpi": ("-n", "-hs", "0")},
)
MEMORY = "list-memory"
_ENTRY = re.compile(rb"dir\d{5}\b")


@dataclass
class _Lister(Entrant):
    megabytes: float = 0.0

    def weighed(self) -> Result:
        """The result of the run that was not timed."""
        result = self.result()
        return replace(result, samples=(self.megabytes,) if result.state == "ok" else (), cpu=())


def run(names: Sequence[str], setting: Setting) -> list[Report]:
    """Seconds, and megabytes of the biggest process. Raises sources.NoRoom."""
    race = RACE.at(setting.scale)
    listers = [
        _Lister(who, setting.rounds_of(who.name, race), who.missing())
        for who in (_contestant(name).given(race.options) for name in names)
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
                    _time(lister, place, src, setting)
    what, full = race.describe(), race == RACE
    timed = tuple(lister.result() for lister in listers)
    weighed = tuple(lister.weighed() for lister in listers)
    busy = disturbance(
        chain.from_iterable(each.foreign for each in listers),
        chain.from_iterable(each.seconds for each in listers),
        os.cpu_count() or 1,
    )
    return [
        Report(RACE.name, what, "s", RACE.baseline, full, timed, busy),
        Report(MEMORY, f"{what}: the most that its biggest process takes", "MB", RACE.baseline, full, weighed),
    ]


def _contestant(name: str) -> Contestant:
    return HPCP_LIST if name == HPCP_LIST.name else CONTESTANTS[name]


def _count(lister: _Lister, race: Race, place: Path, src: Path, setting: Setting) -> None:
    peak = procs.PeakOfBiggest()
    with grounds.scratch(place) as work:
        job = Job(src, work / "missing", work)
        outcome = stopwatch.timed(lister.who.command(job), setting.timeout, stdout=work / "out", look=peak)
        file = work / "list" if (work / "list").exists() else work / "out"
        found = len(_entries(file))
    wanted = sources.room(race.source).entries
    if outcome.failure or found != wanted:
        lister.fail(outcome.failure or f"wrong list: {found:,} entries of {wanted:,}", outcome.stderr)
    lister.megabytes = peak.bytes / 1e6


def _entries(file: Path) -> set[bytes]:
    with open(file, "rb") as lines:
        return {line.split()[-1].rstrip(b"/") for line in lines if _ENTRY.search(line)}


def _time(lister: _Lister, place: Path, src: Path, setting: Setting) -> None:
    with grounds.scratch(place) as work:
        outcome = stopwatch.timed(lister.who.command(Job(src, work / "missing", work)), setting.timeout)
    if outcome.failure:
        lister.fail(outcome.failure, outcome.stderr)
        return
    lister.seconds.append(outcome.seconds)
    lister.cpu.append(outcome.cpu)
    lister.foreign.append(outcome.foreign)
    print(f"bench: {RACE.name}: {lister.who.title}: {outcome.seconds:.3f} s", file=sys.stderr, flush=True)
