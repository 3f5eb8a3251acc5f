"""What this machine is and allows: CPUs, open files, time stamps, programs."""

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from hpcp_mpi.host.commands import ENVIRONMENT
from hpcp_mpi.host.stage import staged

_OPEN_FILES = 65536
_FINEST = 123_456_789  # ns: what a file system makes of it shows what it can store
_SEEN = 32  # entries whose time stamps tell what a file system stores
_STEPS_NS = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)


def cpus() -> int:
    """Return how many CPUs this process may use: its affinity, and the quota of its control group."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, round(quota)))


def _quota() -> float | None:
    """Return the CPU quota of this control group in CPUs, None without one."""
    with suppress(OSError, ValueError):
        limit, period = _words("/sys/fs/cgroup/cpu.max")
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError):
        (limit_us,), (period_us,) = (_words(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
        return None if int(limit_us) <= 0 else int(limit_us) / int(period_us)
    return None


def _words(path: str) -> list[str]:
    with open(path) as file:
        return file.read().split()


def slots(asked: int | None, available: int, mates: int) -> int:
    """Return how many jobs a rank does at once.

    asked: None is 4 per CPU, 0 half the CPUs, -n is n per CPU; these are shared out among the ranks on the same CPUs
    (mates). A positive number is meant as it is.
    """
    if asked is not None and asked > 0:
        return asked
    wanted = 4 * available if asked is None else available / 2 if asked == 0 else -asked * available
    return max(1, round(wanted / mates))


def allow_open_files() -> None:
    """Raise the limit of open files as far as it goes without privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft < ceiling:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def find(program: str) -> str | None:
    """Return the path of a program that commands would run."""
    places = (f"{directory}/{program}" for directory in ENVIRONMENT["PATH"].split(":"))
    return next((place for place in places if os.access(place, os.X_OK)), None)


def time_step(directory: int, token: str | None, probe: bool = True) -> int:
    """Return the step (ns) in which the file system of a directory stores mtimes: 1, or 2 s on FAT. Raises OSError.

    The kernel's own time stamp on the directory tells mostly; only if that is round, a file is made to find out: one
    without a name, or else, unless token is None, one in a stage of that name. probe: False if nothing may be made.
    """
    before = os.fstat(directory)
    if before.st_ctime_ns % 1000:
        return 1
    if not probe:
        with os.scandir(directory) as entries:
            seen = [entry.stat(follow_symlinks=False).st_ctime_ns for entry in islice(entries, _SEEN)]
        return step_of([before.st_ctime_ns, *seen])
    try:
        fd = os.open(b".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        if token is None:
            raise
    else:
        return _stored_step(fd)
    try:
        with staged(directory, token, lambda path, note: None) as stage:
            fd = os.open(b"time", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=stage)
            return _stored_step(fd)
    finally:
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


def step_of(stamps: Sequence[int]) -> int:
    """Return the longest step (ns) of those that file systems have in which time stamps may have been made."""
    return next(step for step in reversed(_STEPS_NS) if not any(stamp % step for stamp in stamps))


def _stored_step(fd: int) -> int:
    """Return what a file's time stamp lost when it was set. Closes fd."""
    wanted = 1_000_000_001 * 10**9 + _FINEST  # an odd second: two-second steps show
    try:
        os.utime(fd, ns=(0, wanted))
        lost = abs(wanted - os.fstat(fd).st_mtime_ns)
    finally:
        os.close(fd)
    return next((step for step in _STEPS_NS if lost < step), _STEPS_NS[-1])
