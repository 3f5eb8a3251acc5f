"""What was measured. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Item = TypeVar("Item")
# A fifth of one of two cores is enough to turn a ratio around.
MAX_DISTURBANCE = 0.10
_PARALLEL = ("dcp-4", "dsync-4", "drm-4")
State = Literal["ok", "failed", "missing"]


@dataclass(frozen=True)
class Result:
    """One contestant in one benchmark.

    samples: one number per run, in the benchmark's unit (seconds, or percent of a core)
    cpu:     CPU seconds of the same runs, user and system, children included; empty where not measured
    remark:  why it failed or is missing; else what is worth knowing about its copy
    detail:  the end of its stderr, if it failed
    """

    contestant: str
    label: str
    state: State = "ok"
    samples: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    remark: str = ""
    detail: str = ""

    @property
    def median(self) -> float | None:
        """None for who has failed or is missing, whatever it did before that."""
        return statistics.median(self.samples) if self.state == "ok" and self.samples else None


@dataclass(frozen=True)
class Report:
    """One benchmark. Ratios are to the contestant `baseline`; None where there is nothing to compare.

    disturbance: the share of the machine's CPU time that others have used during the timed parts, from 0 to 1
    """

    benchmark: str
    what: str
    unit: str
    baseline: str | None
    full_size: bool
    results: tuple[Result, ...]
    disturbance: float = 0.0

    @property
    def disturbed(self) -> bool:
        """So much that figures are not to be trusted."""
        return self.disturbance > MAX_DISTURBANCE

    def median(self, contestant: str) -> float | None:
        return next((r.median for r in self.results if r.contestant == contestant), None)

    def ratio(self, contestant: str, base: str) -> float | None:
        """median / median; None unless both have one and the base's is not zero."""
        mine, theirs = self.median(contestant), self.median(base)
        return None if mine is None or not theirs else mine / theirs

    def remark(self, contestant: str) -> str:
        """Why there is no median."""
        for result in self.results:
            if result.contestant == contestant:
                return f"{contestant} {'is missing' if result.state == 'missing' else result.state}"
        return f"{contestant} was not asked for"


@dataclass(frozen=True)
class Standing:
    """How one contestant did against another in one benchmark."""

    benchmark: str
    contestant: str
    label: str
    seconds: float
    of: str
    of_seconds: float
    disturbed: bool

    @property
    def ratio(self) -> float:
        return self.seconds / self.of_seconds


def losses_first(reports: Iterable[Report], whose: str) -> list[Standing]:
    """All of the program whose label begins so, against the baselines and mpiFileUtils; the worst ratio first."""
    found = []
    for report in reports:
        timed = [(result, median) for result in report.results if (median := result.median) is not None]
        ours = [(result, median) for result, median in timed if result.label.startswith(whose)]
        others = [
            (result, median)
            for result, median in timed
            if median and (result.contestant == report.baseline or result.contestant in _PARALLEL)
        ]
        found += [
            Standing(report.benchmark, one.contestant, one.label, mine, other.label, theirs, report.disturbed)
            for other, theirs in others
            for one, mine in ours
            if one is not other and report.unit == "s"
        ]
    return sorted(found, key=lambda standing: -standing.ratio)


def disturbance(foreign: Iterable[float], seconds: Iterable[float], cores: int) -> float:
    """As in Report, from CPU seconds of others and wall seconds of all timed parts."""
    available = sum(seconds) * cores
    return sum(foreign) / available if available else 0.0


def rotated(items: Sequence[Item], by: int) -> list[Item]:
    """Begin with another item each round, so that none always runs after the same one."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]
