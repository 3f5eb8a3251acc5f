"""Programs on a terminal of their own, which a test answers as a person would.

    with at_terminal(*command_line(["-rm", "tree"], flavour="plain")) as terminal:
        terminal.expect(r"\\[y/N\\] ")
        terminal.type("y\\n")
        done = terminal.finish()

Keys: CTRL_C interrupts, CTRL_D ends the input.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support import processes

CTRL_C = "\x03"
CTRL_D = "\x04"
_COLUMNS = 100


@dataclass(frozen=True)
class Ended:
    returncode: int
    screen: str  # everything that was written to the terminal, with the echo of what was typed

    def __str__(self) -> str:
        return f"exit {self.returncode}\n{self.screen}"


class Terminal:
    """The program's other side."""

    def __init__(self, process: subprocess.Popen[bytes], side: int) -> None:
        self._process, self._side = process, side
        self._screen = b""
        self._seen = 0  # bytes of the screen that expect() has gone past

    @property
    def screen(self) -> str:
        return self._screen.decode("utf-8", "replace")

    def expect(self, pattern: str, timeout: float = 10) -> re.Match[bytes]:
        """Wait until the pattern appears after the last match; return its match."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.compile(pattern.encode()).search(self._screen, self._seen)
            if match:
                self._seen = match.end()
                return match
            assert self._read(deadline), f"ended, or silent for too long, without {pattern!r}:\n{self.screen}"

    def type(self, keys: str) -> None:
        os.write(self._side, keys.encode())

    def finish(self, timeout: float = 30) -> Ended:
        """Wait until the program ends."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        assert time.monotonic() < deadline, f"still running after {timeout} s:\n{self.screen}"
        return Ended(self._process.wait(timeout), self.screen)

    def _read(self, deadline: float) -> bool:
        """Read until the deadline; return whether there was something."""
        if not select.select([self._side], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            read = os.read(self._side, 1 << 16)
        except OSError:  # EIO: no process has the terminal open any more
            return False
        self._screen += read
        return bool(read)


@contextmanager
def at_terminal(
    command: Sequence[bytes],
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator[Terminal]:
    """Start a command with a terminal as its standard input, output and error, and as the source of Ctrl-C.

    stdin, stderr: files instead of it. All that was started is dead after the `with`.
    """
    side, its_side = pty.openpty()
    fcntl.ioctl(its_side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, _COLUMNS, 0, 0))
    tag = processes.new_tag()
    with os.fdopen(its_side, "rb+", buffering=0) as tty:
        process = subprocess.Popen(
            command,
            stdin=tty if stdin is None else stdin,
            stdout=tty,
            stderr=tty if stderr is None else stderr,
            env={**environment, "TERM": "xterm", processes.TAG: tag},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_controlled_by(its_side),
        )
    try:
        yield Terminal(process, side)
    finally:
        processes.kill_all(tag)
        process.kill()
        process.wait()
        os.close(side)


def _controlled_by(tty: int) -> Callable[[], None]:
    """Return a function that makes the terminal that of the new session: its Ctrl-C becomes a signal."""

    def take() -> None:
        fcntl.ioctl(tty, termios.TIOCSCTTY, 0)

    return take
