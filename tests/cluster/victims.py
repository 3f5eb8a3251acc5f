"""Runs during which a rank is killed or stopped at work, and the conditions that they must meet."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.launch import Argument, Finished, Running, start

RANKS = 4
PATIENCE = 60.0  # seconds
_RANK = re.compile(rb"(?:OMPI_COMM_WORLD_RANK|PMI_RANK|SLURM_PROCID)=(\d+)")


@dataclass(frozen=True)
class Ended:
    """A run, and its report."""

    done: Finished
    report: dict[str, Any]
    struck: bool  # the victim was at work when it was struck

    @property
    def lost(self) -> dict[int, str]:
        return {each["rank"]: each["lost"] for each in self.report["ranks"] if each["lost"]}


def pid_of(rank: int, running: Running) -> int:
    """The pid of a rank. Waits until it runs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for process in running.processes():
            with suppress(OSError):
                words = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                found = [match[1] for word in words if (match := _RANK.fullmatch(word))]
                # A program that it starts has its name for a moment.
                threads = int(re.findall(r"Threads:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[0])
                if process.is_python and found == [b"%d" % rank] and threads > 1:
                    return process.pid
        time.sleep(0.01)
    raise AssertionError(f"no rank {rank}:\n{running.output()}")


def open_below(pid: int, roots: Sequence[Path]) -> set[str]:
    """The files that a process has open below some directories, without the directories themselves."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            path = os.readlink(link)
            if any(path.startswith(f"{root}/") for root in roots):
                found.add(path)
    return found


def busy_for_the(nth: int, pid: int, roots: Sequence[Path], running: Running) -> bool:
    """Wait until a process has had so many different files open below roots; False if the run ends first."""
    seen: set[str] = set()
    deadline = time.monotonic() + PATIENCE
    while len(seen) < nth:
        try:
            seen |= open_below(pid, roots)
        except OSError:
            return False
        if running.ended:
            return False
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.002)
    return True


@contextmanager
def started(args: Sequence[Argument], heartbeat: float, **setting: Any) -> Iterator[Running]:
    """Start the tool such that it survives the loss of ranks."""
    words = ["--heartbeat-timeout", f"{heartbeat:g}", *args]
    with start(words, flavour="openmpi", n=RANKS, launcher_args=["--with-ft", "ulfm"], **setting) as running:
        running.wait_for(r"ranks \(1 coordinates")
        yield running


def struck(
    args: Sequence[Argument],
    roots: Sequence[Path],
    place: Path,
    victim: int,
    nth: int,
    strike: Callable[[int, Running], None] = lambda pid, running: os.kill(pid, signal.SIGKILL),
    heartbeat: float = 3.0,
) -> Ended:
    """Run the tool; strike a rank when it is at work on the nth thing below roots; wait for the end.

    place: a directory for the report
    """
    report = place / "report.json"
    with started(["--json", report, *args], heartbeat) as running:
        pid = pid_of(victim, running)
        hit = busy_for_the(nth, pid, roots, running)
        if hit:
            strike(pid, running)
        done = running.finish(PATIENCE)
    assert "Traceback" not in done.stderr, str(done)
    assert report.exists(), str(done)
    return Ended(done, json.loads(report.read_text()), hit)
