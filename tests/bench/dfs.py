"""Copying to real distributed file systems and back-to-back runs there: MooseFS and GlusterFS, on this one machine.

The source is in memory, but for what exists anyway; the destination is on a volume that serves all races of a file
system and that all contestants see through the same client. The judge looks through another one. Servers and clients
share the machine's CPUs with whoever copies, so a contestant that keeps them busy is slowed down by them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import arena, grounds, procs
from tests.bench.arena import Setting
from tests.bench.races import Cost, Race
from tests.bench.results import Report
from tests.bench.tasks import TASKS
from tests.bench.trees import Big, Existing, Flat
from tests.dfs.glusterfs import GlusterFS
from tests.dfs.moosefs import MooseFS
from tests.dfs.volume import Volume

NAME = "dfs"
WHAT = "copy to MooseFS and GlusterFS, the same again, and remove: small files, one big file, /usr/share"
VOLUMES: Mapping[str, type[Volume]] = {"moosefs": MooseFS, "glusterfs": GlusterFS}
MAX_ROUNDS = 3

_FILES = Flat(20_000)
# Each file is on two of MooseFS's servers, and one volume's data should not take more than 2 GB of the disk.
_BIG = Big(768 << 20)
_SHARE = Existing(Path("/usr/share"))
_COPIERS = ("cp", "rsync", "fpsync-2", "dcp-4", "plain", "mpich-4")
_FAST = ("plain-hash_size=0", "mpich-4-hash_size=0")
_SYNCERS = ("rsync", "fpsync-2", "dsync-4", "plain", "mpich-4", *_FAST)
_REMOVERS = ("rm", "find", "rsync", "drm-4", "plain", "mpich-4")
TASKS_DONE = ("copy", "remove")
CONTESTANTS = tuple(dict.fromkeys((*_COPIERS, *_SYNCERS, *_REMOVERS)))
_AGAIN = "the same again, nothing changed: {source}"


def _races(name: str) -> Iterator[Race]:
    on = VOLUMES[name].__name__
    files, big, share = Cost(120, 60), Cost(15, 10), Cost(400, 180)
    copied, again, removed = f"{on}: copy {{source}} to it", f"{on}: {_AGAIN}", f"{on}: remove {{source}}"
    yield Race(f"{name}-copy", copied, _FILES, _COPIERS, "cp", files)
    yield Race(f"{name}-again", again, _FILES, _SYNCERS, "rsync", files, present=True)
    yield Race(f"{name}-remove", removed, _FILES, _REMOVERS, "rm", files, "remove", present=True)
    yield Race(f"{name}-big", copied, _BIG, _COPIERS, "cp", big)
    yield Race(f"{name}-share", copied, _SHARE, _COPIERS, "cp", share)
    yield Race(f"{name}-share-again", again, _SHARE, _SYNCERS, "rsync", share, present=True)
    yield Race(f"{name}-share-remove", removed, _SHARE, _REMOVERS, "rm", share, "remove", present=True)


RACES = {race.name: race for name in VOLUMES for race in _races(name)}
COST = Cost(*(sum(getattr(race.cost, part) for race in RACES.values()) for part in ("prepare", "run")))


def run(names: Sequence[str], setting: Setting, only: Collection[str] = tuple(RACES)) -> list[Report]:
    """Run the races that only names. Raises sources.NoRoom."""
    reports: list[Report] = []
    for name, kind in VOLUMES.items():
        races = [race for race in _races(name) if race.name in only]
        if not races:
            continue
        missing = kind.missing()
        with ExitStack() as stack:
            ground = _Ground(stack.enter_context(kind())) if missing is None else None
            for race in races:
                contestants = [TASKS[race.task].contestants[who] for who in race.contestants if who in names]
                if ground is None:
                    reports.append(arena.missing(race, contestants, missing or ""))
                    continue
                with ground.kept():
                    reports.append(arena.run(race, contestants, setting, ground.site))
    return reports


@dataclass
class _Ground:
    """Where runs take place: below a directory of a volume.

    copy: the destination of a race in which nobody changes it, made once
    """

    volume: Volume
    copy: Path | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep a destination that is there already until the race is over, if its task leaves it as it is."""
        with self._stack:
            yield
        self._stack, self.copy = ExitStack(), None

    @contextmanager
    def site(self, race: Race, place: Path, src: Path, disk: Path) -> Iterator[grounds.Site]:
        if race.present and race.task == "copy":
            self.copy = self.copy or self._made(self._stack, src)
            self.volume.settle()  # what one contestant has listed would save the next one requests
            yield self._seen(src, self.copy)
        else:
            with ExitStack() as stack:
                dst = self._made(stack, src if race.present else None)
                yield self._seen(src, dst)

    def _made(self, stack: ExitStack, src: Path | None) -> Path:
        """Return a destination: a copy of src, or missing."""
        dst = stack.enter_context(grounds.scratch(self.volume.clients[0])) / "dst"
        if src is not None:
            subprocess.run(["cp", "-a", "-T", src, dst], check=True)
            self.volume.settle()
        return dst

    def _seen(self, src: Path, dst: Path) -> grounds.Site:
        judged = self.volume.judge / dst.relative_to(self.volume.clients[0])
        return grounds.Site(src, dst, src, judged, tuple(procs.descendants(self.volume.pid)))
