"""What can be raced: copying, and what else is done with trees. For each task who can, and who judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import image_tasks, verify
from tests.bench.contestants import CONTESTANTS, WORLDS, Contestant, Job, hpcp, ours, tool
from tests.bench.verify import Judgement
from tests.support import launch

_PLAIN = launch.World("plain")


@dataclass(frozen=True)
class Task:
    """
    contestants: by name
    judge:       (src, dst) -> what is wrong after a run; it sees them without latency
    strict:      programs that fail if they lose anything, where others are remarked on
    """

    contestants: Mapping[str, Contestant]
    judge: Callable[[Path, Path], Judgement]
    strict: frozenset[str] = frozenset()


def _named(contestants: Iterable[Contestant]) -> dict[str, Contestant]:
    return {one.name: one for one in contestants}


def _ours(arguments: Callable[[Job], list[launch.Argument]]) -> list[Contestant]:
    return [ours(world, arguments) for world in (_PLAIN, *WORLDS.values())]


def _rsync_away() -> Contestant:
    """The way that many use for huge trees: an empty directory is mirrored over it."""

    def argv(job: Job, options: object) -> list[str]:
        return [
            "sh",
            "-c",
            'mkdir "$1" && rsync -a --delete "$1/" "$2/" && rmdir "$2"',
            "sh",
            f"{job.work}/empty",
            f"{job.dst}",
        ]

    return tool("rsync", "rsync --delete", "apt-get install rsync", argv, "from an empty directory")


def _removers() -> Iterable[Contestant]:
    yield tool("rm", "rm -rf", "apt-get install coreutils", lambda job, _: ["rm", "-rf", "--", str(job.dst)])
    yield tool("find", "find -delete", "apt-get install findutils", lambda job, _: ["find", str(job.dst), "-delete"])
    yield _rsync_away()
    yield tool(
        "drm-4",
        "drm",
        "mpiFileUtils, from Spack or https://github.com/hpc/mpifileutils",
        lambda job, _: ["mpirun", "-n", "4", "drm", "-q", str(job.dst)],
        "4 ranks",
    )
    yield hpcp(lambda job: ["-rm", "-rf", str(job.dst)])
    yield from _ours(lambda job: ["-rm", "-rf", job.dst])


def _comparers() -> Iterable[Contestant]:
    yield tool(
        "rsync", "rsync -a -n", "apt-get install rsync", lambda job, _: ["rsync", "-an", f"{job.src}/", f"{job.dst}/"]
    )
    yield tool(
        "diff", "diff -r", "apt-get install diffutils", lambda job, _: ["diff", "-rq", str(job.src), str(job.dst)]
    )
    yield hpcp(lambda job: [str(job.src), "-d", str(job.dst), "-cfl"])
    yield from _ours(lambda job: ["-cfl", job.src, job.dst])


def _listers() -> Iterable[Contestant]:
    yield hpcp(lambda job: [str(job.src), "-fl", str(job.work / "list")])
    yield from _ours(lambda job: ["-fl", job.work / "list", job.src])


def _verifiers() -> Iterable[Contestant]:
    """Those that copy, and those that look at every copy again."""
    yield from CONTESTANTS.values()
    yield tool(
        "cp-diff",
        "cp -a, then diff -r",
        "apt-get install coreutils diffutils",
        lambda job, _: ["sh", "-c", 'cp -a -T "$1" "$2" && diff -r "$1" "$2"', "sh", f"{job.src}", f"{job.dst}"],
    )
    yield from (ours(world, extra="--verify") for world in (_PLAIN, *WORLDS.values()))


def _gone(src: Path, dst: Path) -> Judgement:
    if not src.exists():
        return Judgement("the wrong tree was removed")
    left = sum(verify.size_of(dst)[:1]) if dst.exists() else 0
    return Judgement(f"{left:,} files are left" if dst.exists() else None)


TASKS: Mapping[str, Task] = {
    "copy": Task(_named(_verifiers()), verify.judge),
    "copy-all": Task(CONTESTANTS, verify.judge_all, frozenset({"cp", "hpcp-mpi"})),
    "remove": Task(_named(_removers()), _gone),
    "compare": Task(_named(_comparers()), verify.judge),
    "list": Task(_named(_listers()), lambda src, dst: Judgement()),
    "image-make": Task(_named(image_tasks.makers()), image_tasks.judge_image),
    "image-restore": Task(_named(image_tasks.restorers()), verify.judge),
    "image-clone": Task(_named(image_tasks.cloners()), image_tasks.judge_clone),
    "image-squash": Task(_named(image_tasks.squashers()), image_tasks.judge_image),
    "image-unsquash": Task(_named(image_tasks.unsquashers()), verify.judge),
}
# Of any task.
NAMES = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.contestants))
