"""Who races over which tree, and where. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tests.bench.trees import Big, Existing, Flat, Source

# memory: source and destination below --place, best a tmpfs
# disk:   the destination is a fresh ext4 for each run
# slow:   source and destination are below one mount on which every operation takes 2 ms
Ground = Literal["memory", "disk", "slow"]

LATENCY_US = 2000
# Names stay known, as on parallel file systems with leases; attributes do not.
ENTRY_TIMEOUT_S = 60


@dataclass(frozen=True)
class Cost:
    """Seconds at full size on 2 cores, for the estimate at the start: of the preparation, of one usual run with
    what belongs to it (verifying, removing), and of one run of a slow contestant."""

    prepare: float
    run: float
    slow: float = 0.0


@dataclass(frozen=True)
class Race:
    """Make a destination equal to `source`, or whatever the task is, against the clock.

    what:        a sentence with {source}
    task:        its name in tasks.TASKS
    contestants: names of the task's contestants
    baseline:    the one that the others are compared with
    present:     the destination is a copy already, made by `cp -a` before each run
    options:     for the contestants that are this program
    slow:        contestants that run in --slow-rounds rounds only
    """

    name: str
    what: str
    source: Source
    contestants: tuple[str, ...]
    baseline: str
    cost: Cost
    task: str = "copy"
    ground: Ground = "memory"
    present: bool = False
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    slow: frozenset[str] = frozenset({"hpcp"})

    def at(self, scale: float) -> Race:
        return replace(self, source=self.source.scaled(scale))

    def describe(self) -> str:
        return self.what.format(source=self.source)


OURS = ("plain", "mpich-4", "openmpi-4")
_COPIERS = ("cp", "rsync", "fpsync-2", "rclone", "dcp-4", "hpcp", *OURS)
_SYNCERS = ("rsync", "cp-u", "fpsync-2", "rclone", "dsync-4", "hpcp", *OURS)
_ON_SLOW = ("mpich-2", "mpich-4", "mpich-8")
# As many jobs as fpsync is to run at once: by default the first one would get all of so small a tree.
_FPSYNC_IN_SMALL_JOBS = {"fpsync": ("-f", "100")}

SMALL = Flat(200_000)
_USERS = replace(SMALL, users=11)
_MANY = Flat(1_000_000)
_SLOW_TREE = Flat(2_000, per_directory=10)

RACES = {
    race.name: race
    for race in (
        Race("copy-small", "copy {source} to a missing destination", SMALL, _COPIERS, "cp", Cost(15, 9, 180)),
        Race("copy-users", "copy {source} to a missing destination", _USERS, _COPIERS, "cp", Cost(20, 9, 180)),
        Race(
            "ledger",
            "copy {source} to a missing destination, and write down how far it is",
            SMALL,
            ("mpich-4", "mpich-4-ledger"),
            "mpich-4",
            Cost(15, 4, 4),
        ),
        Race(
            "resync-fast",
            "the same again, nothing changed, judged by size and time: {source}",
            SMALL,
            ("rsync", "fpsync-2", "rclone", "dsync-4", "hpcp", *OURS),
            "rsync",
            Cost(15, 10, 15),
            present=True,
            options={"hpcp-mpi": ("-hs", "0", "-pfl"), "hpcp": ("-hs", "0")},
        ),
        Race(
            "resync-tail",
            "the same again, nothing changed, default options: {source}",
            SMALL,
            _SYNCERS,
            "rsync",
            Cost(15, 11, 15),
            present=True,
        ),
        Race(
            "big-file",
            "copy {source}",
            Big(4 << 30),
            _COPIERS,
            "cp",
            Cost(5, 6, 15),
            slow=frozenset({"hpcp", "rsync", "fpsync-2", "rclone"}),
        ),
        Race("usr-tmpfs", "copy {source} to memory", Existing(Path("/usr")), _COPIERS, "cp", Cost(20, 15, 150)),
        Race(
            "usr-disk",
            "copy {source} to an ext4 that was made for this run",
            Existing(Path("/usr")),
            _COPIERS,
            "cp",
            Cost(20, 45, 200),
            ground="disk",
        ),
        Race(
            "slow-copy",
            "copy {source}, every operation takes 2 ms",
            _SLOW_TREE,
            ("cp", "rsync", "fpsync-16", "rclone-16", "dcp-16", *_ON_SLOW),
            "cp",
            Cost(1, 9, 95),
            ground="slow",
            options={"hpcp-mpi": ("-j", "16"), **_FPSYNC_IN_SMALL_JOBS},
            slow=frozenset({"cp", "rsync"}),
        ),
        Race(
            "slow-resync",
            "the same again, nothing changed, every operation takes 2 ms: {source}",
            _SLOW_TREE,
            ("rsync", "fpsync-16", "rclone-16", "dsync-16", *_ON_SLOW),
            "rsync",
            Cost(1, 5, 25),
            ground="slow",
            present=True,
            options={"hpcp-mpi": ("-hs", "0", "-j", "16", "-pfl"), **_FPSYNC_IN_SMALL_JOBS},
            slow=frozenset({"rsync"}),
        ),
        Race(
            "verify",
            "copy {source}, and read every copy again",
            SMALL,
            ("cp", "cp-diff", "mpich-4", "plain-verify", "mpich-4-verify", "openmpi-4-verify"),
            "cp-diff",
            Cost(15, 12),
        ),
        Race(
            "remove",
            "remove {source}",
            _MANY,
            ("rm", "find", "rsync", "drm-4", "hpcp", *OURS),
            "rm",
            Cost(30, 45, 60),
            task="remove",
            present=True,
        ),
        Race(
            "slow-remove",
            "remove {source}, every operation takes 2 ms",
            _SLOW_TREE,
            ("rm", "drm-4", *_ON_SLOW),
            "rm",
            Cost(1, 4, 20),
            task="remove",
            ground="slow",
            present=True,
            options={"hpcp-mpi": ("-j", "16")},
            slow=frozenset({"rm"}),
        ),
        Race(
            "compare",
            "compare with a copy: {source}",
            SMALL,
            ("rsync", "diff", "hpcp", *OURS),
            "rsync",
            Cost(15, 10, 15),
            task="compare",
            present=True,
            options={"hpcp-mpi": ("-hs", "0", "-pfl"), "hpcp": ("-hs", "0")},
        ),
        Race(
            "scale",
            "ranks: copy {source}",
            SMALL,
            ("cp", "mpich-2", "mpich-4", "mpich-8", "openmpi-2", "openmpi-4", "openmpi-8"),
            "cp",
            Cost(15, 10),
        ),
        Race(
            "startup",
            "copy a directory with {source}",
            Flat(1, size=10, scales=False),
            _COPIERS,
            "cp",
            Cost(0, 0.7),
            slow=frozenset(),
        ),
    )
}
