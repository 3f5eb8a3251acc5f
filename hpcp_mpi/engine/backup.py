"""Backups (--backup-dir): what a run replaces or removes at the destination is kept under the same relative path.

A replaced entry gets a hard link in the backup before the new one is renamed over it, so both versions always have a
name; where links are refused it is renamed there. What is removed is renamed there. Directories of the backup get
owner, mode and attributes of those they stand for. A backup of that name that an earlier run made is replaced; if
only one of the two is a directory, the earlier one is renamed to NAME.1, NAME.2, ... By descriptors: no symlink is
followed, at the destination or in the backup.
"""

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import Tree, is_ours_alone, path_of, pinned
from hpcp_mpi.host.entries import identity, lstat
from hpcp_mpi.host.metadata import write, xattrs_of
from hpcp_mpi.rules.equality import maybe_identical
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.units import DEST

# No link can be made where a rename can: too many links, another user's file, no links at all.
_RENAME_INSTEAD = (errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)
_TRIES = 100


@contextmanager
def saved(context: JobContext, dest_dir: bytes, dest: int, name: bytes, new: os.stat_result | None) -> Iterator[None]:
    """Back up entry name of the destination's directory dest before the body replaces it.

    new: the lstat of what replaces it. An entry that this run itself wrote is no old version. If the body fails, what
    it did not replace has no second name. Raises OSError, and then nothing is replaced.
    """
    there = lstat(name, dest) if context.job.backup is not None else None
    if there is None or (new is not None and _ours(context, dest, name, there, new)):
        yield
        return
    if stat.S_ISDIR(there.st_mode):
        with _backup_of(context, join(dest_dir, name)):
            pass
        yield
        return
    with _backup_of(context, dest_dir) as backup:
        _link(name, dest, backup, context.job.start_ctime_ns[-1])
        try:
            yield
        except BaseException:
            with suppress(OSError):
                if _same(lstat(name, dest), there) and _same(lstat(name, backup), there):
                    os.unlink(name, dir_fd=backup)
            raise


def _ours(context: JobContext, dest: int, name: bytes, there: os.stat_result, new: os.stat_result) -> bool:
    """Return whether this run wrote what is there: an inode that was made since then, and is what new is.

    When it was changed shows nothing: a backup of one name of an old file changes it under its other names too. Where
    it is not known when inodes were made, one that has other names is taken for an old one: it is kept once too often.
    """
    began = context.job.start_ctime_ns[-1]
    since_then = there.st_ctime_ns > began and (not context.options.content_only or there.st_mtime_ns > began)
    if not (since_then and maybe_identical(there, new, context.job.times)):
        return False
    try:
        with pinned(dest, name) as fd:
            inode, born_ns = identity(fd)
    except FileNotFoundError:
        return False
    return inode == there.st_ino and (born_ns > began if born_ns else there.st_nlink == 1)


def _same(one: os.stat_result | None, other: os.stat_result) -> bool:
    return one is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def save_way(context: JobContext, path: bytes) -> None:
    """Move a file or symlink to the backup that is where a directory on the way to path has to be. Raises OSError."""
    at = b""
    for name in path.split(b"/"):
        try:
            with context.dest.at(at) as fd:
                status = lstat(name, fd)
                if status is None:
                    return
                if not stat.S_ISDIR(status.st_mode):
                    put_away(context, at, fd, name)
                    return
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return  # another slot was faster; if not, making the directory fails with the reason
        at = join(at, name)


def put_away(context: JobContext, dest_dir: bytes, dest: int, name: bytes) -> None:
    """Move a non-directory of the destination to the backup. Raises OSError, IsADirectoryError if it is one by now."""
    if _is_directory(name, dest):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with _backup_of(context, dest_dir) as backup:
        _rename(name, dest, backup)


def keep_directory(context: JobContext, path: bytes) -> None:
    """Make a directory of the destination in the backup, with its metadata, but for what is in it. Raises OSError."""
    with _backup_of(context, path):
        pass


def _link(name: bytes, dest: int, backup: int, began_ns: int) -> None:
    """Give an entry the same name in the backup; a numbered one where this run has put another entry there.

    So it is where names that differ in case are one. began_ns: of the run, by the clock of the destination
    """
    called = name
    for number in range(1, _TRIES + 1):
        try:
            os.link(name, called, src_dir_fd=dest, dst_dir_fd=backup, follow_symlinks=False)
            return
        except FileExistsError:
            kept = lstat(called, backup)
            if kept is not None and kept.st_ctime_ns > began_ns and not stat.S_ISDIR(kept.st_mode):
                if _same(lstat(name, dest), kept):
                    return
                called = b"%s.~%d~" % (name, number)
            elif called != name:
                called = b"%s.~%d~" % (name, number)
            elif _is_directory(name, backup):
                _set_aside(name, backup)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=backup)
        except OSError as error:
            if error.errno not in _RENAME_INSTEAD or _is_directory(name, dest):
                raise
            _rename(name, dest, backup)
            return
    raise OSError(errno.EBUSY, "its backup is replaced again and again")


def _rename(name: bytes, dest: int, backup: int) -> None:
    try:
        os.rename(name, name, src_dir_fd=dest, dst_dir_fd=backup)
    except OSError as error:
        if error.errno not in _IN_THE_WAY or not _is_directory(name, backup):
            raise
        _set_aside(name, backup)
        os.rename(name, name, src_dir_fd=dest, dst_dir_fd=backup)


def _is_directory(name: bytes, directory: int) -> bool:
    status = lstat(name, directory)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _set_aside(name: bytes, backup: int) -> None:
    """Rename an earlier backup to NAME.1, or the first such name that is free."""
    for number in itertools.count(1):
        aside = b"%s.%d" % (name, number)
        if lstat(aside, backup) is not None:
            continue
        if _is_directory(name, backup):
            os.rename(name, aside, src_dir_fd=backup, dst_dir_fd=backup)
            return
        # Another rank may just have put a directory in its place; that is not to be renamed.
        try:
            os.link(name, aside, src_dir_fd=backup, dst_dir_fd=backup, follow_symlinks=False)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _RENAME_INSTEAD or _is_directory(name, backup):
                raise
            os.rename(name, aside, src_dir_fd=backup, dst_dir_fd=backup)
            return
        os.unlink(name, dir_fd=backup)
        return


@contextmanager
def _backup_of(context: JobContext, path: bytes) -> Iterator[int]:
    """Yield a descriptor of the backup's directory for a directory of the destination; make what is missing of it."""
    tree = context.backup
    with ExitStack() as stack:
        try:
            fd = stack.enter_context(tree.at(path))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            _make(context, tree, path)
            fd = stack.enter_context(tree.at(path))
        if path and not _is_as_closed(context, path, fd):
            above, _, name = path.rpartition(b"/")
            with tree.at(above) as parent:
                _set_aside(name, parent)
            tree.forget()
            _make(context, tree, path)
            fd = stack.enter_context(tree.at(path))
        yield fd


def _is_as_closed(context: JobContext, path: bytes, backup: int) -> bool:
    """Return whether a directory of the backup is for nobody but those whom the destination's is for; else close it.

    It may be another user's, who made it because something private will be put there: that cannot be closed.
    """
    with suppress(FileNotFoundError, NotADirectoryError), context.dest.handle(path) as like:
        wanted, there = os.fstat(like), os.fstat(backup)
        if there.st_uid not in (os.geteuid(), wanted.st_uid):
            return False
        wider = there.st_mode & ~wanted.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if there.st_gid != wanted.st_gid:
            wider |= there.st_mode & stat.S_IRWXG & ~(wanted.st_mode & stat.S_IRWXO) << 3
        if wider:
            os.chmod(path_of(backup), stat.S_IMODE(there.st_mode) & ~wider)
    return True


def _make(context: JobContext, tree: Tree, path: bytes) -> None:
    at = b""
    for name in path.split(b"/") if path else ():
        with tree.at(at) as parent:
            _make_one(context, parent, join(at, name), name)
        at = join(at, name)


def _make_one(context: JobContext, parent: int, path: bytes, name: bytes) -> None:
    """Make one directory of the backup, like the destination's."""
    for _ in range(_TRIES):
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if _is_directory(name, parent):
                return
            with suppress(FileNotFoundError):  # another rank was faster
                _set_aside(name, parent)
        else:
            _dress(context, parent, path, name)
            return
    raise OSError(errno.EBUSY, "its backup is replaced again and again", name)


def _dress(context: JobContext, parent: int, path: bytes, name: bytes) -> None:
    """Give a new directory the metadata of the destination's, and its owner the right to write in it."""
    with context.dest.at(path) as like, pinned(parent, name) as made:
        wanted = os.fstat(like)
        found = os.fstat(made)
        if not is_ours_alone(made, parent):
            raise PermissionError(errno.EPERM, "another user has put something else in the place of its backup")
        mode = context.rights.mode(wanted, found) | (0 if context.rights.uid == 0 else stat.S_IRWXU)
        hidden = context.hides_acls(DEST)
        xattrs = xattrs_of(like, b".", hidden), xattrs_of(parent, name, hidden)
        times = wanted.st_atime_ns, wanted.st_mtime_ns
        write(parent, name, found, context.rights.owner(wanted, found), mode, xattrs, times)
