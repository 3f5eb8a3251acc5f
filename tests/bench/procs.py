"""What /proc tells about processes that a launcher has started."""

from __future__ import annotations

import os
from pathlib import Path

# What the launchers tell their ranks.
RANK_VARIABLES = (b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK=")


def descendants(pid: int) -> list[int]:
    """Children, their children and so on. A tool may give its children a clean environment, so no tag finds them."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            lists = [Path(task.path, "children").read_text() for task in os.scandir(f"/proc/{parent}/task")]
        except OSError:  # it, or one of its threads, has ended
            continue
        children = [int(word) for text in lists for word in text.split()]
        found += children
        waiting += children
    return found


def rank(pid: int) -> int | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    for variable in variables:
        for name in RANK_VARIABLES:
            if variable.startswith(name):
                return int(variable[len(name) :])
    return None


def cpu_seconds(pid: int) -> float:
    """User and system, of all threads, not of children. Raises OSError if it has ended."""
    # The name in parentheses may hold anything; utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(os.readlink(entry) == str(path) for entry in os.scandir(f"/proc/{pid}/fd"))
    except OSError:  # it ended, or closed one
        return False
