"""Arguments of the command line as paths: patterns, absolute paths, roots."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.job import Root
from hpcp_mpi.vocab.paths import printable


def expanded(pattern: bytes) -> list[bytes]:
    """Return what a source argument stands for: itself, or the matches of a pattern that is no entry's name."""
    if os.path.lexists(pattern) or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise FatalError(f"no source matches {printable(pattern)}")
    return found


def absolute(path: bytes) -> bytes:
    """Return an absolute path without `.` and doubled slashes; `..` is resolved as the kernel would."""
    if b".." in path.split(b"/"):
        return os.path.realpath(path)
    if not path.startswith(b"/"):  # else the working directory may have been removed
        path = os.path.join(os.getcwdb(), path)
    return os.path.normpath(path).replace(b"//", b"/")


@contextmanager
def removed_if_refused(*paths: bytes) -> Iterator[None]:
    """Remove the directories that are made on the way to paths, absolute ones, if an exception ends the block."""
    missing: list[bytes] = []
    for path in paths:
        while path and not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
    try:
        yield
    except BaseException:
        for directory in sorted(missing, key=len, reverse=True):  # the innermost first
            with suppress(OSError):
                os.rmdir(directory)
        raise


def root_of(path: bytes) -> Root:
    """Return path as ranks will know it. Raises OSError."""
    status = os.stat(path)
    return Root(path, status.st_ino, status.st_mtime_ns)
