"""Run a race: every round all contestants, each round in another order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from tests.bench import grounds, mounts, sources, stopwatch
from tests.bench.contestants import Contestant, Job
from tests.bench.races import Race
from tests.bench.results import Report, Result, disturbance, rotated
from tests.bench.tasks import TASKS

# (race, where the trees are, source, a directory on disk) -> where a run takes place. Raises mounts.NotMounted.
SiteOf = Callable[[Race, Path, Path, Path], AbstractContextManager[grounds.Site]]


@dataclass(frozen=True)
class Setting:
    """
    place:       directory for trees, best on tmpfs
    disk:        directory on disk, for images of file systems
    rounds:      runs of each contestant
    slow_rounds: runs of those that are slow in a race
    scale:       fraction of the files
    timeout:     seconds for one run
    warm_up:     run all once before the race; only those that have run shortly before need not
    """

    place: Path = Path("/dev/shm")
    disk: Path = Path("/var/tmp")
    rounds: int = 5
    slow_rounds: int = 1
    scale: float = 1.0
    timeout: float = 1800
    warm_up: bool = True

    def rounds_of(self, contestant: str, race: Race) -> int:
        return min(self.rounds, self.slow_rounds) if contestant in race.slow else self.rounds


@dataclass
class Entrant:
    """A contestant while the race is on."""

    who: Contestant
    rounds: int
    missing: str | None
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    failure: str = ""
    remark: str = ""
    detail: str = ""

    def runs_in(self, number: int) -> bool:
        return number < self.rounds and self.missing is None and not self.failure

    def fail(self, why: str, detail: str = "") -> None:
        self.failure, self.detail = why, detail

    def result(self) -> Result:
        name, label = self.who.name, self.who.title
        if self.missing is not None:
            return Result(name, label, "missing", remark=self.missing)
        timings = tuple(self.seconds), tuple(self.cpu)
        if self.failure:
            return Result(name, label, "failed", *timings, remark=self.failure, detail=self.detail)
        if not self.seconds:
            return Result(name, label, "missing", remark="no rounds asked for")
        return Result(name, label, "ok", *timings, remark=self.remark)


def run(full: Race, contestants: Sequence[Contestant], setting: Setting, site_of: SiteOf = grounds.site) -> Report:
    """Raises sources.NoRoom. A contestant that fails leaves the race and is reported as failed."""
    race = full.at(setting.scale)
    because = grounds.unavailable(race, setting.place)
    entrants = [
        Entrant(who, setting.rounds_of(who.name, race), because or who.missing())
        for who in (one.given(race.options) for one in contestants)
    ]
    if because is None:
        grounds.check_room(race, setting.place, setting.disk)
        with grounds.scratch(setting.place) as place:
            _hold(race, entrants, place, setting, site_of)
    return Report(
        race.name,
        race.describe(),
        "s",
        race.baseline,
        race == full,
        tuple(entrant.result() for entrant in entrants),
        disturbance(
            chain.from_iterable(each.foreign for each in entrants),
            chain.from_iterable(each.seconds for each in entrants),
            os.cpu_count() or 1,
        ),
    )


def missing(race: Race, contestants: Sequence[Contestant], why: str) -> Report:
    """The report of a race that could not be held."""
    results = tuple(Result(who.name, who.title, "missing", remark=why) for who in contestants)
    return Report(race.name, race.describe(), "s", race.baseline, True, results)


def _hold(race: Race, entrants: Sequence[Entrant], place: Path, setting: Setting, site_of: SiteOf) -> None:
    grounds.home(place).parent.mkdir()
    src = sources.make(race.source, grounds.home(place))
    sources.read_all(src)
    if setting.warm_up:
        _warm_up(entrants, place, setting)
    for number in range(setting.rounds):
        for entrant in rotated(entrants, number):
            if entrant.runs_in(number):
                _one_run(race, entrant, place, src, setting, site_of)
                _tell(race, entrant, number)


def _warm_up(entrants: Sequence[Entrant], place: Path, setting: Setting) -> None:
    """Load programs and libraries into memory, and let Python compile. A failure here will show in the race."""
    (place / "tiny").mkdir()
    for entrant in entrants:
        if entrant.runs_in(0):
            with grounds.scratch(place) as work:
                (work / "warm").mkdir()
                stopwatch.timed(entrant.who.command(Job(place / "tiny", work / "warm", work)), setting.timeout)


def _one_run(race: Race, entrant: Entrant, place: Path, src: Path, setting: Setting, site_of: SiteOf) -> None:
    try:
        with grounds.scratch(place) as work, site_of(race, place, src, setting.disk) as site:
            command = entrant.who.command(Job(site.src, site.dst, work))
            outcome = stopwatch.timed(command, setting.timeout, servers=site.servers)
            if outcome.failure:
                entrant.fail(outcome.failure, outcome.stderr)
                return
            if not entrant.seconds:
                task = TASKS[race.task]
                judgement = task.judge(site.true_src, site.true_dst)
                entrant.remark = judgement.remark
                error = judgement.error or (judgement.lost and entrant.who.program in task.strict and judgement.remark)
                if error:
                    entrant.fail(error, outcome.stderr)
    except mounts.NotMounted as error:
        entrant.fail(str(error))
        return
    entrant.seconds.append(outcome.seconds)
    entrant.cpu.append(outcome.cpu)
    entrant.foreign.append(outcome.foreign)


def _tell(race: Race, entrant: Entrant, number: int) -> None:
    said = f"FAILED, {entrant.failure}" if entrant.failure else f"{entrant.seconds[-1]:.3f} s"
    words = f"bench: {race.name}, round {number + 1}/{entrant.rounds}: {entrant.who.title}: {said}"
    print(words, file=sys.stderr, flush=True)
