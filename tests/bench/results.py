"""What was measured. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Item = TypeVar("Item")
# A fifth of one of two cores is enough to turn a ratio around.
MAX_DISTURBANCE = 0.10
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


def disturbance(foreign: Iterable[float], seconds: Iterable[float], cores: int) -> float:
    """As in Report, from CPU seconds of others and wall seconds of all timed parts."""
    available = sum(seconds) * cores
    return sum(foreign) / available if available else 0.0


def rotated(items: Sequence[Item], by: int) -> list[Item]:
    """Begin with another item each round, so that none always runs after the same one."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]
