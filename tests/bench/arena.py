"""Run a race: every round all contestants, each round in another order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import stopwatch, verify
from tests.bench.contestants import Contestant
from tests.bench.races import Race, describe
from tests.bench.results import Report, Result, rotated
from tests.support.trees import build


class NoRoom(Exception):
    """The place for trees is too small."""


@dataclass(frozen=True)
class Setting:
    """
    place:       directory for trees, best on tmpfs
    rounds:      runs of each contestant
    hpcp_rounds: runs of slow ones
    scale:       fraction of the files
    timeout:     seconds for one run
    """

    place: Path = Path("/dev/shm")
    rounds: int = 5
    hpcp_rounds: int = 1
    scale: float = 1.0
    timeout: float = 1800


@dataclass
class _Entrant:
    """A contestant while the race is on."""

    who: Contestant
    missing: str | None
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    failure: str = ""
    remark: str = ""
    detail: str = ""

    def runs_in(self, number: int, setting: Setting) -> bool:
        rounds = min(setting.rounds, setting.hpcp_rounds) if self.who.slow else setting.rounds
        return number < rounds and self.missing is None and not self.failure

    def result(self) -> Result:
        name, label = self.who.name, self.who.label
        if self.missing is not None:
            return Result(name, label, "missing", remark=self.missing)
        timings = tuple(self.seconds), tuple(self.cpu)
        if self.failure:
            return Result(name, label, "failed", *timings, remark=self.failure, detail=self.detail)
        if not self.seconds:
            return Result(name, label, "missing", remark="no rounds asked for")
        return Result(name, label, "ok", *timings, remark=self.remark)


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A fresh directory, removed on the way out with all that is in it."""
    made = Path(tempfile.mkdtemp(prefix="hpcp-mpi-bench-", dir=place))
    try:
        yield made
    finally:
        remove(made)


def remove(path: Path) -> None:
    # rm is several times faster than shutil.rmtree.
    subprocess.run(["rm", "-rf", "--", path], check=True)


def run(race: Race, contestants: Sequence[Contestant], setting: Setting) -> Report:
    """Raises NoRoom. A contestant that fails leaves the race and is reported as failed."""
    _check_room(race, setting)
    entrants = [_Entrant(who, who.missing()) for who in contestants]
    with scratch(setting.place) as place:
        build(place / "src", race.tree(setting.scale))
        _warm_up(entrants, place, setting)
        for number in range(setting.rounds):
            for entrant in rotated(entrants, number):
                if entrant.runs_in(number, setting):
                    _one_run(race, entrant, place, setting)
                    _tell(race, entrant, number, setting)
    return Report(
        race.name,
        describe(race, setting.scale),
        "s",
        race.baseline,
        race.files_at(setting.scale) == race.files,
        tuple(entrant.result() for entrant in entrants),
        _disturbance(entrants),
    )


def _disturbance(entrants: Sequence[_Entrant]) -> float:
    available = sum(sum(entrant.seconds) for entrant in entrants) * (os.cpu_count() or 1)
    return sum(sum(entrant.foreign) for entrant in entrants) / available if available else 0.0


def _check_room(race: Race, setting: Setting) -> None:
    needed, free = race.bytes_needed(setting.scale), shutil.disk_usage(setting.place).free
    if free < needed:
        raise NoRoom(
            f"{race.name} needs {needed >> 20:,} MiB and {setting.place} has {free >> 20:,} MiB free: "
            "use another --place or a smaller --scale"
        )


def _warm_up(entrants: Sequence[_Entrant], place: Path, setting: Setting) -> None:
    """Load programs and libraries into memory, and let Python compile. A failure here will show in the race."""
    build(place / "tiny", {})
    for entrant in entrants:
        if entrant.runs_in(0, setting):
            stopwatch.timed(entrant.who.command(place / "tiny", place / "warm"), setting.timeout)
            remove(place / "warm")


def _one_run(race: Race, entrant: _Entrant, place: Path, setting: Setting) -> None:
    src, dst = place / "src", place / "dst"
    if race.present:
        subprocess.run(["cp", "-a", "-T", src, dst], check=True)
    try:
        outcome = stopwatch.timed(entrant.who.command(src, dst), setting.timeout)
        if outcome.failure:
            entrant.failure, entrant.detail = outcome.failure, outcome.stderr
            return
        if not entrant.seconds:
            judgement = verify.judge(src, dst)
            entrant.failure, entrant.remark = judgement.error or "", judgement.remark
            entrant.detail = outcome.stderr if judgement.error else ""
        entrant.seconds.append(outcome.seconds)
        entrant.cpu.append(outcome.cpu)
        entrant.foreign.append(outcome.foreign)
    finally:
        remove(dst)


def _tell(race: Race, entrant: _Entrant, number: int, setting: Setting) -> None:
    said = f"FAILED, {entrant.failure}" if entrant.failure else f"{entrant.seconds[-1]:.3f} s"
    words = f"bench: {race.name}, round {number + 1}/{setting.rounds}: {entrant.who.label}: {said}"
    print(words, file=sys.stderr, flush=True)
