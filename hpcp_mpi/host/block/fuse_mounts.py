"""Squashfs images that squashfuse shows to a user who is not root, below a private directory.

These mounts are in the namespace of everybody, as making one of one's own needs root; but only this user sees what is
in them, and squashfuse ends, with its mount, when this process does.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress

from hpcp_mpi.host.block.tools import ending_with_us
from hpcp_mpi.host.commands import Stopped, answer_of
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable

_PREFIX = "hpcp-mpi.squashfuse."
_PATIENCE = 20.0  # seconds for a mount to appear or to go
_LOOK = 0.01
_YOUNG = 10.0  # seconds: another run may not have locked its new one yet


class FuseMounts:
    """The mounts of a run, called 00 to 99 in one directory of ours. Used as a context manager."""

    def __init__(self) -> None:
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise FatalError(
                "a squashfs can only be unpacked here, not looked into: /dev/fuse cannot be opened",
                "Copy all of it to a directory that is not there yet: hpcp-mpi -si IMG -d NEW; or run as root.",
            )
        try:
            _remove_leftovers()
            self.path = os.fsencode(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = _locked(self.path)
        except OSError as error:
            raise FatalError(
                f"cannot make a directory for mounts: {reason_of(error)}", "Set TMPDIR to a directory with room."
            ) from None
        self._served: list[_Served] = []

    def __enter__(self) -> "FuseMounts":
        return self

    def __exit__(self, *_: object) -> None:
        for served in reversed(self._served):
            served.end()
            with suppress(OSError):
                os.rmdir(served.place)
        with suppress(OSError):
            os.rmdir(self.path)
        os.close(self._lock)

    def mount(self, fd: int, called: bytes) -> bytes:
        """Mount an open image; return where. called: its name, for messages. Raises FatalError."""
        place = self.path + b"/%02d" % len(self._served)
        os.mkdir(place, 0o700)
        served = _Served(fd, place)
        self._served.append(served)
        if not served.is_there():
            raise FatalError(f"squashfuse cannot mount {printable(called)}: {served.says()}")
        return place


def _locked(path: bytes) -> int:
    """Return a descriptor of a directory that is locked as long as that is open. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_leftovers() -> None:
    """Remove the directories of this user's killed runs: those that nobody has locked. What is mounted stays."""
    parent = os.fsencode(tempfile.gettempdir())
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if not name.startswith(os.fsencode(_PREFIX)):
            continue
        with suppress(OSError):
            if os.lstat(path).st_uid != os.geteuid() or time.time() - os.lstat(path).st_ctime < _YOUNG:
                continue
            fd = _locked(path)
            try:
                for place in os.listdir(fd):
                    os.rmdir(place, dir_fd=fd)
                os.rmdir(path)
            finally:
                os.close(fd)


class _Served:
    """One squashfuse, which runs as long as its mount is used."""

    def __init__(self, fd: int, place: bytes) -> None:
        self.place = place
        self._fd = os.dup(fd)  # each descriptor of a program is its own
        self._ending = threading.Event()
        self._said = ""
        self._before = os.stat(place).st_dev
        self._thread = threading.Thread(target=self._serve, name="squashfuse", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Run squashfuse until it is to end; it is ended if this thread is killed with its process."""
        # squashfuse without _ll knows of no inodes, so hard links would be lost.
        words = [*ending_with_us("TERM"), "squashfuse_ll", "-f", "-o", "ro,nosuid,nodev"]
        try:
            answer = answer_of(
                [*words, f"/proc/self/fd/{self._fd}", self.place], descriptors=(self._fd,), stop=self._ending.is_set
            )
            self._said = printable(answer.errors.strip()) or f"it ended with exit code {answer.code}"
        except Stopped:
            pass
        except FatalError as error:
            self._said = error.message

    def is_there(self) -> bool:
        """Return whether the mount appears."""
        until = time.monotonic() + _PATIENCE
        while self._thread.is_alive() and time.monotonic() < until:
            if self._is_mounted():
                return True
            time.sleep(_LOOK)
        return False

    def _is_mounted(self) -> bool:
        try:
            return os.stat(self.place).st_dev != self._before
        except OSError:
            return False

    def says(self) -> str:
        return self._said or f"nothing appeared within {_PATIENCE:.0f} s"

    def end(self) -> None:
        """End squashfuse, which unmounts."""
        self._ending.set()
        self._thread.join()
        os.close(self._fd)
        until = time.monotonic() + _PATIENCE
        while not self._is_gone() and time.monotonic() < until:
            for program in ("fusermount3", "fusermount"):
                if shutil.which(program):
                    answer_of([program, "-u", self.place])
                    break
            time.sleep(_LOOK)

    def _is_gone(self) -> bool:
        with suppress(OSError):
            return os.stat(self.place).st_dev == self._before
        return False
