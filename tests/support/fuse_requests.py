"""A counter of the kernel's requests to the server of a FUSE mount, by kind: a remote file system is slow at these.

    with Counter(mountpoint) as counter:
        ...
    counter.requests    # {"LOOKUP": 12, ...}

The kernel traces every request that it sends (event fuse_request_send, Linux 6.10) to any server. Needs root.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter as Counts
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

_EVENT = "events/fuse/fuse_request_send"
_KINDS = re.compile(r"\{(\d+), \"FUSE_(\w+)\"\}")
_SENT = re.compile(rb"opcode (\d+) ")
_BUFFER_KIB = 65536  # for each CPU: a million requests
_LOST = re.compile(r"^overrun: (\d+)$", re.MULTILINE)
# Sent without waiting for an answer: they take no caller's time.
ASIDE = frozenset({"FORGET", "BATCH_FORGET", "RELEASE", "RELEASEDIR", "INTERRUPT"})


def unavailable() -> str | None:
    """The reason why requests cannot be counted here; None if they can."""
    if os.geteuid() != 0:
        return "needs root, to see what the kernel asks"
    try:
        with ExitStack() as stack:
            found = (_traced(stack) / _EVENT).is_dir()
    except OSError as error:
        return f"the kernel cannot be traced: {error}"
    return None if found else "the kernel does not tell of FUSE requests (Linux 6.10 does)"


def _traced(stack: ExitStack) -> Path:
    """Return a tracefs of our own, unmounted by the stack. Raises OSError."""
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-tracing-"))
    stack.callback(place.rmdir)
    done = subprocess.run(["mount", "-t", "tracefs", "none", place], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())
    stack.callback(lambda: subprocess.run(["umount", "-l", place], check=True))
    return place


class Counter:
    """The requests of one mount during a `with` block. requests: their number by kind."""

    def __init__(self, mountpoint: Path) -> None:
        self._connection = os.minor(mountpoint.stat().st_dev)
        self._stack = ExitStack()
        self.requests: Counts[str] = Counts()

    def __enter__(self) -> Counter:
        with ExitStack() as stack:
            # An instance has a buffer of its own; other users' tracing is not changed.
            self._instance = _traced(stack) / "instances" / f"hpcp-mpi-{os.getpid()}"
            self._instance.mkdir()
            stack.callback(self._instance.rmdir)
            self._write("buffer_size_kb", str(_BUFFER_KIB))
            self._write(f"{_EVENT}/filter", f"connection == {self._connection}")
            self._write(f"{_EVENT}/enable", "1")
            stack.callback(self._write, f"{_EVENT}/enable", "0")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._write(f"{_EVENT}/enable", "0")
            if error is None:
                self._count()

    def _write(self, name: str, text: str) -> None:
        (self._instance / name).write_text(text)

    def _count(self) -> None:
        told = (self._instance / f"{_EVENT}/format").read_text()
        names = {int(number): name for number, name in _KINDS.findall(told)}
        lost = [_LOST.search(each.read_text()) for each in self._instance.glob("per_cpu/cpu*/stats")]
        assert not any(found and int(found[1]) for found in lost), "more requests than the buffer holds"
        with open(self._instance / "trace", "rb") as lines:
            for line in lines:
                found = _SENT.search(line)
                if found is not None:
                    self.requests[names.get(int(found[1]), f"opcode {int(found[1])}")] += 1
