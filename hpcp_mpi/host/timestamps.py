"""The clock of a file system: its change times come from there, and it need not be this machine's clock."""

import os
import time
from collections.abc import Callable

from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.host.mounts import has_this_clock
from hpcp_mpi.host.scratch_file import scratch_inode

_ASIDE_NS = 10 * 10**9  # how far a file system's clock that cannot be read may be behind ours
_KERNELS = 5  # CLOCK_REALTIME_COARSE, which Python does not name
_LONGEST = 3.0  # seconds: the coarsest clocks tick every two
_PAUSE = 0.001


def ticked(directory: int, token: str) -> int:
    """Return a change time (ns) by the file system of directory; all changes from now on are later.

    Its clock ticks in steps, 4 ms with Linux's own, so this waits for the next one. It is read from an inode that is
    made for that. Where none can be made, it is the kernel's, if that gives the times there; else this machine's clock
    less ten seconds: then changes in those count as later.
    """
    try:
        with scratch_inode(directory, token, lambda path, note: None) as (inode, _):
            return _next_tick(inode)
    except OSError:
        return _kernels_tick() if has_this_clock(path_of(directory)) else time.time_ns() - _ASIDE_NS


def _kernels_tick() -> int:
    """Return the time (ns) that the kernel gives to changes; it has ticked when this returns."""
    first = time.clock_gettime_ns(_KERNELS)
    _until(lambda: time.clock_gettime_ns(_KERNELS) > first)
    return first


def _next_tick(fd: int) -> int:
    """Return the file system's time (ns) at the call; its clock has ticked when this returns. Raises OSError."""
    first = _touched(fd)
    _until(lambda: _touched(fd) > first)
    return first


def _touched(fd: int) -> int:
    os.utime(fd)
    return os.fstat(fd).st_ctime_ns


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST
    while not true() and time.monotonic() < deadline:
        time.sleep(_PAUSE)
