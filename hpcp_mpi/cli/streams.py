"""The standard streams of this process, on every rank: writing to them never raises.

They may be closed, full, a pipe that nobody reads, a terminal that is gone, or of an encoding that lacks a name's
letters. None of that is a reason to end a run that copies well; what was lost is known at the end.
"""

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Protocol, TextIO, cast

from hpcp_mpi.vocab.errors import EXIT_UNSHOWN, unshown

_BLOCK = 64 * 1024  # bytes that are held back before they are written


class Way(Protocol):
    """A way to write that does not wait: see cli/unblocked.py."""

    @property
    def behind(self) -> bool:
        """Whether something was not taken yet."""

    def write(self, data: bytes) -> int: ...

    def drain(self) -> None:
        """Wait until all is taken."""


def install() -> None:
    """Replace sys.stdin, stdout and stderr, and put something in the place of descriptors that are closed."""
    _fill_descriptors()
    out, err = sys.stdout, sys.stderr
    if sys.stdin is None:  # it was closed
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = cast(TextIO, Shown(1, _encoding(out), by_line=_is_terminal(1)))
    # A log of hours goes on when the disk has room again. A list must not: it would have a hole.
    sys.stderr = cast(TextIO, Shown(2, _encoding(err), by_line=True, tries_again=True))


def settle(code: int) -> int:
    """Write what is held back; return the exit code of a run that ends with code. Says what was lost, if it can."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a stream of somebody else's
        if isinstance(cast(object, stream), Shown):
            cast(Shown, stream).drain()
    shown: object = sys.stdout
    if not isinstance(shown, Shown) or shown.error is None:
        return code
    left = code or EXIT_UNSHOWN
    if not (shown.only_prints and shown.error.errno == errno.EPIPE):
        sys.stderr.write(f"hpcp-mpi: {unshown(shown.error)} (exit code {left})\n")
    return left


def only_prints() -> None:
    """Say nothing at the end of a pipe that is closed: who runs `hpcp-mpi -h | head` has seen enough."""
    shown: object = sys.stdout
    if isinstance(shown, Shown):
        shown.only_prints = True


class Shown(io.TextIOBase):
    """A text stream over a descriptor that never raises. After an error nothing more is written, or each time anew."""

    def __init__(
        self,
        fd: int,
        encoding: str,
        by_line: bool,
        tries_again: bool = False,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """by_line: nothing is held back beyond the end of a line. write: os.write, or a test's"""
        self.error: OSError | None = None  # the first one
        self.only_prints = False  # the command does nothing else
        self._fd = fd
        self._encoding = encoding
        # What the encoding lacks is escaped. Not for each piece anew: UTF-16 begins with a mark.
        self._encoder = codecs.getincrementalencoder(encoding)("backslashreplace")
        self._by_line = by_line
        self._tries_again = tries_again
        self._write = write
        self._held = bytearray()
        self._torn = False  # part of a line was written
        self._way: Way | None = None  # instead of write(fd)
        self._ways: list[Way] = []  # all that were taken

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return _is_terminal(self._fd)

    def take(self, way: Way) -> None:
        """Write by another way from now on, wherever that leads."""
        self.flush()
        self._way = way
        self._ways.append(way)

    @property
    def behind(self) -> bool:
        """Whether something was not taken yet, so that what follows has to wait."""
        return self._way is not None and self._way.behind

    def drain(self) -> None:
        """Wait until all that was written is taken."""
        for way in self._ways:
            way.drain()

    def write(self, text: str) -> int:
        if self.error is None or self._tries_again:
            self._held += self._encoder.encode(text)
            if len(self._held) >= _BLOCK or (self._by_line and "\n" in text):
                self.flush()
        return len(text)

    def flush(self) -> None:
        data, self._held = bytes(self._held), bytearray()
        if self.error is not None and not self._tries_again:
            return
        if data and self._torn:
            data = b"\n" + data
        at = 0
        try:
            while at < len(data):
                try:
                    at += self._way.write(data[at:]) if self._way else self._write(self._fd, data[at:])
                except BlockingIOError:  # another program has made the pipe or the terminal non-blocking
                    select.select([], [self._fd], [])
        except (OSError, ValueError) as error:
            self._torn = at > 0 or self._torn
            self.error = self.error or (error if isinstance(error, OSError) else OSError(errno.EBADF, str(error)))
        else:
            self._torn = self._torn and not data


def _fill_descriptors() -> None:
    """Open something in the place of each standard descriptor that is closed.

    Else the next file that is opened has its number, and gets what is printed: a copy that is being written. What is
    opened can only be used the wrong way round, so that reading and writing fail as if it was still closed.
    """
    for fd, way in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open("/dev/null", way)  # the lowest number that is free
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)  # a program that is started must not have it closed either


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _encoding(stream: TextIO | None) -> str:
    """Return the encoding that Python chose for a stream, from the locale and PYTHONIOENCODING."""
    try:
        return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name
    except LookupError:
        return "utf-8"
