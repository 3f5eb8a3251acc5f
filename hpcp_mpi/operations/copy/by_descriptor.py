"""Copying units by descriptor, entry by entry: what another user changes while it is copied.

Each name is looked up once, in a directory that is open, and what was found is what is copied: `cp` gets descriptors of
regular files only, and so opens no path in which something could be exchanged, and no pipe that it would wait for.
With content alone (-co) only what is no directory comes here: those are never copied whole.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import cp
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import FLAGS, Tree, path_of
from hpcp_mpi.host.entries import lstat, names_in
from hpcp_mpi.host.metadata import Xattrs
from hpcp_mpi.host.remove_tree import remove_tree
from hpcp_mpi.operations.copy.check import write_metadata
from hpcp_mpi.operations.copy.cp_failures import CpDamage
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import NOTHING, Tally, tally_of
from hpcp_mpi.vocab.units import Batch

_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_FILES = 200  # that one cp is given as descriptors


@dataclass(slots=True)
class _Pinned:
    """A regular file that is to be copied."""

    fd: int
    path: bytes  # below the stage, and below the batch's directory
    status: os.stat_result


class ByDescriptor:
    """A copier of units into a stage, for one call of copy()."""

    def __init__(self, context: JobContext, batch: Batch, stage: int, scratch: int) -> None:
        """scratch: another stage, for files that have no name yet"""
        self._context = context
        self._batch = batch
        self._stage = stage
        self._scratch = scratch
        self._tree = Tree(path_of(stage))
        self._files: list[_Pinned] = []
        self._seen: dict[tuple[int, int], bytes] = {}  # paths of files with several names, by inode
        self._links: list[tuple[bytes, bytes, int]] = []  # (path of a seen file, path of another name of it, its size)
        self._directories: list[tuple[bytes, os.stat_result, tuple[Xattrs, Xattrs]]] = []
        self._damage = CpDamage()

    def copy(self, source: int, units: Iterable[bytes]) -> CpDamage:
        """Copy units, entries of the directory source; return what of them could not be. Raises Stopped.

        units: their names
        """
        try:
            for unit in units:
                if lstat(unit, self._stage) is not None:
                    remove_tree(self._stage, unit)
                self._walk(source, unit)
            self._copy_files()
            for leader, path, size in self._links:
                self._link(leader, path, size)
            for path, status, xattrs in reversed(self._directories):
                self._dress(path, status, xattrs)
        finally:
            for file in self._files:
                os.close(file.fd)
            self._tree.close()
        return self._damage

    def _walk(self, source: int, name: bytes) -> None:
        stack: list[tuple[int, bytes, Iterator[bytes]]] = []
        try:
            self._entry(stack, source, b"", name)
            while stack:
                if self._context.commands.stopped:
                    raise Stopped
                if len(self._files) >= MOST_FILES:
                    self._copy_files()
                fd, path, names = stack[-1]
                child = next(names, None)
                if child is None:
                    os.close(fd)
                    stack.pop()
                else:
                    self._entry(stack, fd, path, child)
        finally:
            for fd, _, _ in stack:
                os.close(fd)

    def _entry(
        self, stack: list[tuple[int, bytes, Iterator[bytes]]], parent: int, directory: bytes, name: bytes
    ) -> None:
        """Take an entry of parent, the directory that is copied to directory in the stage."""
        path = join(directory, name)
        try:
            pin = os.open(name, _PIN, dir_fd=parent)
        except FileNotFoundError:
            self._fail(path, VANISHED, Tally(files=1), vanished=True)
            return
        except OSError as error:
            self._fail(path, f"cannot be opened: {reason_of(error)}", Tally(files=1))
            return
        kept = False
        status = os.fstat(pin)
        try:
            if stat.S_ISREG(status.st_mode):
                kept = self._file(pin, path, status)
            elif stat.S_ISDIR(status.st_mode):
                stack.append(self._directory(pin, directory, name, status))
            else:
                self._special(pin, parent, directory, name, status)
        except OSError as error:
            self._fail(path, f"cannot be copied: {reason_of(error)}", tally_of(status))
        finally:
            if not kept:
                os.close(pin)

    def _file(self, pin: int, path: bytes, status: os.stat_result) -> bool:
        """Return whether the descriptor is kept."""
        if status.st_nlink > 1:
            leader = self._seen.setdefault((status.st_dev, status.st_ino), path)
            if leader != path:
                self._links.append((leader, path, status.st_size))
                return False
        self._files.append(_Pinned(pin, path, status))
        return True

    def _directory(
        self, pin: int, directory: bytes, name: bytes, status: os.stat_result
    ) -> tuple[int, bytes, Iterator[bytes]]:
        path = join(directory, name)
        fd = os.open(b".", FLAGS, dir_fd=pin)
        try:
            names = names_in(fd)
            with self._tree.at(directory) as there:
                os.mkdir(name, 0o700, dir_fd=there)
                xattrs = self._context.xattrs_of((fd, b"."), (there, name), self._batch.source)
                self._directories.append((path, status, xattrs))
        except BaseException:
            os.close(fd)
            raise
        return fd, path, iter(names)

    def _special(self, pin: int, parent: int, directory: bytes, name: bytes, status: os.stat_result) -> None:
        with self._tree.at(directory) as there:
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(b"", dir_fd=pin), name, dir_fd=there)
            else:
                os.mknod(name, status.st_mode, status.st_rdev, dir_fd=there)
            found = os.stat(name, dir_fd=there, follow_symlinks=False)
            if not self._context.options.content_only:
                xattrs = self._context.xattrs_of((parent, name), (there, name), self._batch.source)
                self._write(join(directory, name), status, (there, name), found, xattrs)

    def _write(
        self,
        path: bytes,
        status: os.stat_result,
        entry: tuple[int, bytes],
        found: os.stat_result,
        xattrs: tuple[Xattrs, Xattrs],
    ) -> None:
        refused = write_metadata(self._context, status, entry, found, xattrs)
        if refused:
            self._damage.refused.append((self._path(path), refused))

    # --- what waits

    def _copy_files(self) -> None:
        files, self._files = self._files, []
        try:
            code, stderr = self._cp(files) if files else (0, b"")
            self._damage.said += stderr if not code else b""
            if code:
                for file in files:
                    self._copy_alone(file)
            for file in files:
                directory, _, name = file.path.rpartition(b"/")
                with self._tree.at(directory) as there:
                    if lstat(b"%d" % file.fd, self._scratch) is not None:
                        os.rename(b"%d" % file.fd, name, src_dir_fd=self._scratch, dst_dir_fd=there)
        finally:
            for file in files:
                os.close(file.fd)

    def _cp(self, files: Sequence[_Pinned]) -> tuple[int, bytes]:
        command = cp.command(self._context.options, self._scratch, [path_of(file.fd) for file in files], follow=True)
        return self._context.commands.run(command, b"/", (self._scratch, *(file.fd for file in files)))

    def _copy_alone(self, file: _Pinned) -> None:
        """Copy a file, of several that could not all be copied together."""
        name = b"%d" % file.fd
        if lstat(name, self._scratch) is not None:
            os.unlink(name, dir_fd=self._scratch)
        code, stderr = self._cp([file])
        self._damage.said += stderr
        if not code:
            return
        by_path, others = cp.complaints(stderr)
        words = next(iter(by_path.values())) if by_path and code >= 0 else cp.ending(code, others)
        if self._is_whole(file, lstat(name, self._scratch)) and not cp.doubts_content(words):
            self._damage.not_all(self._context, self._path(file.path), words)
            return
        if lstat(name, self._scratch) is not None:
            os.unlink(name, dir_fd=self._scratch)
        self._fail(file.path, words, tally_of(file.status))

    def _is_whole(self, file: _Pinned, got: os.stat_result | None) -> bool:
        """Return whether cp came to the end of a file: it sets the time last."""
        if got is None or self._context.options.content_only:
            return False
        now = os.fstat(file.fd)
        return now.st_size == got.st_size and self._context.job.times.same(now.st_mtime_ns, got.st_mtime_ns)

    def _link(self, leader: bytes, path: bytes, size: int) -> None:
        try:
            with (
                self._tree.at(leader.rpartition(b"/")[0]) as source,
                self._tree.at(path.rpartition(b"/")[0]) as there,
            ):
                names = leader.rpartition(b"/")[2], path.rpartition(b"/")[2]
                os.link(*names, src_dir_fd=source, dst_dir_fd=there, follow_symlinks=False)
        except OSError as error:
            self._fail(path, f"cannot be linked to the copy of {os.fsdecode(leader)}: {reason_of(error)}", Tally(1))

    def _dress(self, path: bytes, status: os.stat_result, xattrs: tuple[Xattrs, Xattrs]) -> None:
        directory, _, name = path.rpartition(b"/")
        try:
            with self._tree.at(directory) as there:
                found = os.stat(name, dir_fd=there, follow_symlinks=False)
                self._write(path, status, (there, name), found, xattrs)
        except OSError as error:
            reason = f"cannot give its copy the directory's metadata: {reason_of(error)}"
            self._damage.failures.append(Failure(self._path(path), reason))

    def _fail(self, path: bytes, reason: str, lost: Tally, vanished: bool = False) -> None:
        self._damage.failures.append(Failure(self._path(path), reason, vanished, lost))
        unit = path.partition(b"/")[0]
        self._damage.lost[unit] = self._damage.lost.get(unit, NOTHING).plus(lost)

    def _path(self, path: bytes) -> bytes:
        return self._context.source_path(self._batch, path)
