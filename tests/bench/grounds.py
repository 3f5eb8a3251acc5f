"""Where one run takes place: in memory, on a fresh disk, on a slow file system. Fresh for each run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import mounts, sources
from tests.bench.races import ENTRY_TIMEOUT_S, LATENCY_US, Ground, Race


@dataclass(frozen=True)
class Site:
    """
    src, dst:           as the contestant sees them
    true_src, true_dst: the same without latency, for the judge
    servers:            processes that work for the contestant without being its children
    """

    src: Path
    dst: Path
    true_src: Path
    true_dst: Path
    servers: tuple[int, ...] = ()


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


def unavailable(race: Race, place: Path) -> str | None:
    """Why the race cannot be held here, with trees in `place`; None if it can."""
    of_ground: dict[Ground, Callable[[], str | None]] = {
        "memory": lambda: None,
        "disk": mounts.ext4_unavailable,
        "slow": mounts.slow_unavailable,
    }
    return sources.unavailable(race.source, place) or of_ground[race.ground]()


def check_room(race: Race, place: Path, disk: Path) -> None:
    """Raises sources.NoRoom."""
    needed = sources.room(race.source)
    copies = 1 if race.ground == "disk" else 2
    sources.check_room(place, copies * needed.in_memory, copies * needed.entries, race.name)
    if race.ground == "disk":
        sources.check_room(disk, 2 * needed.content, 1, race.name)


def home(place: Path) -> Path:
    """Where in `place` the source is made: beside it lies the destination, and both can be shown by one mount."""
    return place / "tree/src"


@contextmanager
def site(race: Race, place: Path, src: Path, disk: Path) -> Iterator[Site]:
    """Without a destination, or with a copy of src, as the race wants it; and with nobody's writes pending.

    place: with the tree of `home`
    src:   the source as sources.make has said
    disk:  a directory on disk. Raises mounts.NotMounted.
    """
    with _ground(race, place, src, disk) as found:
        try:
            if race.present:
                subprocess.run(["cp", "-a", "-T", found.true_src, found.true_dst], check=True)
            os.sync()
            yield found
        finally:
            if race.ground != "disk":  # that one goes with its file system
                remove(found.true_dst)


def _ground(race: Race, place: Path, src: Path, disk: Path) -> AbstractContextManager[Site]:
    if race.ground == "disk":
        return _on_disk(race, src, disk)
    return _slowed(place, src) if race.ground == "slow" else _in_memory(place, src)


@contextmanager
def _in_memory(place: Path, src: Path) -> Iterator[Site]:
    dst = home(place).with_name("dst")
    yield Site(src, dst, src, dst)


@contextmanager
def _on_disk(race: Race, src: Path, disk: Path) -> Iterator[Site]:
    needed = sources.room(race.source)
    with mounts.fresh_ext4(disk, content=needed.content, entries=needed.entries) as mountpoint:
        yield Site(src, mountpoint / "dst", src, mountpoint / "dst")


@contextmanager
def _slowed(place: Path, src: Path) -> Iterator[Site]:
    """A new mount for each run: what the kernel remembers of the names would save the next contestant time."""
    tree = src.parent
    with mounts.slow(tree, meta_us=LATENCY_US, data_us=LATENCY_US, entry_timeout=ENTRY_TIMEOUT_S) as slow:
        yield Site(slow.mountpoint / src.name, slow.mountpoint / "dst", src, tree / "dst", (slow.server,))
