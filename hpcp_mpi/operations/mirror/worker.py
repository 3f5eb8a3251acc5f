"""Mirroring, on a worker: what of the destination may go, asked again right before it goes.

What the scan found to be extra stays if a source has its name by now, if it is excluded, if a source lands there, or if
backups are kept there. On doubt it stays, and the run says so.
"""

import errno
import os
import stat

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.case_folding import Inode, copies_of, folds
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, is_within, join

_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # a directory of the source that is none


class ExtraGuard:
    """Keeps what is not extra. A remove.RemovalGuard; its paths are relative to the destination root."""

    def __init__(self, context: JobContext, outcome: Outcome) -> None:
        self._context = context
        self._outcome = outcome
        self._own = STAGE_PREFIX + context.job.run_id.encode()
        self._directory: bytes | None = None  # what self._beside is about
        self._beside: list[_SourceSide] = []
        self._distinct = False  # upper and lower case are distinct
        self._copies: set[Inode] | None = None  # what in it is called otherwise by a source; None: not known yet

    def may_enter(self, path: bytes) -> bool:
        return not self._stays(path, True)

    def must_keep(self, directory: int, path: bytes, name: bytes) -> bool:
        return self._stays(join(path, name), False)

    def doubts(self, path: bytes) -> bool:
        return False

    def _stays(self, path: bytes, is_directory: bool) -> bool:
        job = self._context.job
        directory, _, name = path.rpartition(b"/")
        if not name or path in job.targets or name.startswith(self._own):
            return True
        # What only backups are in holds those of earlier runs, too.
        if job.backup_path and is_within(job.backup_path, path):
            return True
        if directory != self._directory:
            self._directory, self._beside = directory, self._all_beside(directory)
            self._distinct, self._copies = False, None
        for beside in self._beside:
            try:
                if beside.keeps(name, is_directory):
                    return True
            except OSError as error:
                return self._doubt(path, error)
        return any(beside.exists for beside in self._beside) and self._is_copy(directory, name)

    def _is_copy(self, directory: bytes, name: bytes) -> bool:
        """Return whether an entry is what a source calls otherwise, which few file systems allow."""
        if self._distinct and name.isascii():
            return False
        try:
            with self._context.dest.handle(directory) as fd:
                if not folds(fd, name):
                    self._distinct = self._distinct or name.swapcase() != name
                    return False
            with self._context.dest.at(directory) as fd:
                if self._copies is None:
                    self._copies = copies_of(fd, (each for beside in self._beside for each in beside.names()))
                status = lstat(name, fd)
        except OSError as error:
            return self._doubt(join(directory, name), error)
        return status is not None and (status.st_dev, status.st_ino) in self._copies

    def _doubt(self, path: bytes, error: OSError) -> bool:
        reason = f"cannot see whether a source has it, so it was not removed: {reason_of(error)}"
        self._outcome.failures.append(Failure(self._context.dest_path(path), reason))
        return True

    def _all_beside(self, directory: bytes) -> "list[_SourceSide]":
        found = []
        for index in range(len(self._context.job.sources)):
            source_dir = self._context.job.source_dir_of(index, directory)
            if source_dir is not None:
                found.append(_SourceSide(self._context, index, source_dir))
        return found


class _SourceSide:
    """The directory of one source that is the counterpart of one of the destination."""

    def __init__(self, context: JobContext, source: int, path: bytes) -> None:
        self._context = context
        self._source = source
        self._path = path
        self._root = context.job.sources[source].path
        self._missing = False
        # All in an excluded directory is excluded.
        self._all_excluded = context.excluded is not None and any(
            context.excluded(child_path(self._root, path[:end]), True) for end in _ends(path)
        )

    def keeps(self, name: bytes, is_directory: bool) -> bool:
        """Return whether what the destination has as name stays for the sake of this source. Raises OSError."""
        excluded = self._context.excluded
        path = child_path(self._root, join(self._path, name))
        if self._all_excluded or (excluded is not None and excluded(path, is_directory)):
            return not self._context.options.delete_excluded
        status = self._status(name)
        if status is None:
            return False
        # A directory makes way for what is none. A socket is not copied.
        return not is_directory or stat.S_ISDIR(status.st_mode) or stat.S_ISSOCK(status.st_mode)

    @property
    def exists(self) -> bool:
        """Return whether there is such a directory, as far as is known."""
        return not self._missing

    def names(self) -> list[bytes]:
        """Return what is in it. Raises OSError."""
        if self._missing:
            return []
        with self._context.source_tree(self._source).at(self._path) as fd:
            return [os.fsencode(name) for name in os.listdir(fd)]

    def _status(self, name: bytes) -> os.stat_result | None:
        if self._missing:
            return None
        try:
            with self._context.source_tree(self._source).at(self._path) as fd:
                return lstat(name, fd)
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                raise
        self._missing = True
        return None


def _ends(path: bytes) -> list[int]:
    """Return where the path of each directory on the way to path ends, its own included; none for the root."""
    return [at for at in range(len(path)) if path[at : at + 1] == b"/"] + ([len(path)] if path else [])


class MoveToBackup:
    """Moves what goes to the backup directory. A remove.Disposer."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def unlink(self, directory: int, path: bytes, name: bytes) -> None:
        from hpcp_mpi.engine.backup import put_away

        put_away(self._context, path, directory, name)

    def rmdir(self, directory: int, path: bytes, name: bytes) -> None:
        from hpcp_mpi.engine.backup import keep_directory

        keep_directory(self._context, join(path, name))
        os.rmdir(name, dir_fd=directory)
