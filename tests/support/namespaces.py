"""Namespaces for hosts and servers of the tests, and directories for their files; both are always removed.

A directory is locked as long as a process lives that needs it. The next run removes those that are not locked, with
all that is mounted below them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# All processes in there end with this one, which its parent can kill.
UNSHARE = ("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_NAMESPACES = ("mount=mnt", "net=net", "uts=uts", "ipc=ipc", "pid=pid_for_children")


def enter(pid: str) -> list[str]:
    """The nsenter command into the namespaces of an unshare's child: the process namespace is only the child's."""
    return ["nsenter", *(f"--{name}=/proc/{pid}/ns/{file}" for name, file in (n.split("=") for n in _NAMESPACES)), "--"]


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Hold the lock of a directory that is needed; a process that inherits the descriptor holds it further."""
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def remove(directory: Path) -> None:
    """Remove a directory, the lock last: if this is killed meanwhile, the next run finds the rest."""
    unmount(directory)
    for entry in directory.iterdir() if directory.exists() else ():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != "lock":
            entry.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def unmount(directory: Path) -> None:
    """Unmount all that is mounted below a directory, also what is in use or whose server is dead."""
    for mountpoint in reversed(mounts(directory)):
        subprocess.run(["umount", "--lazy", mountpoint], stdin=subprocess.DEVNULL, capture_output=True)


def mounts(directory: Path) -> list[str]:
    """The mountpoints below a directory, oldest first."""
    places = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    plain = (re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place) for place in places)
    return [place for place in plain if place.startswith(f"{directory}/")]


def sweep(parent: Path, prefix: str) -> None:
    """Remove directories that no process needs. One without a lock is only just being made."""
    for lock in parent.glob(f"{prefix}*/lock"):
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(lock.parent)
        except BlockingIOError:
            pass  # it lives
        finally:
            os.close(fd)


def end(keeper: subprocess.Popen[str], patience: float) -> None:
    """End a process that ends when its input does, and all that depends on it. patience: seconds; then it is killed."""
    assert keeper.stdin is not None and keeper.stdout is not None
    try:
        keeper.stdin.close()
    except BrokenPipeError:
        pass
    try:
        keeper.wait(patience)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    keeper.stdout.close()
