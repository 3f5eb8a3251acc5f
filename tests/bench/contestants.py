"""Who takes part. Copiers make DST equal to the directory SRC, whether DST is missing or an earlier copy; of the other
tasks, tasks.py says what they are."""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import hpcp_venv
from tests.support import launch


@dataclass(frozen=True)
class Command:
    argv: tuple[bytes, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Job:
    """Copy src to dst, or what the task is. work: a directory in memory for what a program needs besides."""

    src: Path
    dst: Path
    work: Path


@dataclass(frozen=True)
class Contestant:
    """
    name:    in options, JSON and targets
    program: what races have options for
    label:   in tables, before the options
    where:   in tables, after them
    build:   (job, options) -> what is timed
    lacks:   (options) -> what is not there, and how to get it; None if it can run. May take a while: hpcp is installed.
    """

    name: str
    program: str
    label: str
    build: Callable[[Job, Sequence[str]], Command]
    lacks: Callable[[Sequence[str]], str | None]
    where: str = ""
    options: tuple[str, ...] = ()

    def given(self, options: Mapping[str, tuple[str, ...]]) -> Contestant:
        """With the options that a race has for its program."""
        return replace(self, options=options.get(self.program, ()))

    @property
    def title(self) -> str:
        where = f"({self.where})" if self.where else ""
        return " ".join(word for word in (self.label, *self.options, where) if word)

    def command(self, job: Job) -> Command:
        return self.build(job, self.options)

    def missing(self) -> str | None:
        return self.lacks(self.options)


def tool(
    name: str, label: str, how_to_get: str, argv: Callable[[Job, Sequence[str]], list[str]], where: str = ""
) -> Contestant:
    """A program on PATH. In `argv` its name comes first, and may come after a launcher's."""
    program = label.split()[0]

    def build(job: Job, options: Sequence[str]) -> Command:
        return Command(tuple(map(os.fsencode, argv(job, options))), _surroundings())

    def lacks(options: Sequence[str]) -> str | None:
        needed = dict.fromkeys([program, argv(Job(Path(), Path(), Path()), options)[0]])
        absent = [one for one in needed if shutil.which(one) is None]
        return f"{' and '.join(absent)} not installed: {how_to_get}" if absent else None

    return Contestant(name, program, label, build, lacks, where)


def _surroundings() -> Mapping[str, str]:
    """Open MPI's mpirun refuses root, and more ranks than cores, unless told; others do not look at these."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    crowded = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    return {**os.environ, **allowed, **crowded}


def _cp(name: str, label: str, *flags: str) -> Contestant:
    def argv(job: Job, options: Sequence[str]) -> list[str]:
        return ["cp", *flags, *options, "-T", str(job.src), str(job.dst)]

    return tool(name, label, "apt-get install coreutils", argv)


def _rsync() -> Contestant:
    def argv(job: Job, options: Sequence[str]) -> list[str]:
        return ["rsync", "-a", *options, f"{job.src}/", f"{job.dst}/"]

    return tool("rsync", "rsync -a", "apt-get install rsync", argv)


def _fpsync(jobs: int) -> Contestant:
    def argv(job: Job, options: Sequence[str]) -> list[str]:
        # It wants absolute paths, and remembers runs in a directory of its own.
        places = [f"{job.src.absolute()}/", f"{job.dst.absolute()}/"]
        return ["fpsync", "-n", str(jobs), "-t", str(job.work.absolute() / "fpsync"), *options, *places]

    return tool(f"fpsync-{jobs}", f"fpsync -n {jobs}", "apt-get install fpart", argv)


def _rclone(jobs: int | None = None) -> Contestant:
    """jobs: files that are copied, and as many that are compared, at once; without it 4 and 8."""

    def argv(job: Job, options: Sequence[str]) -> list[str]:
        # Without --metadata owners and modes would be lost. Hard links and the times of directories and links are.
        kept = ["--links", "--metadata", "--create-empty-src-dirs"]
        at_once = ["--transfers", str(jobs), "--checkers", str(jobs)] if jobs else []
        return ["rclone", "sync", *kept, *at_once, *options, str(job.src), str(job.dst)]

    name, label = (f"rclone-{jobs}", f"rclone sync --transfers {jobs}") if jobs else ("rclone", "rclone sync")
    return tool(name, label, "apt-get install rclone", argv)


def _mpifileutils(program: str, ranks: int, *flags: str) -> Contestant:
    def argv(job: Job, options: Sequence[str]) -> list[str]:
        return ["mpirun", "-n", str(ranks), program, "-q", *flags, *options, str(job.src), str(job.dst)]

    how_to_get = "mpiFileUtils, from Spack or https://github.com/hpc/mpifileutils"
    return tool(f"{program}-{ranks}", program, how_to_get, argv, f"{ranks} ranks")


def hpcp(arguments: Callable[[Job], list[str]]) -> Contestant:
    def build(job: Job, options: Sequence[str]) -> Command:
        argv = [str(hpcp_venv.program()), *options, *arguments(job)]
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return Command(tuple(map(os.fsencode, argv)), env)

    return Contestant("hpcp", "hpcp", "hpcp", build, lambda options: hpcp_venv.missing(), "PyPI")


_MPI = {"mpich": "MPICH", "openmpi": "Open MPI"}


def ours(
    world: launch.World,
    arguments: Callable[[Job], list[launch.Argument]] = lambda job: [job.src, job.dst],
    extra: str = "",
) -> Contestant:
    """extra: an option that makes it another contestant than the one without."""

    def build(job: Job, options: Sequence[str]) -> Command:
        words = [*options, *([extra] if extra else []), *arguments(job)]
        argv, env = launch.command_line(words, flavour=world.flavour, n=world.n)
        # Nobody runs a program that is compiled anew at each start: that takes 0.1 s here.
        return Command(tuple(argv), {key: value for key, value in env.items() if key != "PYTHONDONTWRITEBYTECODE"})

    def lacks(options: Sequence[str]) -> str | None:
        unknown = (
            [option for option in options if not _is_known(option, _our_help())] if world.missing() is None else []
        )
        return f"this hpcp-mpi does not know {' '.join(unknown)}" if unknown else world.missing()

    where = f"{_MPI[world.flavour]}, {world.n} ranks" if world.flavour in _MPI else "no MPI"
    name = f"{world}-{extra.lstrip('-')}" if extra else str(world)
    return Contestant(name, "hpcp-mpi", f"hpcp-mpi {extra}".strip(), build, lacks, where)


@functools.cache
def _our_help() -> str | None:
    """None if it cannot be had. Then nothing is called unknown: the race will show what is wrong."""
    done = launch.run(["--help"], flavour="plain")
    return done.stdout if done.returncode == 0 else None


def _is_known(option: str, text: str | None) -> bool:
    """An option's value (16) is always known."""
    return text is None or not option.startswith("-") or bool(re.search(rf"(?<!\S){option}(?![\w-])", text))


# Those with ranks, by contestant's name.
WORLDS = {
    str(world): world
    for world in (launch.World(flavour, n) for flavour in launch.WITH_MPIEXEC for n in (2, 4, 8))
}  # fmt: skip

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _cp("cp", "cp -a", "-a"),
        _cp("cp-u", "cp -au", "-a", "-u"),
        _rsync(),
        *(_fpsync(jobs) for jobs in (2, 16)),
        _rclone(),
        _rclone(16),
        *(_mpifileutils("dcp", ranks, "-p") for ranks in (4, 16)),
        *(_mpifileutils("dsync", ranks) for ranks in (4, 16)),
        # Without slashes at the ends: the contents of SRC become those of DST.
        hpcp(lambda job: [str(job.src), "-d", str(job.dst)]),
        ours(launch.World("plain")),
        *map(ours, WORLDS.values()),
        ours(WORLDS["mpich-4"], lambda job: [job.work / "ledger", job.src, job.dst], "--ledger"),
        *(ours(world, extra="--hash_size=0") for world in (launch.World("plain"), WORLDS["mpich-4"])),
    )
}
