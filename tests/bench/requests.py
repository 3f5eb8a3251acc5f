"""How many round trips does a file cost? The requests of each contestant to a real distributed file system, counted.

    python -m tests.bench.requests [--on moosefs,glusterfs] [--files N] [--only COPY-TO,...]

What is counted is what the kernel asks the file system's client for one mount, by kind. For each task there is a table
with requests per file; what needs no answer (RELEASE, FORGET) is shown and is not in the sum.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter as Counts
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import grounds, sources, stopwatch
from tests.bench.contestants import Contestant, Job
from tests.bench.tasks import TASKS
from tests.bench.trees import Flat
from tests.dfs.glusterfs import GlusterFS
from tests.dfs.moosefs import MooseFS
from tests.dfs.volume import Volume
from tests.support.fuse_requests import ASIDE, Counter, unavailable

KINDS: dict[str, type[Volume]] = {"moosefs": MooseFS, "glusterfs": GlusterFS}
Options = dict[str, tuple[str, ...]]  # of programs
_RSYNC_ALL: Options = {"rsync": ("-HAX",)}
_FAST: Options = {"hpcp-mpi": ("-hs", "0")}
_TIMEOUT = 600
Who = tuple[tuple[str, Options], ...]


@dataclass(frozen=True)
class Case:
    """A task whose requests are counted.

    on:      which of source and destination are on the file system
    present: the destination is a copy already
    who:     contestants of the task, with the options of each
    """

    name: str
    what: str
    task: str
    on: str
    present: bool
    who: Who


_COPIERS: Who = (("cp", {}), ("rsync", {}), ("rsync", _RSYNC_ALL), ("plain", {}), ("mpich-4", {}))
_AGAIN: Who = (
    ("rsync", {}),
    ("rsync", _RSYNC_ALL),
    ("plain", _FAST),
    ("mpich-4", _FAST),
    ("plain", {}),
    ("mpich-4", {}),
)
CASES = {
    case.name: case
    for case in (
        Case("copy-to", "copy from memory to it", "copy", "dst", False, _COPIERS),
        Case("copy-from", "copy from it to memory", "copy", "src", False, _COPIERS),
        Case("again", "the same again, nothing changed, both sides on it", "copy", "src dst", True, _AGAIN),
        Case("remove", "remove", "remove", "dst", True, (("rm", {}), ("plain", {}), ("mpich-4", {}))),
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 where requests cannot be counted, or a contestant fails."""
    options = _parser().parse_args(arguments)
    why = unavailable()
    if why is not None:
        print(f"requests: {why}", file=sys.stderr)
        return 1
    for name in options.on:
        missing = KINDS[name].missing()
        if missing is not None:
            print(f"requests: {name}: {missing}", file=sys.stderr)
            return 1
        with KINDS[name]() as volume:
            for case in options.only:
                _table(volume, CASES[case], Flat(options.files, per_directory=options.per_directory))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.bench.requests", description=__doc__.splitlines()[0])
    parser.add_argument("--on", type=lambda text: text.split(","), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--files", type=int, default=2000, help="of 4 KiB; default 2000")
    parser.add_argument("--per-directory", type=int, default=100, help="default 100")
    return parser


def _table(volume: Volume, case: Case, tree: Flat) -> None:
    rows = [_row(volume, case, tree, _contestant(case, name, extra)) for name, extra in case.who]
    kinds = sorted({kind for _, found, _ in rows for kind in found}, key=lambda kind: (kind in ASIDE, kind))
    kinds = [kind for kind in kinds if any(found[kind] * 100 >= tree.files for _, found, _ in rows)]
    print(f"\n{volume.name} {volume.version}, {case.what}: {tree}; requests per file\n")
    print(f"| | in all | {' | '.join(f'({kind})' if kind in ASIDE else kind for kind in kinds)} | s |")
    print(f"|---|{'---|' * (len(kinds) + 2)}")
    for label, found, seconds in rows:
        cells = [f"{found[kind] / tree.files:.2f}" for kind in kinds]
        total = sum(count for kind, count in found.items() if kind not in ASIDE) / tree.files
        print(f"| {label} | {total:.2f} | {' | '.join(cells)} | {seconds:.2f} |", flush=True)


def _contestant(case: Case, name: str, extra: Options) -> Contestant:
    return TASKS[case.task].contestants[name].given(extra)


def _row(volume: Volume, case: Case, tree: Flat, who: Contestant) -> tuple[str, Counts[str], float]:
    with grounds.scratch(Path("/dev/shm")) as memory, grounds.scratch(volume.clients[0]) as there:
        src = (there if "src" in case.on else memory) / "src"
        dst = (there if "dst" in case.on else memory) / "dst"
        sources.make(tree, src)
        if case.present:
            volume.settle()  # a copy is younger than its source
            subprocess.run(["cp", "-a", "-T", src, dst], check=True)
        volume.settle()
        with Counter(volume.clients[0]) as counter:
            outcome = stopwatch.timed(who.command(Job(src, dst, memory)), _TIMEOUT)
        if outcome.failure:
            raise SystemExit(f"{who.title}: {outcome.failure}\n{outcome.stderr}")
        return who.title, counter.requests, outcome.seconds


if __name__ == "__main__":
    sys.exit(main())
