"""Output files: reports, lists, tables. They get their names when they are complete, or not at all.

The place is looked at once, before the work, and held open: what is renamed or linked there meanwhile changes nothing.
"""

import errno
import fcntl
import os
import select
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from hpcp_mpi.host import safe_file
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.safe_file import Place
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import STAGE_PREFIX, printable

_POLL = 0.1  # seconds between looks whether the run is to end
_AT_ONCE = select.PIPE_BUF  # bytes that a pipe takes without waiting, when it says that it takes some

Stop = Callable[[], bool]


def never() -> bool:
    """Return False: the run goes on."""
    return False


@dataclass(slots=True)
class Output:
    """The place of an output file.

    in_place: it is a terminal, a pipe, an open file of this process (/dev/fd/3): written to as it is, not replaced
    """

    given: bytes
    in_place: bool
    _place: Place
    _fd: int = -1  # of an open file of this process

    @property
    def path(self) -> bytes:
        """The absolute path without symlinks."""
        return self._place.path

    @property
    def directory(self) -> bytes | None:
        """The directory that the file is made in; None where none is."""
        return None if self.in_place else os.path.dirname(self._place.path) or b"/"

    @property
    def is_open(self) -> bool:
        """Whether it is an open file of this process."""
        return self._fd >= 0

    @property
    def is_standard(self) -> bool:
        """Whether it is standard input, output or error."""
        return 0 <= self._place.descriptor <= 2

    @property
    def regular(self) -> bool:
        """Whether it is, or will be, a regular file."""
        return self._place.status is None or stat.S_ISREG(self._place.status.st_mode)

    @property
    def inode(self) -> int | None:
        """The inode that has the name now, None if nothing has."""
        return None if self._place.status is None else self._place.status.st_ino

    def close(self) -> None:
        """Let go of the descriptors."""
        self._place.close()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def remove(self) -> None:
        """Remove a regular file of ours that has the name, in the directory that was looked at. Raises OSError."""
        found = os.stat(self._place.name, dir_fd=self._place.directory, follow_symlinks=False)
        if not self.in_place and stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            os.unlink(self._place.name, dir_fd=self._place.directory)

    @contextmanager
    def opened(self, stopped: Stop = never) -> Iterator[IO[bytes]]:
        """Yield a file, to be written in one `with` block. Raises OSError; Stopped while it waits for a reader."""
        if not self.in_place:
            with self._replacement() as file:
                yield file
            return
        fd = os.dup(self._fd) if self._fd >= 0 else self._special(stopped)
        with _Waiting(fd, stopped) as file:
            yield file

    def _special(self, stopped: Stop) -> int:
        """Return a descriptor of a device or a FIFO, when that has a reader."""
        while True:
            try:
                return self._place.reopened(os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.fstat(self._place.entry).st_mode):
                    raise
            if stopped():
                raise Stopped
            time.sleep(_POLL)

    @contextmanager
    def _replacement(self) -> Iterator[IO[bytes]]:
        """Yield a new file that gets the name at the end, with the mode of one of ours that it replaces."""
        place = self._place
        beside = STAGE_PREFIX + os.urandom(8).hex().encode() + b".new"  # a name that lists and copies leave out
        fd = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=place.directory
        )
        own = os.fstat(fd)
        try:
            with os.fdopen(fd, "wb") as file:
                with suppress(OSError):
                    old = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
                    if stat.S_ISREG(old.st_mode) and safe_file.is_trusted_owner(old.st_uid):
                        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)
                yield file
            now = os.stat(beside, dir_fd=place.directory, follow_symlinks=False)
            if (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino):
                raise OSError(errno.ESTALE, "another user exchanged it while it was written")
            os.replace(beside, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=place.directory)
            raise


class _Waiting:
    """A file that is written to in place. It may not take anything for long, and then a signal ends that."""

    def __init__(self, fd: int, stopped: Stop) -> None:
        self._fd = fd
        self._stopped = stopped
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)

    def __enter__(self) -> "IO[bytes]":
        return self  # type: ignore[return-value]

    def __exit__(self, *unused: object) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def write(self, data: bytes) -> int:
        """Write all of data. Raises OSError, Stopped."""
        write_all(self._fd, data, self._stopped, self._regular)
        return len(data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Write all lines."""
        for line in lines:
            self.write(line)


def write_all(fd: int, data: bytes, stopped: Stop, regular: bool = False) -> None:
    """Write all of data to a descriptor that may be a pipe. Raises OSError; Stopped if a signal came meanwhile."""
    left = memoryview(data)
    while left:
        if regular:
            left = left[os.write(fd, left) :]
            continue
        # A write that waits is begun again by Python when a signal comes, so none that waits is made.
        if _takes_some(fd):
            with suppress(BlockingIOError):
                left = left[os.write(fd, left[:_AT_ONCE]) :]
        elif stopped():
            raise Stopped


def _takes_some(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(_POLL * 1000))


def output_at(path: bytes, called: str) -> Output:
    """Return the place of an output file. called: as in messages, such as "the list".

    Raises FatalError where another user would choose what is written to; OSError.
    """
    place = safe_file.find(path)
    try:
        if place.descriptor >= 0:
            fd = os.dup(place.descriptor)
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                os.close(fd)
                raise OSError(errno.EBADF, "it is not open for writing")
            return Output(path, True, place, fd)
        safe_file.refuse_strange_links(place, f"{called} {printable(path)}")
        status = place.status
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        special = status is not None and not stat.S_ISREG(status.st_mode)
        if special and status is not None and not safe_file.is_trusted_owner(status.st_uid):
            raise FatalError(
                f"{called} {printable(path)} would go to a device or a pipe of another user (uid {status.st_uid})",
                "Name another file.",
            )
        return Output(path, special, place)
    except BaseException:
        place.close()
        raise


@contextmanager
def output_file(path: bytes) -> Iterator[IO[bytes]]:
    """Yield a new file that is renamed to path when the `with` block ends without an error. Raises OSError, FatalError.

    It is made beside its place, under a name that lists and copies leave out. It gets the mode of a file it replaces.
    """
    output = output_at(path, "the file")
    try:
        with output.opened() as file:
            yield file
    finally:
        output.close()
