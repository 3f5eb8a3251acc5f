"""A real terminal, with a shell in it, whose screen a test sees as a person would: tmux.

with a_terminal(tmp_path, columns=100) as terminal:
    terminal.run(*command_line(["SRC", "DST"], flavour="mpich", n=4))
    terminal.wait_for("copying")
    terminal.resize(60)
    terminal.press("C-c")
    assert "copying" not in terminal.everything()
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import processes

ROWS = 20
_PROMPT = "ready$"
_NOT_PASSED = ("TMUX", "COLUMNS", "LINES")


class TmuxTerminal:
    """The terminal's other side."""

    def __init__(self, socket: str, place: Path, tag: str) -> None:
        self._start = ["tmux", "-S", socket, "-f", "/dev/null"]
        self._place, self._tag = place, tag

    def tmux(self, *words: str) -> str:
        return subprocess.run([*self._start, *words], capture_output=True, text=True, check=True, timeout=30).stdout

    def run(self, command: Sequence[bytes], environment: Mapping[str, str], **more: str) -> None:
        """Type a command into the shell. more: of its environment"""
        script = self._place / "run.sh"
        variables = {**environment, **more, processes.TAG: self._tag}
        words = [f"{name}={value}" for name, value in variables.items() if name not in (*_NOT_PASSED, "TERM")]
        words += [each.decode() for each in command]
        script.write_text(f"exec env {shlex.join(words)}\n")
        self.type(f" sh {script}")

    def type(self, line: str) -> None:
        self.tmux("send-keys", "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        self.tmux("send-keys", key)

    def resize(self, columns: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(ROWS))

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def everything(self) -> str:
        """The screen, and what can be scrolled back to."""
        return self.tmux("capture-pane", "-p", "-S", "-")

    def wait_for(self, pattern: str, timeout: float = 30) -> str:
        """Wait until the screen shows the pattern; return the screen."""
        deadline = time.monotonic() + timeout
        while not re.search(pattern, screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < deadline, f"no {pattern!r} in {timeout} s:\n{screen}"
            time.sleep(0.05)
        return screen

    def wait_for_prompt(self) -> None:
        """Wait until the shell is ready for a command."""
        self.wait_for(rf"^{re.escape(_PROMPT)} *\n*\Z")


@contextmanager
def a_terminal(place: Path, columns: int = 100) -> Iterator[TmuxTerminal]:
    """Start a shell in a terminal. All that was started is dead after the `with`."""
    tag = processes.new_tag()
    with tempfile.TemporaryDirectory(prefix="hm", dir="/tmp", ignore_cleanup_errors=True) as made:  # a short path
        terminal = TmuxTerminal(f"{made}/tmux", place, tag)
        # The screen is full of lines already, as a terminal is after some work.
        shell = ["env", f"{processes.TAG}={tag}", f"PS1={_PROMPT} ", "bash", "--norc", "--noprofile", "-i"]
        size = ["-x", str(columns), "-y", str(ROWS)]
        try:
            terminal.tmux("new-session", "-d", *size, shlex.join(shell))
            terminal.wait_for_prompt()
            terminal.type(f" printf '%{ROWS}s' | tr ' ' '\\n'")
            terminal.wait_for_prompt()
            yield terminal
        finally:
            processes.kill_all(tag)
            subprocess.run([*terminal._start, "kill-server"], capture_output=True)
