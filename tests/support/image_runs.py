"""Runs with images, and what they may leave: no loop device, no mount, no file but those that were asked for.

run = ImageRuns(place)                                        # a directory on tmpfs, for everything of a test
run("T", "-di", "i.img")                                      # Finished; it has been judged: nothing is left
with run.started(...) as running: ...
traces(place)                                                 # what is attached or mounted of files below a directory
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import launch
from tests.support.launch import Argument, Finished, Running

_PATIENCE = 5.0  # seconds until the kernel has given back a loop device of a killed process


def loops_over(place: Path) -> list[str]:
    """Loop devices, of anybody, over files below a directory or files that are no more."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = file.read_text().rstrip("\n")
        except OSError:  # it goes this moment
            continue
        if backing.startswith(f"{place}/"):
            found.append(f"{file.parts[3]}: {backing}")
    return sorted(found)


def mounts_of_images() -> list[str]:
    """Mounts in this process's namespace that runs with images could have made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if "hpcp-mpi.images" in line or " /dev/loop" in line]


def traces(place: Path, patience: float = _PATIENCE) -> list[str]:
    """What is attached of a directory's files or mounted, once all had the time to go."""
    deadline = time.monotonic() + patience
    while (found := loops_over(place)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found + [line for line in mounts_of_images() if str(place) in line or "hpcp-mpi.images" in line]


class ImageRuns:
    """Runs in a directory, which must leave nothing in it but what they were asked for."""

    def __init__(self, place: Path, **setting: Any) -> None:
        self.place = place
        self.temporary = place / "temporary"
        self.temporary.mkdir(mode=0o1777, exist_ok=True)
        self._setting: dict[str, Any] = {"flavour": "plain", "cwd": place, **setting}

    def _with(self, setting: dict[str, Any]) -> dict[str, Any]:
        given = {**self._setting, **setting}
        return {**given, "env": {"TMPDIR": str(self.temporary), **(given.get("env") or {})}}

    def __call__(self, *args: Argument, timeout: float = 120, **setting: Any) -> Finished:
        """Run the tool to its end and see that nothing is left of it."""
        done = launch.run(args, timeout=timeout, **self._with(setting))
        assert not done.left_behind, str(done)
        self.nothing_is_left(str(done))
        return done

    @contextmanager
    def started(self, *args: Argument, **setting: Any) -> Iterator[Running]:
        with launch.start(args, **self._with(setting)) as running:
            yield running

    def nothing_is_left(self, said: str = "", directories: int = 0) -> None:
        """Fail if anything is attached or mounted, or more than so many empty temporary directories are there."""
        assert traces(self.place) == [], said
        left = sorted(self.temporary.iterdir())
        assert len(left) <= directories, f"{left} were left\n{said}"
        for each in left:
            assert os.listdir(each) == [], f"{each} is not empty\n{said}"


def until(condition: Callable[[], object], patience: float) -> bool:
    """Wait until a condition holds; whether it did in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def unchanged(files: Sequence[Path]) -> dict[Path, tuple[int, ...]]:
    """What tells that files were not written to, besides their content."""
    return {file: (file.stat().st_size, file.stat().st_mtime_ns, file.stat().st_ino) for file in files}
