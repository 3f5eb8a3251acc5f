"""Removing entries so that nothing else is removed: each is taken out of its directory, looked at again, and then goes.

Between the last look at a name and its unlink somebody may give the name to another entry. A rename into a private
directory takes whatever has the name; there nobody can exchange it any more. What is not what was looked at goes back.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.host.entries import lstat, rename_if_free
from hpcp_mpi.host.mounts import invents_inodes, type_of
from hpcp_mpi.host.stage import set_aside
from hpcp_mpi.operations.remove.empty_directory import Kept
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path, join, printable

CHANGED = "changed during the move, or just before; kept"
_ROOT = b""
_NOWHERE = b"/"  # no private directory can be made


class TakenOut:
    """Removes entries of a source that are still what they were at the last look. A remove.Disposer.

    with TakenOut(context, source, outcome, lambda: guard.seen) as disposer: ...
    """

    def __init__(
        self, context: JobContext, source: int, outcome: Outcome, seen: Callable[[], os.stat_result | None]
    ) -> None:
        """seen: returns what the last look at an entry, right before unlink() is called, said of it."""
        self._context = context
        self._source = source
        self._root = context.job.sources[source].path
        self._outcome = outcome
        self._seen = seen
        self._stack = ExitStack()
        self._aside = -1
        self._place: bytes | None = None  # where the private directory is; None: nowhere yet
        self._beside = False  # it has to be in the directory of each entry
        self._number = 0
        self._by_number = True

    def __enter__(self) -> "TakenOut":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def unlink(self, directory: int, path: bytes, name: bytes) -> None:
        expected = self._seen()
        if expected is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # what came since was not looked at
        if stat.S_ISDIR(expected.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not self._prepared(directory, path):
            self._look(lstat(name, directory), expected, join(path, name))
            os.unlink(name, dir_fd=directory)
            return
        self._number += 1
        number = b"%d" % self._number
        try:
            os.rename(name, number, src_dir_fd=directory, dst_dir_fd=self._aside)
        except OSError as error:
            if error.errno == errno.EXDEV and self._place != path:
                self._beside = True
                self.unlink(directory, path, name)
                return
            if error.errno == errno.EXDEV:
                self._place = _NOWHERE
                self.unlink(directory, path, name)
                return
            if lstat(number, self._aside) is None:
                raise
            # It was renamed, and only the answer was lost.
        found = lstat(number, self._aside)
        if not self._is_same(found, expected):
            self._put_back(number, directory, path, name)
        try:
            os.unlink(number, dir_fd=self._aside)
        except OSError:
            self._put_back(number, directory, path, name, failed=True)
            raise

    def rmdir(self, directory: int, path: bytes, name: bytes) -> None:
        os.rmdir(name, dir_fd=directory)

    def _prepared(self, directory: int, path: bytes) -> bool:
        """Have a private directory; return whether there is one."""
        place = path if self._beside else _ROOT
        if self._place in (place, _NOWHERE):
            return self._place != _NOWHERE
        self._stack.close()
        try:
            with ExitStack() as stack:
                if place == path:
                    parent = os.dup(directory)
                    stack.callback(os.close, parent)
                else:
                    parent = stack.enter_context(self._context.source_tree(self._source).handle(_ROOT))
                if type_of(path_of(parent)) == "overlay":
                    raise OSError(errno.EXDEV, "a rename would copy the whole file")
                self._by_number = not invents_inodes(path_of(parent))
                where = child_path(self._root, place)
                self._aside = stack.enter_context(
                    set_aside(
                        parent,
                        self._context.run_id,
                        lambda name, note: self._outcome.warn(child_path(where, name), note),
                    )
                )
                self._stack = stack.pop_all()
        except OSError:
            place = _NOWHERE  # a full file system, say
        self._place = place
        return place != _NOWHERE

    def _is_same(self, found: os.stat_result | None, expected: os.stat_result) -> bool:
        """Return whether a look shows what the one before showed. Change times differ: a rename changes them."""
        if found is None or stat.S_IFMT(found.st_mode) != stat.S_IFMT(expected.st_mode):
            return False
        if self._by_number and (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
            return False
        return (found.st_size, found.st_mtime_ns) == (expected.st_size, expected.st_mtime_ns)

    def _look(self, found: os.stat_result | None, expected: os.stat_result, path: bytes) -> None:
        """Raise Kept, and say why, if an entry is another one by now."""
        if not self._is_same(found, expected):
            self._outcome.failures.append(Failure(child_path(self._root, path), CHANGED))
            raise Kept

    def _put_back(self, number: bytes, directory: int, path: bytes, name: bytes, failed: bool = False) -> None:
        """Give an entry its name again; if another one has it by now, say where it is. Raises Kept, unless failed."""
        where = ""
        try:
            rename_if_free(number, self._aside, name, directory)
        except OSError:
            where = f": as {printable(os.readlink(path_of(self._aside)))}/{number.decode()}"
        if failed and not where:
            return
        self._outcome.failures.append(Failure(child_path(self._root, join(path, name)), CHANGED + where))
        raise Kept
