"""Run one command and time it: the process, nothing else."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.bench import procs
from tests.bench.contestants import Command
from tests.support import processes

TAIL_LINES, TAIL_CHARACTERS = 12, 2000
# Seconds between two looks at what runs: few enough to cost a hundredth of a core.
LOOK_EVERY = 0.02
# Is given the process and the seconds since its start.
Look = Callable[[int, float], None]


@dataclass(frozen=True)
class Outcome:
    """
    seconds: wall time
    cpu:     user and system seconds, of its children too
    foreign: CPU seconds that the rest of the machine has used meanwhile
    failure: None if it ended with 0
    stderr:  the end of it
    """

    seconds: float
    cpu: float
    foreign: float
    failure: str | None
    stderr: str


def timed(
    command: Command,
    timeout: float,
    *,
    stdout: Path | None = None,
    look: Look | None = None,
    servers: Sequence[int] = (),
) -> Outcome:
    """Run it to its end. After timeout seconds it is killed; nothing it started is alive afterwards.

    stdout:  a file for its output, which is thrown away otherwise
    look:    called again and again while it runs
    servers: processes whose CPU time is not foreign
    """
    tag = processes.new_tag()
    env = {**command.env, processes.TAG: tag}
    with tempfile.TemporaryFile() as err, open(stdout or os.devnull, "wb") as out:
        others = procs.others_seconds(servers)
        began = time.perf_counter()
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            start_new_session=True,
        )
        try:
            in_time = _wait_for_end(process.pid, began, timeout, look)
            seconds = time.perf_counter() - began
            others = procs.others_seconds(servers) - others
            if not in_time:
                return Outcome(seconds, 0.0, 0.0, f"not done after {timeout:g} s", _tail(err))
            return _ended(process, seconds, others, err)
        finally:
            if process.returncode is None:
                _kill(procs.descendants(process.pid))
            process.kill()  # no-op once reaped
            process.wait()
            processes.kill_all(tag)


def _wait_for_end(pid: int, began: float, timeout: float, look: Look | None) -> bool:
    # Popen.wait(timeout) sleeps up to 50 ms between its looks: an age for `cp` of one file.
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while True:
            passed = time.perf_counter() - began
            if look is not None:
                look(pid, passed)
            left = max(0.0, timeout - passed)
            if poll.poll(1000 * (left if look is None else min(left, LOOK_EVERY))):
                return True
            if left <= 0 or look is None:
                return False
    finally:
        os.close(fd)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _ended(process: subprocess.Popen[bytes], seconds: float, others: float, err: IO[bytes]) -> Outcome:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    failure = f"exit status {process.returncode}" if process.returncode else None
    cpu = usage.ru_utime + usage.ru_stime
    # Ticks are coarse: over a short run the sum may seem less than its part.
    return Outcome(seconds, cpu, max(0.0, others - cpu), failure, _tail(err))


def _tail(file: IO[bytes]) -> str:
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - TAIL_CHARACTERS)
    text = os.pread(file.fileno(), size - start, start).decode("utf-8", "backslashreplace")
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
