"""Arguments of the command line as paths: patterns, absolute paths, roots."""

import errno
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from hpcp_mpi.host.roots import PATH, Pin, most_pins, pin_of, root_at, seen
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


class Openings:
    """The directories that a command names, each opened once by its path: what is checked then is what is used.

    made: what was made on the way, as (the directory that it is in, its name)
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Root] = {}
        self._nearest: dict[bytes, tuple[Pin, list[bytes]]] = {}
        self._most = most_pins()
        self._kept = 0
        self.made: list[tuple[Pin, bytes]] = []

    def open(self, path: bytes, itself: bool = False) -> Root:
        """Return the directory at an absolute path. itself: its last component is no symlink. Raises OSError."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self.keep(root_at(path, itself))
        return found

    def keep(self, root: Root) -> Root:
        """Return a root that stays open, if not too many do; else one that is opened again, and compared."""
        self._kept += 1
        return root if self._kept <= self._most else replace(root, held=False, pin=None)

    def nearest(self, path: bytes) -> tuple[Pin, list[bytes]]:
        """Return the last directory of an absolute path that is there, and the names that are missing below it.

        Asked again it says the same. Raises OSError; NotADirectoryError where something else is in the way.
        """
        wanted, missing = path, list[bytes]()
        while wanted not in self._nearest:
            try:
                self._nearest[wanted] = pin_of(self.open(path)), missing[::-1]
            except FileNotFoundError:
                if os.path.lexists(path):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            path, name = os.path.split(path)
            missing.append(name)
        return self._nearest[wanted]

    def make(self, path: bytes, mode: int = 0o777) -> Root:
        """Make the directory at an absolute path, and what is missing above it; return it. Raises OSError.

        mode: of the directory itself. No symlink is followed that is put where `nearest` found nothing.
        """
        at, missing = self.nearest(path)
        return self.make_below(at, path, missing, mode) if missing else self.open(path)

    def make_below(self, at: Pin, path: bytes, names: list[bytes], mode: int = 0o777) -> Root:
        """Make directories, each in the one before; return the last one. at: the first of them, path: of the last.

        mode: of the last. Raises OSError.
        """
        for number, name in enumerate(names, 1):
            with suppress(FileExistsError):  # another run makes it, too
                os.mkdir(name, mode if number == len(names) else 0o777, dir_fd=at.fd)
                self.made.append((at, name))
            at = Pin(os.open(name, PATH | os.O_NOFOLLOW, dir_fd=at.fd))
        found = self._known[path] = seen(path, os.dup(at.fd), itself=True)
        return found

    @contextmanager
    def undone_if_refused(self) -> Iterator[None]:
        """Remove the directories that were made if an exception ends the block."""
        try:
            yield
        except BaseException:
            for parent, name in reversed(self.made):
                with suppress(OSError):
                    os.rmdir(name, dir_fd=parent.fd)
            raise


def root_of(path: bytes) -> Root:
    """Open path, which is a directory; return what ranks will know it by. Raises OSError."""
    return root_at(path)
