"""Finding and killing of all processes that a run of the tool has started.

Launchers put ranks in sessions and process groups of their own, so a group kill misses some. A variable in
the environment is inherited by all of them, and only by them.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

TAG = "HPCP_MPI_TEST_RUN"


@dataclass(frozen=True)
class Process:
    pid: int
    command: tuple[bytes, ...]

    @property
    def is_python(self) -> bool:
        return b"python" in os.path.basename(self.command[0])

    def send(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def __str__(self) -> str:
        return f"{self.pid} {os.fsdecode(b' '.join(self.command)).encode('ascii', 'backslashreplace').decode()}"


def new_tag() -> str:
    return uuid.uuid4().hex


def tagged(tag: str) -> list[Process]:
    """Processes that carry the tag. Zombies have no environment and do not count."""
    wanted = f"{TAG}={tag}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = tuple((entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0"))
                found.append(Process(int(entry.name), command))
        except OSError:  # it ended, or belongs to another user
            continue
    return found


def settled(tag: str, patience: float) -> list[Process]:
    """The processes still alive after patience seconds; returns at once when there are none."""
    deadline = time.monotonic() + patience
    while (left := tagged(tag)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def kill_all(tag: str) -> None:
    """Kill processes until none is left: one may start another between the look and the kill."""
    deadline = time.monotonic() + 10
    while left := tagged(tag):
        for process in left:
            process.send(signal.SIGKILL)
        if time.monotonic() > deadline:
            raise AssertionError(f"cannot be killed: {', '.join(map(str, left))}")
        time.sleep(0.01)
