"""Everything that can be run, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import arena, dfs, idle, images, listing, rank0, shapes
from tests.bench.arena import Setting
from tests.bench.contestants import Contestant
from tests.bench.races import RACES, SMALL, Cost, Race
from tests.bench.results import Report
from tests.bench.tasks import TASKS


@dataclass(frozen=True)
class Benchmark:
    """
    contestants: who can take part
    run:         (their names, setting) -> reports. Raises sources.NoRoom.
    reports:     names of the reports, which targets are for
    slow:        contestants that run in --slow-rounds rounds only
    max_rounds:  rounds are limited to these
    on_demand:   runs only when asked for by name
    part_of:     the benchmark that it is a part of
    scale:       of it without --scale
    rounds:      of it without --rounds
    tasks:       their names in tasks.TASKS
    """

    name: str
    what: str
    contestants: tuple[str, ...]
    run: Callable[[Sequence[str], Setting], list[Report]]
    cost: Cost
    reports: tuple[str, ...]
    slow: frozenset[str] = frozenset()
    max_rounds: int = 1000
    on_demand: bool = False
    part_of: str = ""
    scale: float = 1.0
    rounds: int = 5
    tasks: tuple[str, ...] = ("copy",)

    @property
    def known(self) -> Mapping[str, Contestant]:
        """Who can do its tasks; one that does several stands for all of its name."""
        return {name: one for task in self.tasks for name, one in TASKS[task].contestants.items()}

    def seconds(self, names: Iterable[str], setting: Setting) -> float:
        """An estimate."""
        rounds = min(setting.rounds, self.max_rounds)
        runs = {True: min(rounds, setting.slow_rounds) * self.cost.slow, False: rounds * self.cost.run}
        return setting.scale * (self.cost.prepare + sum(runs[name in self.slow] for name in names))


def _race(race: Race) -> Benchmark:
    def run(names: Sequence[str], setting: Setting) -> list[Report]:
        return [arena.run(race, [TASKS[race.task].contestants[name] for name in names], setting)]

    return Benchmark(
        race.name, race.describe(), race.contestants, run, race.cost, (race.name,), race.slow, tasks=(race.task,)
    )


def _image(race: Race) -> Benchmark:
    def run(names: Sequence[str], setting: Setting) -> list[Report]:
        images.check_room(race, setting.place)
        return [arena.run(race, [TASKS[race.task].contestants[name] for name in names], setting, images.site)]

    what, who = race.describe(), race.contestants
    return Benchmark(race.name, what, who, run, race.cost, (race.name,), race.slow, tasks=(race.task,))


def _list(race: Race) -> Benchmark:
    def run(names: Sequence[str], setting: Setting) -> list[Report]:
        return listing.run(race, names, setting)

    return Benchmark(
        race.name,
        f"{race.describe()}: time and memory",
        race.contestants,
        run,
        race.cost,
        (race.name, f"{race.name}{listing.MEMORY}"),
        race.slow,
        tasks=(race.task,),
    )


_RANK0 = Benchmark(
    rank0.NAME,
    f"rank 0, copying {SMALL}: CPU time, how fast it lists, when the first content is there",
    (rank0.CONTESTANT,),
    rank0.run,
    rank0.COSTS[rank0.NAME],
    (rank0.CPU, rank0.SCAN, rank0.FIRST),
    max_rounds=rank0.MAX_ROUNDS,
)
_RANK0_MEMORY = Benchmark(
    rank0.MEMORY,
    f"rank 0, copying {rank0.MANY}: peak memory; takes minutes and 12 GB of memory, so only if named",
    (rank0.CONTESTANT,),
    rank0.run_memory,
    rank0.COSTS[rank0.MEMORY],
    (rank0.MEMORY,),
    max_rounds=1,
    on_demand=True,
)
_IDLE = Benchmark(
    idle.NAME,
    idle.WHAT,
    idle.CONTESTANTS_WITH_RANKS,
    idle.run,
    idle.COST,
    (idle.NAME,),
    max_rounds=idle.MAX_ROUNDS,
)
_DFS = Benchmark(
    dfs.NAME,
    dfs.WHAT,
    dfs.CONTESTANTS,
    dfs.run,
    dfs.COST,
    tuple(dfs.RACES),
    max_rounds=dfs.MAX_ROUNDS,
    on_demand=True,
    tasks=dfs.TASKS_DONE,
)


def _dfs_alone(race: Race) -> Benchmark:
    def run(names: Sequence[str], setting: Setting) -> list[Report]:
        return dfs.run(names, setting, [race.name])

    what, who, reports = race.describe(), race.contestants, (race.name,)
    return Benchmark(
        race.name, what, who, run, race.cost, reports, on_demand=True, part_of=dfs.NAME, tasks=(race.task,)
    )


_SHAPES = Benchmark(
    shapes.NAME,
    shapes.WHAT,
    shapes.CONTESTANTS,
    shapes.run,
    shapes.COST,
    tuple(shapes.RACES),
    on_demand=True,
    scale=shapes.SCALE,
    rounds=shapes.ROUNDS,
    tasks=shapes.TASKS_DONE,
)


def _shape_alone(race: Race) -> Benchmark:
    def run(names: Sequence[str], setting: Setting) -> list[Report]:
        return shapes.run(names, setting, [race.name])

    return Benchmark(
        race.name,
        race.describe(),
        race.contestants,
        run,
        race.cost,
        (race.name,),
        race.slow,
        on_demand=True,
        part_of=shapes.NAME,
        tasks=(race.task,),
    )


_ALL = (
    *map(_race, RACES.values()),
    *map(_list, listing.RACES),
    *map(_image, images.RACES.values()),
    _RANK0,
    _IDLE,
    _RANK0_MEMORY,
    _DFS,
    *map(_dfs_alone, dfs.RACES.values()),
    _SHAPES,
    *map(_shape_alone, shapes.RACES.values()),
)
BENCHMARKS: Mapping[str, Benchmark] = {one.name: one for one in _ALL}
