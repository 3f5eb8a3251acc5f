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
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    """Of all its threads. One that ends meanwhile must not hide the children of the others."""
    found: list[int] = []
    for lists in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, lists.read_text().split())
        except OSError:
            continue
    return found


def machine_busy_seconds() -> float:
    """CPU time that all processes, the kernel and interrupts have used since boot."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


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
