"""Who copies. Each makes DST equal to the directory SRC, whether DST is missing or an earlier copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import hpcp_venv
from tests.support import launch


@dataclass(frozen=True)
class Command:
    argv: tuple[bytes, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Contestant:
    """
    name:    in options, JSON and targets
    label:   in tables
    command: (SRC, DST) -> what is timed
    missing: what is not there, and how to get it; None if it can run. May take a while: hpcp is installed.
    slow:    takes part in --hpcp-rounds rounds only
    """

    name: str
    label: str
    command: Callable[[Path, Path], Command]
    missing: Callable[[], str | None]
    slow: bool = False


def _tool(name: str, label: str, package: str, argv: Callable[[Path, Path], list[str]]) -> Contestant:
    """A program on PATH; `package` is Debian's."""

    def command(src: Path, dst: Path) -> Command:
        return Command(tuple(map(os.fsencode, argv(src, dst))), os.environ)

    def missing() -> str | None:
        program = argv(Path(), Path())[0]
        return None if shutil.which(program) else f"{program} is not installed: apt-get install {package}"

    return Contestant(name, label, command, missing)


def _hpcp() -> Contestant:
    def command(src: Path, dst: Path) -> Command:
        # Without slashes at the ends: the contents of SRC become those of DST.
        argv = (str(hpcp_venv.program()), str(src), "-d", str(dst))
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return Command(tuple(map(os.fsencode, argv)), env)

    return Contestant("hpcp", "hpcp (PyPI)", command, hpcp_venv.missing, slow=True)


def _ours(world: launch.World, label: str) -> Contestant:
    def command(src: Path, dst: Path) -> Command:
        argv, env = launch.command_line([src, dst], flavour=world.flavour, n=world.n)
        return Command(tuple(argv), env)

    return Contestant(str(world), f"hpcp-mpi, {label}", command, world.missing)


# Those with ranks, by contestant's name.
WORLDS = {str(world): world for world in (launch.World("mpich", 4), launch.World("openmpi", 4))}

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _tool("cp", "cp -a", "coreutils", lambda src, dst: ["cp", "-a", "-T", str(src), str(dst)]),
        _tool("cp-u", "cp -au", "coreutils", lambda src, dst: ["cp", "-a", "-u", "-T", str(src), str(dst)]),
        _tool("rsync", "rsync -a", "rsync", lambda src, dst: ["rsync", "-a", f"{src}/", f"{dst}/"]),
        _hpcp(),
        _ours(launch.World("plain"), "plain"),
        _ours(WORLDS["mpich-4"], "mpiexec -n 4 (MPICH)"),
        _ours(WORLDS["openmpi-4"], "mpiexec -n 4 (Open MPI)"),
    )
}
