"""Questions before something is removed or overwritten, asked on rank 0's terminal."""

import os
import select
import sys
import termios
from collections.abc import Callable

from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import in_one_line

_POLL = 0.1  # seconds between checks for a signal


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


class Asker:
    """The asker of questions at the terminal; with --remove_force it asks none."""

    def __init__(self, force: bool, stop: StopRequest, clear: Callable[[], None]) -> None:
        """force: every answer is yes, and nothing is asked. clear: removes the progress bar from the terminal."""
        self._force = force
        self._stop = stop
        self._clear = clear
        self.declined = False  # an answer was no

    def expect(self) -> None:
        """Raise UsageError, which names the flag for no questions, where there is no terminal to answer one."""
        # mpiexec and srun pass standard input on to rank 0, but through a pipe.
        if not self._force and not _has_terminal():
            raise UsageError(
                "a removal needs confirmation, and there is no terminal to ask on",
                "Add -rf to remove without confirmation; preview with -n first.",
            )

    def confirm(self, question: str) -> bool:
        """Ask a question; return whether the answer is yes. Empty and end of file mean no.

        Raises UsageError where there is no terminal, StoppedEarly when a signal comes.
        """
        if self._force:
            return True
        self.expect()
        return self._ask(question)

    def confirm_doubt(self, question: str) -> bool | None:
        """Ask also with --remove_force; return None where there is no terminal. Raises StoppedEarly."""
        return self._ask(question) if _has_terminal() else None

    def expect_name(self, message: str, remedy: str) -> None:
        """Raise UsageError with that where there is no terminal, also with --remove_force."""
        if not _has_terminal():
            raise UsageError(message, remedy)

    def confirm_named(self, question: str, name: str) -> bool | None:
        """Ask for a name to be typed, also with --remove_force; return whether it was, None if there is no terminal.

        Raises StoppedEarly when a signal comes.
        """
        if not _has_terminal():
            return None
        return self._agreed(
            f"{in_one_line(question)} Type {in_one_line(name)} to go on: ", lambda typed: typed == name.encode()
        )

    def _ask(self, question: str) -> bool:
        return self._agreed(f"{in_one_line(question)} [y/N] ", lambda typed: typed.lower() in (b"y", b"yes"))

    def _agreed(self, question: str, means_yes: Callable[[bytes], bool]) -> bool:
        self._clear()
        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # text typed before the question is no answer to it
        print(question, end="", file=sys.stderr, flush=True)
        agreed = means_yes(self._line().strip())
        self.declined = self.declined or not agreed
        return agreed

    def _line(self) -> bytes:
        """Return the typed line; b"" at end of file. Raises StoppedEarly."""
        # readline() would continue after a signal, until the user presses Enter.
        while not select.select([sys.stdin], [], [], _POLL)[0]:
            if self._stop.code:
                print(file=sys.stderr)
                raise StoppedEarly(self._stop.code, self._stop.name)
        try:
            line = os.read(sys.stdin.fileno(), 4096)
        except OSError:
            return b""  # the terminal is gone
        if not line.endswith(b"\n"):
            print(file=sys.stderr)  # Ctrl-D: the cursor is still behind the question
        return line
