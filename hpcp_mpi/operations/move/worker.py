"""Moving, on a worker: an entry of a source goes only if its copy is known good, asked right before it goes.

Its copy is good if nothing failed at it or below it in this run, which has copied it or compared all of it, and if it
is what the source is now: the same type, size, mtime, link target and device, owner, mode and attributes, listed under
the same name. A file with one name stays too if anything of it, be it a mode, was changed since the run began: its
change time says so, by its file system's own clock. That of a file with several names is also changed when one of its
other names is removed. Where that does not explain it, where one copy may be that of two sources (case is ignored,
something is mounted in the destination), below a directory that was changed, so perhaps exchanged, and where anything
failed in this run (then one of its names may have, and the others may be linked to what was there before), the bytes
are compared once more. What stays is named, unless the run has named it already.
"""

import os
import stat
import weakref
from contextlib import ExitStack

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.host.stage import is_stage, staged
from hpcp_mpi.operations.move.copies import Listing, forget_listing, has_mounts, is_listed, listing_of
from hpcp_mpi.operations.move.proof import lacks, same_content
from hpcp_mpi.operations.move.take_out import CHANGED, TakenOut
from hpcp_mpi.operations.remove.worker import remove
from hpcp_mpi.rules.equality import is_whiteout, maybe_identical
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, join
from hpcp_mpi.vocab.units import DEST, Batch

CAME = "created during the move; kept"
ITSELF = "source and destination are the same entry; kept"
CALLED_OTHERWISE = "its copy is called otherwise, so another source may be the one that it is of; kept"
OTHER_BYTES = "its copy holds other bytes; kept"
COVERED = "something is mounted over its copy; kept"
_MOST_VOUCHED = 200_000  # files with several names that a rank remembers
_LACKS = "its copy does not have the same {}; kept (--accept-loss removes it nevertheless)"


def remove_copied(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Remove the units of a REMOVE_COPIED batch that have good copies."""
    guard = CopiedGuard(context, batch, outcome)
    with TakenOut(context, batch.source, outcome, lambda: guard.seen) as taken_out:
        remove(context, batch, outcome, guard, taken_out)


class CopiedGuard:
    """Keeps what has no good copy. A remove.RemovalGuard; its paths are relative to the source root.

    seen: what lstat said of the entry that was asked about last; None where there was none
    """

    def __init__(self, context: JobContext, batch: Batch, outcome: Outcome) -> None:
        self._context = context
        self._source = batch.source
        self._outcome = outcome
        self._root = context.job.sources[batch.source].path
        self._landed = context.job.landed[batch.source]
        self._target = batch.dest_dir  # of a source that is one entry: where that landed
        self.seen: os.stat_result | None = None
        self._path: bytes | None = None  # of the directory whose copy is open
        self._copy: int | None = None
        self._listing: Listing | None = None  # of it
        self._doubted = {batch.source_dir} if batch.new else set()
        self._relisted = join(batch.source_dir, batch.units.names[0]) if batch.restore else None
        self._stack = ExitStack()
        weakref.finalize(self, self._stack.close)

    def may_enter(self, path: bytes) -> bool:
        where = child_path(self._root, path)
        if where in self._context.job.keep_paths:
            return False
        try:
            if self._is_stage(path):
                return False  # the scan noted that it was not copied
            with self._context.source_tree(self._source).handle(path) as mine:
                own = os.fstat(mine)
                self._note_doubt(path, own)
                reason = ""
                for _ in self._context.looks.each():
                    reason = self._directory_problem(path, mine, own)
                    if not reason:
                        return True
                    self._forget_copy()
        except OSError as error:
            reason = f"cannot compare it with its copy: {reason_of(error)}; kept"
        return self._leave(where, reason)

    def doubts(self, path: bytes) -> bool:
        return bool(self._doubted) and any(each in self._doubted for each in _on_the_way(path))

    def _note_doubt(self, path: bytes, own: os.stat_result) -> None:
        """Note a directory that may be another one than that which was copied, put there with all that is in it.

        The change time of what is in it would not show that. A rename changes that of the directory. So does what this
        run does in it: in the root, and where some has gone already.
        """
        if path and path != self._relisted and own.st_ctime_ns > self._context.job.start_ctime_ns[self._source]:
            self._doubted.add(path)

    def _directory_problem(self, path: bytes, mine: int, own: os.stat_result) -> str:
        """Return why a directory has no good copy; "" if it has one. Raises OSError."""
        copy = self._copy_of(path)
        if copy is None:
            return CAME
        found = os.fstat(copy)
        if _same_inode(own, found) or self._shows_up(mine, copy):
            return ITSELF
        if not is_listed(self._context, self._place(path)):
            return CALLED_OTHERWISE
        # Several sources that merge in a directory can give it the metadata of one only.
        if not self._context.options.directory_sync or self._place(path) in self._context.job.merged:
            return ""
        lacking = lacks(self._context, self._source, (mine, b"."), (copy, b"."), own, found)
        return _LACKS.format(lacking) if lacking else ""

    def _is_stage(self, path: bytes) -> bool:
        directory, _, name = path.rpartition(b"/")
        if not name.startswith(STAGE_PREFIX):
            return False
        with self._context.source_tree(self._source).handle(directory) as fd:
            return is_stage(fd, name)

    def _shows_up(self, mine: int, copy: int) -> bool:
        """Return whether what is made in a directory shows up in its copy. Raises OSError.

        The roots were asked before anything was copied; below them only what is mounted in the destination can be a
        directory of the source, by whatever number.
        """
        if not has_mounts(self._context):
            return False
        with staged(mine, self._context.run_id, self._outcome.warn) as marker:
            return lstat(os.path.basename(os.readlink(path_of(marker))), copy) is not None

    def must_keep(self, directory: int, path: bytes, name: bytes) -> bool:
        where = child_path(self._root, join(path, name))
        if where in self._context.job.keep_paths:
            return True
        self.seen = None
        try:
            self.seen = wanted = lstat(name, directory)
            if wanted is None:
                return False  # gone
            if stat.S_ISSOCK(wanted.st_mode) or (is_whiteout(wanted) and self._context.job.abilities.kind == "overlay"):
                return True  # the scan noted that it was not copied

            def is_good() -> bool:
                try:
                    return self._is_good(where, directory, path, name, wanted)
                except OSError:
                    self._path = None  # what is kept open of the copy may be stale
                    raise

            return not retried(is_good, lambda: self._context.commands.stopped)
        except OSError as error:
            return not self._leave(where, f"cannot stat its copy: {reason_of(error)}; kept")

    def _is_good(self, where: bytes, directory: int, path: bytes, name: bytes, wanted: os.stat_result) -> bool:
        reason = ""
        for _ in self._context.looks.each():  # another node may have made the copy
            reason = self._problem(directory, path, name, wanted)
            if not reason:
                return True
            self._forget_copy()
        return self._leave(where, reason)

    def _problem(self, directory: int, path: bytes, name: bytes, wanted: os.stat_result) -> str:
        """Return why an entry has no good copy; "" if it has one. Raises OSError."""
        copy, called = self._copy_of(path), name
        if self._landed is None:
            called = self._target.rpartition(b"/")[2]
        found = lstat(called, copy) if copy is not None else None
        if copy is None or found is None:
            return CAME
        if _same_inode(wanted, found):
            return ITSELF
        listing = self._listing
        if listing is None:
            listing = self._listing = listing_of(self._context, self._place(path))
        if called not in listing.names:
            return CALLED_OTHERWISE
        mounted = has_mounts(self._context)
        if mounted and join(self._place(path), called) in self._context.mounts_of(DEST).below:
            return COVERED
        if not self._equal(wanted, found):
            return CHANGED
        is_link = stat.S_ISLNK(wanted.st_mode)
        if is_link and os.readlink(name, dir_fd=directory) != os.readlink(called, dir_fd=copy):
            return CHANGED
        lacking = lacks(self._context, self._source, (directory, name), (copy, called), wanted, found)
        if lacking:
            return _LACKS.format(lacking)
        if stat.S_ISREG(wanted.st_mode) and (listing.folds or mounted or self._doubtful(path, wanted, found)):
            alike = same_content(self._context, (directory, name), (copy, called), wanted, found)
            return "" if alike else OTHER_BYTES
        return ""

    def _doubtful(self, path: bytes, wanted: os.stat_result, found: os.stat_result) -> bool:
        """Return whether a file may be another one than that which was copied, though it looks the same.

        With several names it was changed if one of those went, but then the copy has more names.
        """
        if self.doubts(path):
            return True
        if wanted.st_nlink == 1 == found.st_nlink:
            return self._is_later(wanted)  # else its change time was looked at
        if self._context.job.keep_paths:
            return True  # the name that was to be copied may have failed, and this one be linked to an old copy
        own = wanted.st_dev, wanted.st_ino
        if len(self._context.vouched) > _MOST_VOUCHED:
            self._context.vouched.clear()
        if found.st_nlink > 1 and self._context.vouched.setdefault((found.st_dev, found.st_ino), own) != own:
            return True
        return self._is_later(wanted) and wanted.st_nlink >= found.st_nlink

    def _is_later(self, wanted: os.stat_result) -> bool:
        return wanted.st_ctime_ns > self._context.job.start_ctime_ns[self._source]

    def _equal(self, wanted: os.stat_result, found: os.stat_result) -> bool:
        times = self._context.job.times
        if self._context.options.content_only:
            if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(found.st_mode) or wanted.st_rdev != found.st_rdev:
                return False
            if stat.S_ISREG(wanted.st_mode) and wanted.st_size != found.st_size:
                return False
        elif not (maybe_identical(wanted, found, times) and times.same(wanted.st_mtime_ns, found.st_mtime_ns)):
            return False
        if wanted.st_nlink > 1 or found.st_nlink > 1:
            return True
        # With -nb names of one file in several sources have a copy each: the last one is the only one by then.
        return self._context.options.sequential or not self._is_later(wanted)

    def _copy_of(self, path: bytes) -> int | None:
        """Return a descriptor of the directory that path was copied to, None where there is none. Raises OSError."""
        if path != self._path:
            self._forget_copy()
            try:
                self._copy = self._stack.enter_context(self._context.dest.handle(self._place(path)))
            except (FileNotFoundError, NotADirectoryError):
                self._copy = None
            self._path = path
        return self._copy

    def _place(self, path: bytes) -> bytes:
        """Return where path was copied to, below the destination root."""
        return self._target.rpartition(b"/")[0] if self._landed is None else join(self._landed, path)

    def _forget_copy(self) -> None:
        self._stack.close()
        if self._path is not None:
            forget_listing(self._context, self._place(self._path))
        self._path, self._copy, self._listing = None, None, None

    def _leave(self, where: bytes, reason: str) -> bool:
        """Name what stays; return False."""
        self._outcome.failures.append(Failure(where, reason))
        return False


def _on_the_way(path: bytes) -> list[bytes]:
    """Return a path and those of the directories above it, of the root too."""
    return [path, *(path[:at] for at in range(len(path)) if path[at : at + 1] == b"/"), b""]


def _same_inode(source: os.stat_result, copy: os.stat_result) -> bool:
    """Return whether a copy may be the source itself, seen through another mount: then device numbers may differ.

    Two names of one file are two, and one can go.
    """
    if stat.S_ISDIR(source.st_mode) or source.st_nlink == 1:
        return source.st_ino == copy.st_ino and source.st_ctime_ns == copy.st_ctime_ns
    return False
