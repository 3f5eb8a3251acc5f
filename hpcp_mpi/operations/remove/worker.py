"""Removing, on a worker: entries of a directory, each with all below it, by descriptors.

A directory is opened in its parent's descriptor, never through a symlink, listed once, and what is no directory is
unlinked by (descriptor, name). The walk goes depth first and is short: directories that there is no time for are
reported as found, for any rank; their parents' turn comes when they are done (operations/remove/rules.py).

What is in a batch is to go. What is listed below it stays if it is excluded, and if the kind's RemovalGuard keeps it.
"""

import errno
import os
import time
from contextlib import ExitStack
from itertools import pairwise

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.walk_feed import WalkResult
from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.host.machine import kept_open
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.operations.remove.empty_directory import (
    FILES,
    DirectoryEmptier,
    Folder,
    kind_of,
)
from hpcp_mpi.operations.remove.rules import (
    Disposer,
    FinishedUnits,
    PendingDirectory,
    RemovalGuard,
    RemovalProgress,
    chain,
    is_walk,
    walks,
)
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.units import Batch, Kind

_SECONDS = 0.1  # after which directories that are found are for others: they may be idle
_EACH = 0.01  # the same for each directory that was asked for: at first there is one, and all others are idle
_DEEP = 64  # directories that are open one in another; what is deeper is for others
_BLOCKED = (errno.ENOTDIR, errno.ELOOP)  # what opening a directory says of a file or a symlink


def remove(
    context: JobContext,
    batch: Batch,
    outcome: Outcome,
    guard: RemovalGuard | None = None,
    disposer: Disposer | None = None,
) -> None:
    """Remove the units of a REMOVE or REMOVE_COPIED batch; only count those of a COUNT batch, and in a dry run.

    Units are names in batch.source_dir, below batch.source (DEST: the destination): of directories (rules.walks) or of
    anything else (rules.others). What went is counted in outcome.removed, what is excluded in outcome.skipped;
    outcome.findings gets a WalkResult for rank 0's PendingDirectories.
    guard and disposer are as for a DirectoryEmptier.
    """
    removing = RemoveWorker(context, batch, outcome, guard, disposer)
    if is_walk(batch):
        removing.walk()
        removing.report(len(batch.units))
    else:
        removing.unlink_units()
        removing.report(0)


def remove_emptied(
    context: JobContext,
    batch: Batch,
    outcome: Outcome,
    guard: RemovalGuard | None = None,
    disposer: Disposer | None = None,
) -> None:
    """Remove the directories of an RMDIR batch: each unit's, and those above it that waited for nothing else."""
    removing = RemoveWorker(context, batch, outcome, guard, disposer)
    for unit in batch.units:
        removing.remove_chain(chain(unit))
    removing.report(0)


def undone_result(batch: Batch) -> WalkResult:
    """Return the result of a batch of which nothing is known to be gone."""
    directory = batch.source_dir if batch.units.names[0] else None
    finished = [FinishedUnits(batch.source, directory, len(batch.units), kept=True)]
    if batch.kind is Kind.RMDIR:
        finished = [FinishedUnits(batch.source, chain(unit)[-1], 1, kept=True) for unit in batch.units]
    return WalkResult(len(batch.units) if is_walk(batch) else 0, [], RemovalProgress(finished=finished))


class RemoveWorker:
    """The removal of one batch."""

    def __init__(
        self,
        context: JobContext,
        batch: Batch,
        outcome: Outcome,
        guard: RemovalGuard | None,
        disposer: Disposer | None,
    ) -> None:
        self._context = context
        self._batch = batch
        self._outcome = outcome
        self._mounts = context.mounts_of(batch.source)
        self._foreign = context.foreign_to(batch.source)
        self._emptier = DirectoryEmptier(context, batch, outcome, guard, disposer)
        self._deadline = 0.0
        self._deepest = kept_open(_DEEP, 64)
        self._noted = False  # how long it takes to open a directory
        self._progress = RemovalProgress()

    def report(self, done: int) -> None:
        """Report what was done to rank 0. done: how many of the directories that were asked for"""
        self._progress.found = self._emptier.account()
        found = self._emptier.found
        found.reverse()  # the deepest last: the next that is given to any rank
        self._outcome.findings.append(WalkResult(done, found, self._progress))

    # What was asked for.

    def unlink_units(self) -> None:
        """Remove units that are no directories."""
        batch, units = self._batch, self._batch.units
        with ExitStack() as stack:
            top = self._reach(stack)
            if top is None:
                return
            kind = FILES if units.more is None else kind_of(units.more[0][0])
            gone, kept = self._emptier.unlink(top, units.names, kind)
            self._hand_over(top)  # what is a directory by now
        self._progress.finished.append(FinishedUnits(batch.source, batch.source_dir, len(units) - top.out, kept, gone))

    def walk(self) -> None:
        """Walk through directories. Each of them is begun, whatever time it is."""
        batch, names = self._batch, self._batch.units.names
        self._deadline = time.monotonic() + min(_SECONDS, _EACH * len(names))
        with ExitStack() as stack:
            top = self._reach(stack)
            if top is None:
                return
            for name in names:
                folder = self._open(top, name)
                if folder is not None:
                    self._walk_from(top, folder)
            self._hand_over(top)
        directory = batch.source_dir if names[0] else None
        self._progress.finished.append(FinishedUnits(batch.source, directory, len(names) - top.out, top.kept))

    def remove_chain(self, paths: list[bytes]) -> None:
        """Remove directories, each of which is in the next; not the last one."""
        kept = False
        for path, above in pairwise(paths):
            try:
                with self._context.source_tree(self._batch.source).handle(above) as fd:
                    kept = not self._emptier.rmdir(fd, path, path[len(above) :].lstrip(b"/"))
            except OSError as error:
                kept = self._unopened(path, error)
            if kept:
                break
        self._progress.finished.append(FinishedUnits(self._batch.source, paths[-1], 1, kept))

    def _reach(self, stack: ExitStack) -> Folder | None:
        """Return what the units of the batch are in."""
        batch = self._batch
        try:
            tree = self._context.source_tree(batch.source)
            return Folder(stack.enter_context(tree.handle(batch.source_dir)), batch.source_dir, b"")
        except OSError as error:
            directory = batch.source_dir if batch.units.names[0] else None
            kept = self._unopened(batch.source_dir, error)
            self._progress.finished.append(FinishedUnits(batch.source, directory, len(batch.units), kept))
            return None

    def _unopened(self, path: bytes, error: OSError) -> bool:
        """Return whether a directory that cannot be opened is still there; then it is a failure."""
        if error.errno == errno.ENOENT:
            return False
        self._emptier.fail(path, error, "cannot open")
        return True

    # Directories.

    def _walk_from(self, top: Folder, folder: Folder) -> None:
        """Empty and remove a directory in top and, as long as there is time, those in it. A stack: it may be deep."""
        stack, deepest = [top, folder], self._deepest
        try:
            self._empty(folder)
            while len(stack) > 1:
                folder = stack[-1]
                if folder.folders and len(stack) <= deepest and time.monotonic() < self._deadline:
                    child = self._open(folder, folder.folders.pop())
                    if child is not None:
                        stack.append(child)
                        self._empty(child)
                    continue
                self._hand_over(folder)
                os.close(stack.pop().fd)
                self._leave(stack[-1], folder)
        finally:
            for each in stack[1:]:
                os.close(each.fd)

    def _hand_over(self, folder: Folder) -> None:
        """Leave the directories in a folder to others."""
        if folder.folders:
            self._emptier.give(folder, walks(folder.folders))
            folder.folders = []

    def _leave(self, above: Folder, folder: Folder) -> None:
        """Remove a directory, unless something is in it. Its descriptor is closed."""
        if folder.out or folder.again:
            batch = self._batch
            left = PendingDirectory(
                batch.kind,
                batch.source,
                folder.path,
                folder.out,
                folder.kept,
                folder.again,
                folder.gone,
                self._emptier.doubts(folder.path),
            )
            self._progress.left.append(left)
            above.out += 1
        elif folder.kept or (folder.name and not self._emptier.rmdir(above.fd, folder.path, folder.name)):
            above.kept = True

    def _open(self, above: Folder, name: bytes) -> Folder | None:
        """Open a directory; None where it is not to be emptied."""
        path = join(above.path, name)
        if path in self._mounts.below:
            self._emptier.mounted(path)
        elif self._emptier.may_enter(path):
            try:
                return Folder(self._opened(above.fd, name), path, name)
            except OSError as error:
                self._not_opened(above, name, path, error)
                return None
        above.kept = True
        return None

    def _opened(self, above: int, name: bytes) -> int:
        if self._noted:
            return retried(lambda: os.open(name or b".", FLAGS, dir_fd=above), lambda: self._context.commands.stopped)
        self._noted = True
        with self._context.latency.noted():
            return os.open(name or b".", FLAGS, dir_fd=above)

    def _not_opened(self, above: Folder, name: bytes, path: bytes, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            return
        if error.errno in _BLOCKED and name:
            # It is a file or a symlink by now, itself.
            above.kept |= self._emptier.unlink(above, [name], FILES)[1]
            return
        if error.errno == errno.EACCES and not self._emptier.counts_only:
            # One that may not be listed can still be empty.
            if not name and self._batch.kind is Kind.REMOVE:
                return  # rank 0 removes the roots
            if name and self._emptier.removed_unseen(above.fd, path, name):
                return
        self._emptier.fail(path, error, "cannot list")
        above.kept = True

    def _empty(self, folder: Folder) -> None:
        """Remove what is in a directory, but for directories."""
        self._emptier.raise_if_stopped()
        batch = self._batch
        try:
            status = os.fstat(folder.fd)
            if not self._emptier.may_remove(folder.fd, folder.path):
                folder.kept = True
            elif status.st_dev != self._mounts.device:
                self._emptier.mounted(folder.path)
                folder.kept = True
            elif (status.st_dev, status.st_ino) in self._foreign:
                self._emptier.fail(folder.path, "it is a source or destination of this run, by another path; kept")
                folder.kept = True
            else:
                last = batch.again and folder.path == join(batch.source_dir, batch.units.names[0])
                self._emptier.empty(folder, to_the_end=last)
        except OSError as error:
            self._emptier.fail(folder.path, error, "cannot list")
            folder.kept = True
