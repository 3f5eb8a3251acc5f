"""The check, on rank 0, whether the run that wrote a ledger is still alive.

A process of this machine is recognised by its number and its start time, so that another one that has the number by
now is not taken for it. A run elsewhere is judged by its last sign of life; clocks are assumed to agree within seconds.
"""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from hpcp_mpi.ledger import checked
from hpcp_mpi.vocab.paths import in_one_line

STALE = 60.0  # seconds without a sign of life, after which a run on another host counts as dead
SIGN = 20.0  # seconds between signs of life at most

_LAST_RUN = "SELECT run,host,pid,pid_started,place,job,state,alive FROM run ORDER BY run DESC"


class Writer(NamedTuple):
    """The last run of a ledger, from its row."""

    run: int
    host: str
    pid: int
    pid_started: int  # clock ticks since boot; 0: unknown
    place: str  # see `here`
    job: str
    state: str  # running, ended, broken
    alive: float  # last sign of life, seconds since 1970-01-01 UTC

    @classmethod
    def last_of(cls, connection: sqlite3.Connection) -> "Writer":
        """Return the last run of a ledger. Raises Odd."""
        return cls(*checked.one(connection, "nsnnsssr", _LAST_RUN))

    @property
    def named(self) -> str:
        return in_one_line(f"process {self.pid} on {self.host}" + (f", job {self.job}" if self.job else ""))


def here() -> str:
    """Return an identifier shared by processes that see each other: the kernel's boot and the PID namespace; "" if
    unknown. Host names are neither unique nor stable."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; 0 if there is none, or only a zombie.

    None if there is one that cannot be inspected: /proc may hide those of other users.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if _is_somebodys(pid) else 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _is_somebodys(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def is_dead(writer: Writer) -> bool | None:
    """Return whether the run is dead; None where only its signs of life can show it."""
    if writer.state != "running":
        return True
    if not writer.place or writer.place != here():
        return None
    since = started(writer.pid)
    if since is None:
        return None
    return since == 0 or bool(writer.pid_started and since != writer.pid_started)
