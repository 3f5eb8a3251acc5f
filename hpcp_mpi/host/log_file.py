"""Log files, which are appended to: by several runs, one after the other or at the same time, in whole lines."""

import os
import stat

from hpcp_mpi.host import safe_file
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class LogFile:
    """An open log file."""

    def __init__(self, path: bytes) -> None:
        """Open or make it. Raises FatalError where that fails, or another user would choose what is written to."""
        self.path = path
        try:
            self._fd = _opened(path)
        except OSError as error:
            raise FatalError(_cannot(path, reason_of(error)), "Nothing was done.") from None
        self._torn = False  # the last line was written in part

    def write(self, lines: str) -> None:
        """Append lines. Raises OSError; what comes later is tried anew."""
        data = lines.encode("utf-8", "backslashreplace")
        left = b"\n" + data if self._torn else data
        while left:
            # In one piece, or two runs that share the file mix their lines.
            left = left[os.write(self._fd, left) :]
            self._torn = bool(left)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _opened(path: bytes) -> int:
    place = safe_file.find(path)
    try:
        safe_file.refuse_strange_links(place, f"the log file {printable(path)}")
        status = place.status
        if status is None:
            return os.open(place.name, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=place.directory)
        if place.descriptor >= 0 or not stat.S_ISREG(status.st_mode):
            raise FatalError(_cannot(path, "it is not a regular file"), "Name one, or a new one.")
        # Where others make names, one may have been given to a file that is to be spoilt, or to one that they read.
        if place.writable and (status.st_nlink > 1 or not safe_file.is_trusted_owner(status.st_uid)):
            what = "has other names" if status.st_nlink > 1 else f"belongs to another user (uid {status.st_uid})"
            raise FatalError(
                _cannot(path, f"it is in a directory that {place.writable}, and {what}"), "Name a file elsewhere."
            )
        return place.reopened(_FLAGS)
    finally:
        place.close()


def _cannot(path: bytes, why: str) -> str:
    return f"cannot write to the log file {printable(path)}: {why}"
