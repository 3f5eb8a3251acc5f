"""Trees of every shape that real ones have: copied, the same again, and removed; and what starting up is of that.

The sizes are such that `cp -a` takes 3 s or more, on two cores and tmpfs. For sparse files it takes no time at all, so
there what is more than starting up counts.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import arena, grounds
from tests.bench.arena import Setting
from tests.bench.races import Cost, Race
from tests.bench.results import Report
from tests.bench.sources import NoRoom
from tests.bench.tasks import TASKS
from tests.bench.trees import Existing, Flat, HardLinked, ManyNames, Nested, Source, Sparse, Symlinks, Thin

NAME = "shapes"
WHAT = "trees of every shape: copy, the same again, and remove"
STARTUP = "shape-startup"
# What `--only shapes` takes unless told otherwise: ten minutes.
SCALE, ROUNDS = 0.15, 2
TIMEOUT = 180  # a run of a sparse file's that reads all of it would go on for an hour
SOURCES: dict[str, Source] = {
    "uniform": Flat(200_000),
    "owners": Flat(200_000, users=1),
    "wide": Flat(200_000, size=100, per_directory=200_000),
    "thin": Thin(70_000),
    "symlinks": Symlinks(220_000),
    "hard-same": HardLinked(100_000),
    "hard-other": HardLinked(100_000, apart=True),
    "hard-same-wide": HardLinked(100_000, per_directory=0),
    "hard-other-wide": HardLinked(100_000, apart=True, per_directory=0),
    "names": ManyNames(3),
    "xattrs": Flat(100_000, size=100, extra="a user attribute"),
    "acls": Flat(100_000, size=100, extra="an ACL"),
    "mid": Flat(200, size=16 << 20),
    "nested": Nested(300, 200),
    "sparse-512g": Sparse(512 << 30),
    "sparse-8t": Sparse(8 << 40),
    "usr": Existing(Path("/usr")),
}
_FAST = ("plain-hash_size=0", "mpich-4-hash_size=0")
# dcp and `rsync -S` read all of a hole, and without -S fill the memory.
_COPIERS, _SPARSE_COPIERS = ("cp", "rsync", "plain", "mpich-4", "dcp-4"), ("cp", "plain", "mpich-4")
_SYNCERS = ("rsync", "plain", "mpich-4", *_FAST, "dsync-4")
_REMOVERS = ("rm", "plain", "mpich-4", "drm-4")
_STARTERS = ("cp", "rsync", "plain", "mpich-4", *_FAST, "dcp-4")
CONTESTANTS = tuple(dict.fromkeys((*_COPIERS, *_SYNCERS, *_REMOVERS)))
_ALL_KEPT = {"rsync": ("-HAX",)}
_DEEP = frozenset({"dcp-4", "dsync-4", "drm-4"})  # take 20 s for directories inside each other
_NONE: frozenset[str] = frozenset()


def _races() -> Iterator[Race]:
    tiny = Flat(1, size=10, scales=False)
    yield Race(STARTUP, "copy a directory with {source}", tiny, _STARTERS, "cp", Cost(0, 0.7), "copy-all", slow=_NONE)
    for shape, source in SOURCES.items():
        name, sparse = f"shape-{shape}", isinstance(source, Sparse)
        copiers, cost = (_SPARSE_COPIERS, Cost(0, 3)) if sparse else (_COPIERS, Cost(8, 9, 30))
        tasks: tuple[tuple[str, str, tuple[str, ...], str, str], ...] = (
            ("", "copy {source}", copiers, "cp", "copy-all"),
            ("-again", "the same again, nothing changed: {source}", _SYNCERS, "rsync", "copy-all"),
            ("-remove", "remove {source}", _REMOVERS, "rm", "remove"),
        )
        for end, what, who, baseline, task in tasks:
            present, slow = bool(end), _DEEP.intersection(who) if shape == "nested" else _NONE
            yield Race(name + end, what, source, who, baseline, cost, task, "memory", present, _ALL_KEPT, slow)


RACES = {race.name: race for race in _races()}
_RUNS = sum(race.cost.run * len(race.contestants) for race in RACES.values())
# Each of the contestants takes part in about half of the races.
COST = Cost(sum(race.cost.prepare for race in RACES.values()), _RUNS / len(CONTESTANTS))
TASKS_DONE = ("copy-all", "remove")


def run(names: Sequence[str], setting: Setting, only: Collection[str] = tuple(RACES)) -> list[Report]:
    """Run the races that only names, and how long all take to start if one needs it."""
    if any(isinstance(RACES[name].source, Sparse) for name in only):
        only = {STARTUP, *only}
    setting = replace(setting, timeout=min(setting.timeout, TIMEOUT))
    reports = []
    warm: set[str] = set()
    for race in RACES.values():
        if race.name in only:
            contestants = [TASKS[race.task].contestants[who] for who in race.contestants if who in names]
            here = replace(setting, warm_up=race.task not in warm)
            try:
                reports.append(arena.run(race, contestants, here, _Ground().site))
            except NoRoom as error:
                reports.append(arena.missing(race, contestants, str(error)))
            warm.add(race.task)
    return reports


@dataclass
class _Ground:
    """Where the runs of one race take place: in memory. What is the same again is made once if nobody changes it."""

    _made: dict[Path, str] = field(default_factory=dict)

    @contextmanager
    def site(self, race: Race, place: Path, src: Path, disk: Path) -> Iterator[grounds.Site]:
        if not race.present or race.task == "remove":
            with grounds.site(race, place, src, disk) as found:
                yield found
            return
        dst = grounds.home(place).with_name("dst")
        if self._made.get(dst) != _state(dst):
            grounds.remove(dst)
            subprocess.run(["cp", "-a", "-T", src, dst], check=True)
            self._made[dst] = _state(dst)
        yield grounds.Site(src, dst, src, dst)


def _state(root: Path) -> str:
    """A digest of all names, inodes and times of change; of a missing tree, too."""
    digest = hashlib.blake2b()
    with subprocess.Popen(
        ["find", root, "-printf", r"%P %i %C@\0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as find:
        assert find.stdout is not None
        while part := find.stdout.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
