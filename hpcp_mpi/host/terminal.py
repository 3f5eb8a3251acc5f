"""The terminal that a run is watched on: that of this process, or of the launcher that forwards what it writes.

Under mpiexec standard error is a pipe. Where the launcher runs on this machine, is of the same user and shows on a
terminal what comes from the pipe, as it is, that terminal is known, and is written to without the launcher: some wait
for whole lines before they show anything (Open MPI).
"""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

_DEFAULT_COLUMNS = 80
_MOST_ANCESTORS = 20
# Names of processes as the kernel knows them, of 15 characters: those that forward what a rank writes, and those at the
# user's end. prterun is both, where all is on one machine.
_FORWARDERS = ("hydra_pmi_proxy", "hydra_bstrap_pr", "prted", "orted", "prterun", "orterun", "mpiexec", "mpirun")
_LAUNCHERS = ("mpiexec", "mpiexec.hydra", "mpirun", "prterun", "orterun")
# Words of launchers that mark, divert or gather what ranks write. What only looks like one costs no more than the bar.
_MARKING = ("-l", "prepend", "label", "tag", "output", "outfile", "errfile", "pattern", "timestamp", "xml", "merge")
_MARKING_VARIABLES = ("tag_output", "timestamp_output", "xml", "output_filename", "redirect_app_stderr")


@dataclass(slots=True)
class Terminal:
    """A terminal, by a descriptor."""

    fd: int
    process: int = -1  # of the launcher, a descriptor of its /proc/PID/stat; -1: it is our own terminal

    def columns(self) -> int:
        """Return its width in characters; a usual one where nobody knows."""
        with suppress(OSError):
            if columns := os.get_terminal_size(self.fd).columns:
                return columns
        return default_columns()

    def in_foreground(self) -> bool:
        """Return whether the user sees the run there now, and no shell's prompt instead."""
        if self.process < 0:
            with suppress(OSError):
                return os.tcgetpgrp(self.fd) == os.getpgrp()
            return True  # it does not control this session
        try:
            status = _Status.of(os.pread(self.process, 4096, 0))
        except (OSError, ValueError, IndexError):
            return False  # it has ended
        return status.foreground in (status.group, -1) and status.state not in "Tt"

    def close(self) -> None:
        """Let go of a launcher's terminal."""
        if self.process >= 0:
            os.close(self.process)
            os.close(self.fd)


def default_columns() -> int:
    """Return the width that the environment tells, else a usual one."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and 0 < int(columns) < 10_000 else _DEFAULT_COLUMNS


def of_launcher(fd: int, arguments: Sequence[str]) -> Terminal | None:
    """Return the terminal on which a launcher shows what is written to fd, as it is; None if that is not certain.

    arguments: of this program, which follow the launcher's own
    """
    try:
        pipe = os.fstat(fd)
        forwarder = _forwarder(pipe)
        launcher = _launcher(forwarder) if forwarder else 0
        if not launcher or _marks(launcher, [os.fsencode(word) for word in arguments]):
            return None
        return _terminal_of(launcher)
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True, slots=True)
class _Status:
    """What /proc/PID/stat tells."""

    name: str
    state: str
    parent: int
    group: int
    foreground: int  # process group of its terminal

    @classmethod
    def of(cls, line: bytes) -> "_Status":
        name, _, rest = line.decode("utf-8", "replace").partition("(")[2].rpartition(")")
        words = rest.split()
        return cls(name, words[0], int(words[1]), int(words[2]), int(words[5]))


def _status(pid: int) -> _Status:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return _Status.of(file.read())


def _is_of_this_user(pid: int) -> bool:
    return os.stat(f"/proc/{pid}").st_uid == os.geteuid()


def _forwarder(pipe: os.stat_result) -> int:
    """Return the nearest ancestor that forwards, if the pipe ends in it; 0: what we write goes elsewhere."""
    if not stat.S_ISFIFO(pipe.st_mode):
        return 0
    pid = os.getppid()
    for _ in range(_MOST_ANCESTORS):
        if pid <= 1:
            return 0
        status = _status(pid)
        if status.name in _FORWARDERS or status.name.startswith("mpiexec"):
            return pid if _is_of_this_user(pid) and _holds(pid, pipe) else 0
        pid = status.parent
    return 0


def _holds(pid: int, pipe: os.stat_result) -> bool:
    """Return whether a process has the reading end of a pipe open."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            path = f"/proc/{pid}/fd/{name}"
            found = os.stat(path)
            if (found.st_dev, found.st_ino) == (pipe.st_dev, pipe.st_ino) and not os.lstat(path).st_mode & stat.S_IWUSR:
                return True
    return False


def _launcher(forwarder: int) -> int:
    """Return the launcher that a forwarder belongs to; 0: it is not among its ancestors, so on another machine."""
    pid = forwarder
    for _ in range(_MOST_ANCESTORS):
        status = _status(pid)
        if status.name in _LAUNCHERS:
            return pid if _is_of_this_user(pid) else 0
        if status.name not in _FORWARDERS:
            return 0
        pid = status.parent
    return 0


def _marks(launcher: int, arguments: list[bytes]) -> bool:
    """Return whether a launcher may mark, divert or gather what ranks write."""
    words = _words(launcher, "cmdline")
    if arguments and words[-len(arguments) :] == arguments:
        words = words[: -len(arguments)]
    shown = [os.fsdecode(word).lower() for word in words[1:]]
    if any(word == "-l" or (word.startswith("-") and any(mark in word for mark in _MARKING[1:])) for word in shown):
        return True
    # `--output tag`, `--mca tag_output 1`, `PRTE_MCA_...=1`
    variables = [os.fsdecode(word).lower() for word in _words(launcher, "environ")]
    names = [name for name, is_set, _ in (word.partition("=") for word in variables) if is_set]
    mca = [name for name in (*names, *shown) if name.startswith(("prte_mca", "pmix_mca", "ompi_mca")) or name in shown]
    return any(mark in name for name in mca for mark in _MARKING_VARIABLES)


def _words(pid: int, name: str) -> list[bytes]:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read().removesuffix(b"\0").split(b"\0")


def _terminal_of(launcher: int) -> Terminal | None:
    """Return the terminal that a launcher's standard error is, opened without waiting."""
    path = f"/proc/{launcher}/fd/2"
    if not stat.S_ISCHR(os.stat(path).st_mode):
        return None
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not os.isatty(fd):
        os.close(fd)
        return None
    return Terminal(fd, os.open(f"/proc/{launcher}/stat", os.O_RDONLY | os.O_CLOEXEC))
