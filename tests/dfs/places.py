"""A fresh directory on a volume for each test, and how ranks and hosts see it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dfs.volume import Volume
from tests.slurm.lab import Lab
from tests.support import oracle
from tests.support.launch import Argument, Finished, World


@dataclass(frozen=True)
class Place:
    """A directory on a volume."""

    volume: Volume
    name: str

    @property
    def clients(self) -> list[Path]:
        """It, as each of the two clients sees it."""
        return [client / self.name for client in self.volume.clients]

    @property
    def shared(self) -> Path:
        """It, under the one path where ranks see it through clients in turns. Only they do."""
        return self.volume.shared / self.name

    @property
    def judge(self) -> Path:
        """It, as a client sees it that nobody works on. Believe it after `settle` only."""
        return self.volume.judge / self.name

    def settled(self) -> Path:
        """It, as any client sees it when the caches are over."""
        self.volume.settle()
        return self.judge

    def run(self, world: World, args: Sequence[Argument], **setting: Any) -> Finished:
        """Run the tool with its ranks on clients in turns; arguments name `shared`."""
        return world.run(args, wrapper=self.volume.wrapper, **setting)

    def assert_holds(self, src: Path, name: str) -> None:
        """Fail unless what has that name in here is a copy of src, seen by another client after its cache is over."""
        step = self.volume.time_step_ns
        oracle.assert_equal_trees(src, self.settled() / name, sparse=False, time_step_ns=step)


def give_hosts_clients(lab: Lab, volume: Volume) -> None:
    """Have the hosts of a lab see clients 1 and 2 in turns at `shared`. The volume has to be older than the lab."""
    for number, host in enumerate(lab.hosts):
        done = lab.run(["mount", "--bind", volume.clients[number % 2], volume.shared], host=host)
        assert done.returncode == 0, done.stderr


@contextmanager
def fresh(volume: Volume) -> Iterator[Place]:
    """A directory on a volume, removed whatever is in it."""
    made = Path(tempfile.mkdtemp(prefix="test-", dir=volume.clients[0]))
    try:
        made.chmod(0o755)
        yield Place(volume, made.name)
    finally:
        subprocess.run(["rm", "-rf", "--", made], check=True)
