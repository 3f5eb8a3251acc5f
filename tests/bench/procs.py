"""What /proc tells about processes that a launcher has started."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
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


# In the flags of /proc/PID/stat: a thread of the kernel.
_PF_KTHREAD = 0x00200000


def others_seconds(servers: Iterable[int] = ()) -> float:
    """CPU time that all processes and interrupts have used since boot: that of servers is left out, and that of the
    kernel's threads, as they write out what others have written. It may go down a little when one of those ends."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    left_out = sum(map(_cpu_ticks, map(_stat, {*_kernel_threads(), *servers})))
    return (user + nice + system + irq + softirq + steal - left_out) / os.sysconf("SC_CLK_TCK")


def _kernel_threads() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            fields = _stat(int(entry.name))
            if fields and int(fields[6]) & _PF_KTHREAD:
                yield int(entry.name)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; none if it has ended."""
    try:
        # The name in parentheses may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_ticks(fields: list[str]) -> int:
    """utime and stime."""
    return int(fields[11]) + int(fields[12]) if fields else 0


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
    fields = _stat(pid)
    if not fields:
        raise OSError(f"process {pid} has ended")
    return _cpu_ticks(fields) / os.sysconf("SC_CLK_TCK")


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(os.readlink(entry) == str(path) for entry in os.scandir(f"/proc/{pid}/fd"))
    except OSError:  # it ended, or closed one
        return False


def peak_memory(pid: int) -> int:
    """Bytes that it has had in memory at most, shared libraries included. Raises OSError if it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError(f"process {pid} has no memory any more")


class PeakOfBiggest:
    """A look for stopwatch.timed: of all processes it sees, how many bytes the biggest had at most.

    The system's ru_maxrss will not do: a child starts with the peak of who started it.
    """

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, pid: int, seconds: float) -> None:
        for one in (pid, *descendants(pid)):
            try:
                self.bytes = max(self.bytes, peak_memory(one))
            except OSError:
                continue
