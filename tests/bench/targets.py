"""What must be reached, in one place. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.bench.results import Report


@dataclass(frozen=True)
class Target:
    """The median of `contestant` is at most `bound`: times that of `of`, or else in the benchmark's unit.

    at_least: more is better, and `bound` is the least
    beyond:   a benchmark of starting up: `bound` is in seconds, what `contestant` takes more than `of`, without what it
              takes more to start
    """

    benchmark: str
    contestant: str
    bound: float
    of: str | None = None
    at_least: bool = False
    beyond: str = ""

    def limit(self, unit: str) -> str:
        if self.beyond:
            return f"<= {self.of} + {self.bound:g} s beyond start-up"
        sign = ">=" if self.at_least else "<="
        return f"{sign} {_number(self.bound)} {f'x {self.of}' if self.of else unit}"

    def met(self, measured: float) -> bool:
        return measured >= self.bound if self.at_least else measured <= self.bound


# Of each shape of a tree: `cp -a`'s time for mpiexec -n 4, and without MPI.
_SHAPES = {
    "uniform": (0.72, 0.75),
    "owners": (0.80, 0.95),
    "wide": (0.85, 0.95),
    "thin": (0.80, 0.95),
    "symlinks": (0.90, 1.0),
    "hard-same": (0.80, 0.90),
    "hard-same-wide": (0.80, 0.90),
    "hard-other": (1.0, 1.1),
    "hard-other-wide": (1.0, 1.1),
    "names": (1.5, 1.5),
    "xattrs": (0.75, 0.80),
    "acls": (0.75, 0.80),
    "mid": (0.70, 0.70),
    "nested": (0.90, 1.0),
    "usr": (0.72, 0.75),
}
_SPARSE = ("sparse-512g", "sparse-8t")
_STARTUP = "shape-startup"


def _of_shapes() -> Iterator[Target]:
    fast, alone = "mpich-4-hash_size=0", "plain-hash_size=0"
    yield Target(_STARTUP, "plain", 0.08)
    for shape, (ranks, plain) in _SHAPES.items():
        name = f"shape-{shape}"
        yield Target(name, "mpich-4", ranks, of="cp")
        yield Target(name, "plain", plain, of="cp")
        yield Target(name, "mpich-4", 1.0, of="dcp-4")
        yield Target(f"{name}-again", fast, 1.2, of="rsync")
        yield Target(f"{name}-again", alone, 1.5, of="rsync")
        yield Target(f"{name}-again", fast, 1.0, of="dsync-4")
        yield Target(f"{name}-remove", "mpich-4", 0.9, of="rm")
        yield Target(f"{name}-remove", "plain", 1.05, of="rm")
        yield Target(f"{name}-remove", "mpich-4", 1.0, of="drm-4")
    for shape in _SPARSE:
        name = f"shape-{shape}"
        for who in ("mpich-4", "plain"):
            yield Target(name, who, 0.1, of="cp", beyond=_STARTUP)
            yield Target(f"{name}-again", f"{who}-hash_size=0", 0.1, of="rsync", beyond=_STARTUP)
            yield Target(f"{name}-remove", who, 0.1, of="rm", beyond=_STARTUP)


# Of benchmarks that do not measure seconds.
UNITS = {
    "list-memory": "MB",
    "list-hash-memory": "MB",
    "rank0-cpu": "us",
    "rank0-scan": "entries/s",
    "rank0-memory": "MB",
    "idle": "% of a core",
}
TARGETS = (
    Target("copy-small", "mpich-4", 0.70, of="cp"),
    Target("copy-small", "mpich-4", 1 / 50, of="hpcp"),
    Target("copy-small", "plain", 1.05, of="mpich-4"),
    Target("copy-users", "mpich-4", 0.80, of="cp"),
    Target("ledger", "mpich-4-ledger", 1.03, of="mpich-4"),
    Target("resync-fast", "mpich-4", 1.2, of="rsync"),
    Target("resync-tail", "mpich-4", 3.0, of="rsync"),
    Target("big-file", "mpich-4", 0.70, of="cp"),
    Target("usr-tmpfs", "mpich-4", 0.75, of="cp"),
    Target("usr-disk", "mpich-4", 0.75, of="cp"),
    Target("slow-copy", "mpich-4", 1 / 20, of="cp"),
    Target("slow-resync", "mpich-4", 1 / 20, of="rsync"),
    Target("list", "plain", 1 / 8, of="hpcp"),
    Target("list-memory", "plain", 1 / 3, of="hpcp"),
    Target("list-hash", "mpich-4", 1 / 15, of="hpcp"),
    Target("verify", "mpich-4-verify", 1.0, of="cp-diff"),
    Target("remove", "mpich-4", 0.9, of="rm"),
    Target("slow-remove", "mpich-4", 1 / 20, of="rm"),
    Target("compare", "mpich-4", 1.2, of="rsync"),
    *(
        target
        for end in ("", "-disk")
        for target in (
            Target(f"image-make{end}", "plain-image-fs=ext4", 0.9, of="cp"),
            Target(f"image-make{end}", "plain-image-fs=ext4", 0.3, of="mkfs-d"),
            Target(f"image-make{end}", "plain-image-fs=xfs", 0.9, of="cp-xfs"),
            Target(f"image-restore{end}", "plain", 0.9, of="cp"),
            Target(f"image-restore{end}", "plain", 1.5, of="tar"),
        )
    ),
    Target("image-clone", "plain", 0.7, of="dd"),
    Target("image-clone", "plain", 0.5, of="hpcp"),
    Target("image-squash", "plain", 1.1, of="mksquashfs"),
    Target("image-unsquash", "plain", 1.2, of="unsquashfs"),
    *(
        target
        for name in ("moosefs", "glusterfs")
        for target in (
            Target(f"{name}-copy", "mpich-4", 0.4, of="cp"),
            Target(f"{name}-again", "mpich-4-hash_size=0", 1.0, of="rsync"),
            Target(f"{name}-remove", "mpich-4", 0.8, of="rm"),
        )
    ),
    *_of_shapes(),
    Target("rank0-cpu", "mpich-4", 12),
    Target("rank0-scan", "mpich-4", 100_000, at_least=True),
    Target("rank0-first", "mpich-4", 1.0),
    Target("rank0-memory", "mpich-4", 300),
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
    return [
        _judge(target, by_name[target.benchmark], by_name.get(target.beyond))
        for target in targets
        if target.benchmark in by_name
    ]


def _judge(target: Target, report: Report, startup: Report | None) -> Verdict:
    if target.of is None:
        measured = report.median(target.contestant)
    elif target.beyond:
        measured = _beyond(target, target.of, report, startup)
    else:
        measured = report.ratio(target.contestant, target.of)
    limit = target.limit(report.unit)
    if measured is None:
        needed = [target.contestant, *([target.of] if target.of else [])]
        lacking = [name for name in needed if report.median(name) is None]
        return Verdict(target, limit, None, None, "; ".join(report.remark(name) for name in lacking))
    doubts = ([] if report.full_size else ["not at full size"]) + (["the machine was busy"] if report.disturbed else [])
    remark = f"{', '.join(doubts)}: an indication only" if doubts else ""
    return Verdict(target, limit, measured, target.met(measured), remark)


def _beyond(target: Target, of: str, report: Report, startup: Report | None) -> float | None:
    mine, theirs = report.median(target.contestant), report.median(of)
    start = startup.median(target.contestant) if startup else None
    if startup is None or mine is None or theirs is None or start is None:
        return None
    return mine - theirs - (start - (startup.median(of) or 0.0))  # who does not copy starts in no time


def _number(value: float) -> str:
    """Simple fractions as such."""
    parts = 1 / value
    return f"1/{round(parts)}" if value < 0.5 and abs(parts - round(parts)) < 1e-9 else f"{value:,g}"
