"""What can go wrong, and the exit code each ending has.

A `FatalError` ends the run. What goes wrong with one entry is a `Failure`: data in a result, never an
exception that crosses a room, so that one bad file does not stop the others.
"""

import errno
import os
from typing import NamedTuple

from hpcp_mpi.vocab.tally import NOTHING, Tally

EXIT_OK = 0
EXIT_FATAL = 1
EXIT_USAGE = 2
EXIT_DIFFERENT = 3
EXIT_PARTIAL = 23
EXIT_VANISHED = 24
EXIT_MAX_DELETE = 25
EXIT_UNSHOWN = 74
EXIT_RESUMABLE = 75
EXIT_INTERRUPTED = 130

EXIT_CODES = {
    EXIT_OK: "success",
    EXIT_FATAL: "fatal error: nothing was started, or the run could not continue",
    EXIT_USAGE: "usage error in the command line",
    EXIT_DIFFERENT: "differences found by a compare",
    EXIT_PARTIAL: "some entries failed; each is named with its reason",
    EXIT_VANISHED: "some sources vanished after they were listed; nothing else failed",
    EXIT_MAX_DELETE: "more entries to remove than --max-delete allows; none was removed",
    EXIT_UNSHOWN: "all was done, but standard output could not be written",
    EXIT_RESUMABLE: "stopped early by a signal; run the same command again to resume",
    EXIT_INTERRUPTED: "interrupted from the keyboard",
}


class FatalError(Exception):
    """Ends the run. `remedy` says what the reader can do about it."""

    exit_code = EXIT_FATAL

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(FatalError):
    """The command line asks for something that has no meaning, or that is never safe."""

    exit_code = EXIT_USAGE


class Unshown(FatalError):
    """What was to be written to standard output is lost."""

    exit_code = EXIT_UNSHOWN


def unshown(error: OSError) -> str:
    """Return the words for an error of standard output."""
    reason = "it is closed" if error.errno == errno.EBADF else reason_of(error)
    return f"standard output cannot be written ({reason}): what it was to show is lost"


class Failure(NamedTuple):
    """One entry that was not done."""

    path: bytes  # absolute path, of the source where there is one
    reason: str  # errno text or the words of the command that failed
    vanished: bool = False  # it was listed, and gone when its turn came
    attempted: Tally = NOTHING  # what was to be done with it, and below it, as far as that was counted as found


def reason_of(error: OSError) -> str:
    """Return what error says, without Python's decoration: the errno text, or a text of our own."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))


def failure_of(path: bytes, error: OSError, doing: str = "", attempted: Tally = NOTHING) -> Failure:
    """Return the Failure that error means for path. doing: what was tried, as "cannot list"."""
    reason = f"{doing}: {reason_of(error)}" if doing else reason_of(error)
    return Failure(path, reason, error.errno == errno.ENOENT, attempted)


VANISHED = "vanished after its directory was listed"
