"""Questions, asked on rank 0's terminal before something is removed."""

import os
import select
import sys
import termios
from collections.abc import Callable

from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.vocab.errors import UsageError

_POLL = 0.1  # seconds between looks whether a signal has come


class Asker:
    """Who is asked: the person at the terminal, or nobody, if everything is allowed beforehand."""

    def __init__(self, force: bool, stop: StopRequest, clear: Callable[[], None]) -> None:
        """force: every answer is yes, and nothing is asked. clear: takes away what else is drawn on the terminal."""
        self._force = force
        self._stop = stop
        self._clear = clear
        self.declined = False  # an answer was no

    def expect(self) -> None:
        """Raise UsageError where nobody could answer a question; it names the flag that makes it unnecessary."""
        # mpiexec and srun pass standard input on to rank 0, but through a pipe.
        if not self._force and not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "a removal needs confirmation, and there is no terminal to ask on",
                "Add -rf to remove without confirmation; preview with -n first.",
            )

    def confirm(self, question: str) -> bool:
        """Ask; tell whether the answer is yes. Empty and end of file mean no.

        Raises UsageError where nobody can answer, StoppedEarly when a signal comes.
        """
        if self._force:
            return True
        self.expect()
        self._clear()
        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before the question is no answer to it
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        agreed = self._line().strip().lower() in (b"y", b"yes")
        self.declined = self.declined or not agreed
        return agreed

    def _line(self) -> bytes:
        """Return the line that is typed; it is empty at the end of the file."""
        # readline() would go on after a signal, until somebody presses Enter.
        while not select.select([sys.stdin], [], [], _POLL)[0]:
            if self._stop.code:
                print(file=sys.stderr)
                raise StoppedEarly(self._stop.code, self._stop.name)
        line = os.read(sys.stdin.fileno(), 4096)
        if not line.endswith(b"\n"):
            print(file=sys.stderr)  # Ctrl-D: the cursor is still behind the question
        return line
