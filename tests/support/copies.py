"""Helpers of the tests of copies: runs with a report, and the changes of a run at the destination.

Judged from outside only: by lstat, rsync and the program's own --json.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import oracle, reports
from tests.support.launch import Argument, Finished, World

PLAIN = World("plain")
STAGE = b".hpcp-mpi."
# Limits of a unit so low that every entry is handled as in big trees.
TINY_CHUNKS = ("-f", "1", "--chunk-size", "1")

State = dict[bytes, tuple[int, int]]


@dataclass(frozen=True)
class Copied:
    """A run that ended, and its report."""

    done: Finished
    report: dict[str, Any]

    @property
    def copied_entries(self) -> int:
        copied = self.report["copied"]
        return sum(copied[kind] for kind in ("files", "directories", "links", "other"))

    @property
    def failures(self) -> dict[str, str]:
        """The reasons, by path."""
        return {each["path"]: each["reason"] for each in self.report["failures"]}

    @property
    def notes(self) -> dict[str, str]:
        return {each["path"]: each["note"] for each in self.report["notes"]}


def copy(*args: Argument, world: World = PLAIN, code: int = 0, **setting: Any) -> Copied:
    """Run the tool with --json, expect the exit code and no process left, and return its report."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        path = Path(place) / "report.json"
        done = world.run(["--json", path, *args], **setting)
        assert done.returncode == code, str(done)
        assert done.left_behind == (), str(done)
        report = reports.check(json.loads(path.read_text()))
        assert report["exit_code"] == code
        return Copied(done, report)


def refused(
    *args: Argument, world: World = PLAIN, says: str = "", code: Iterable[int] = (1, 2), **setting: Any
) -> None:
    """Run the tool and expect that it refuses to start."""
    done = world.run(args, **setting)
    assert done.returncode in code, str(done)
    assert "Traceback" not in done.stderr
    assert re.search(says, done.stderr), str(done)


def state(root: Path) -> State:
    """The inode and ctime of every entry: a copy that touches nothing leaves both."""
    return {path: (info.st_ino, info.st_ctime_ns) for path, info in oracle.lstats(root).items()}


def changed(before: State, after: State) -> set[bytes]:
    """The entries that are new, gone, replaced or touched."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def items(output: str) -> dict[str, str]:
    """Item lines by path: eleven characters of rsync -i, without the target of a link."""
    found = {}
    for line in output.splitlines():
        match = re.fullmatch(r"([.<>ch*][fdLDS]\S{9}) (.*?)(?: (?:->|=>) .*)?", line)
        if match:
            found[match[2]] = match[1]
    return found


def rsync_items(src: Path, dst: Path, *options: str) -> dict[str, str]:
    """The changes that rsync would make, by path."""
    command = ["rsync", "-aHAX", "--numeric-ids", "-n", "-i", *options, f"{src}/", f"{dst}/"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return items(done.stdout)


def stages(root: Path) -> list[bytes]:
    """The stages that a run left behind."""
    return [path for path in oracle.entries(root) if path.rpartition(b"/")[2].startswith(STAGE)]


def partial_files(src: Path, dst: Path) -> list[bytes]:
    """Regular files under their final names whose content is not the whole of their source's."""
    found = []
    sources = oracle.lstats(src)
    for path, info in oracle.lstats(dst).items():
        mine, theirs = dst / os.fsdecode(path), src / os.fsdecode(path)
        if path not in sources or mine.is_symlink() or not (theirs.is_file() and mine.is_file()):
            continue
        if info.st_size != sources[path].st_size or _differ(theirs, mine):
            found.append(path)
    return found


def _differ(one: Path, other: Path) -> bool:
    return subprocess.run(["cmp", "-s", one, other]).returncode != 0


def run(command: Sequence[Argument], **setting: Any) -> str:
    """Run another program, which must succeed; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, **setting)
    assert done.returncode == 0, done.stderr
    printed: str = done.stdout
    return printed


def cps(*roots: Path) -> list[int]:
    """The `cp` processes that work in a directory below one of roots. They do not inherit the tests' environment."""
    wanted = [os.fsencode(root.resolve()) for root in roots]
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "comm").read_text() == "cp\n":
                cwd = os.fsencode(os.readlink(entry / "cwd"))
                if any(cwd == root or cwd.startswith(root + b"/") for root in wanted):
                    found.append(int(entry.name))
        except OSError:  # it ended
            continue
    return found
