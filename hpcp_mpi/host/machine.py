"""Limits of this machine: CPUs, slots, open files; and who works on it."""

import os
import resource
from contextlib import suppress

_OPEN_FILES = 65536
_FILES_EACH = 16  # descriptors that a thread may need at once: two trees, two listings, pipes and a stage
MOST_SLOTS = 1024  # of a rank: more only wait for each other


def cpus() -> int:
    """Return the number of CPUs this process may use, by its affinity and its control group's quota."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, round(quota)))


def _quota() -> float | None:
    """Return the quota of this process's control group in CPUs, None without one."""
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
    """Return the number of slots of a rank: how many jobs it does at once.

    asked: None is 4 per CPU, 0 half the CPUs, -n is n per CPU; these are divided among the ranks on the same CPUs
    (mates). A positive number is used as it is. Never more than MOST_SLOTS, or than
    there are files to open.
    """
    if asked is not None and asked > 0:
        return most_threads(min(asked, MOST_SLOTS))
    wanted = 4 * available if asked is None else available / 2 if asked == 0 else -asked * available
    return most_threads(min(MOST_SLOTS, max(1, round(wanted / mates))))


def allow_open_files() -> None:
    """Raise the limit of open files as far as possible without privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft < ceiling:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def most_threads(wanted: int, crowds: int = 1) -> int:
    """Return how many threads may work at once that keep directories open; wanted: if there are files enough.

    crowds: as many as these there may be
    """
    return max(1, min(wanted, open_files() // (_FILES_EACH * crowds)))


def kept_open(wanted: int, share: int = 256) -> int:
    """Return how many descriptors one of them may keep for later; wanted: if a share of all is enough for these."""
    return max(1, min(wanted, open_files() // share))


def open_files() -> int:
    """Return how many files this process may have open."""
    allow_open_files()
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _OPEN_FILES if soft == resource.RLIM_INFINITY else min(soft, _OPEN_FILES)


def user_name() -> str:
    """Return the name of the user whose rights this process has; the number where it has none."""
    import pwd  # for reports, on rank 0

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
