"""What must be reached, in one place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.results import Report


@dataclass(frozen=True)
class Target:
    """The median of `contestant` is at most `at_most`: times that of `of`, or else in the benchmark's unit."""

    benchmark: str
    contestant: str
    at_most: float
    of: str | None = None

    def limit(self, unit: str) -> str:
        return f"<= {_number(self.at_most)} x {self.of}" if self.of else f"<= {_number(self.at_most)} {unit}"


TARGETS = (
    Target("copy-small", "mpich-4", 1.0, of="cp"),
    Target("copy-small", "mpich-4", 1 / 30, of="hpcp"),
    Target("idle", "mpich-4", 3.0),
    Target("idle", "openmpi-4", 3.0),
)


@dataclass(frozen=True)
class Verdict:
    """measured: None if it could not be measured, and then reached is None and remark says why."""

    target: Target
    limit: str
    measured: float | None
    reached: bool | None
    remark: str = ""

    @property
    def word(self) -> str:
        return {True: "reached", False: "not reached", None: "not measured"}[self.reached]


def verdicts(reports: Iterable[Report], targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """One for each target of the benchmarks that were run."""
    by_name = {report.benchmark: report for report in reports}
    return [_judge(target, by_name[target.benchmark]) for target in targets if target.benchmark in by_name]


def _judge(target: Target, report: Report) -> Verdict:
    if target.of is None:
        measured = report.median(target.contestant)
    else:
        measured = report.ratio(target.contestant, target.of)
    limit = target.limit(report.unit)
    if measured is None:
        needed = [target.contestant, *([target.of] if target.of else [])]
        lacking = [name for name in needed if report.median(name) is None]
        return Verdict(target, limit, None, None, "; ".join(report.remark(name) for name in lacking))
    doubts = ([] if report.full_size else ["not at full size"]) + (["the machine was busy"] if report.disturbed else [])
    remark = f"{', '.join(doubts)}: an indication only" if doubts else ""
    return Verdict(target, limit, measured, measured <= target.at_most, remark)


def _number(value: float) -> str:
    return f"1/{round(1 / value)}" if value < 0.1 else f"{value:g}"
