"""Directories of the destination, made where they are missing; what is replaced on the way is backed up.

Who may write to a directory may put anybody's entry under any name in it. So nothing there is given to another user
only because it has the right name.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import path_of, pinned
from hpcp_mpi.host.entries import is_directory, lstat
from hpcp_mpi.vocab.options import Options

FULL = (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)  # what a rename over a directory says if it is not empty
ANYONE = -1  # some users beside the owner
_IS_THERE = "what is there is no directory: remove it first, or give --backup-dir (which keeps it)"
IN_THE_WAY = (
    "in its place at the destination a directory that is not empty is in the way; remove that one if it is not needed"
)


@contextmanager
def made(context: JobContext, path: bytes, over: bool = False) -> Iterator[int]:
    """Yield a descriptor of a directory of the destination, for writing; make what is missing of it.

    over: a file or symlink in the way is replaced. Raises OSError.
    """
    if over and context.job.backup is not None:
        from hpcp_mpi.engine.backup import save_way

        save_way(context, path)
    with context.dest.made(path, context.new_mode, over) as fd:
        yield fd


def placers(context: JobContext, path: bytes) -> set[int]:
    """Return the users, but root and this one, who can put what they like at path, relative to the destination root.

    They are the owners of all directories above it, and ANYONE where others may write. In a sticky directory those can
    only put there what is theirs: it shows by its owner. Raises OSError.
    """
    found: set[int] = set()
    names = path.split(b"/") if path else []
    for depth in range(len(names)):
        with context.dest.handle(b"/".join(names[:depth])) as fd:
            found |= _writers(os.fstat(fd))
    with context.dest.handle(b"") as root:
        fd = os.dup(root)
    try:
        below = os.fstat(fd)
        while True:
            above = os.open(b"..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd, status = above, os.fstat(above)
            if (below.st_dev, below.st_ino) == (status.st_dev, status.st_ino):
                return found - {0, os.geteuid()}
            below = status
            found |= _writers(status)
    finally:
        os.close(fd)


def _writers(status: os.stat_result) -> set[int]:
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    return {status.st_uid, ANYONE} if others else {status.st_uid}


def close_to_others(context: JobContext, wanted: os.stat_result, path: bytes, dest: int, acl: bool = False) -> bool:
    """Take from an existing directory what its source does not give to others, before anything is put in it.

    It gets the rest when it is settled. Return whether it may be given to another owner then, whatever is in it.

    wanted: the fstat of the source. path: of the directory, open as dest. acl: its ACL differs. Raises OSError;
    PermissionError with an explanation where it is another user's, and a third one may have put it there.
    """
    found = os.fstat(dest)
    owner, mode, own = context.rights.owner(wanted, found), context.rights.mode(wanted, found), os.geteuid()
    changes_owner = owner[0] != found.st_uid
    safe = changes_owner and placers(context, path) <= {found.st_uid}
    foreign = changes_owner and found.st_uid != own
    if foreign and not safe:
        raise PermissionError(errno.EPERM, not_given(found.st_uid, owner[0]))
    if context.options.dry_run:
        return safe
    if owner[1] != found.st_gid:
        mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3  # the group that it has are others then
    if acl:
        mode &= ~stat.S_IRWXG  # what all can have at most whom it names
    if changes_owner:
        mode &= ~(stat.S_IRWXG | stat.S_IRWXO)
    now = stat.S_IMODE(found.st_mode)
    kept = now & (mode | ~0o777 | stat.S_IRWXU)
    if now & stat.S_ISGID and own and found.st_gid not in context.rights.groups:
        return safe  # chmod would take that bit as well, and what is made in it would get another group
    with suppress(PermissionError):  # it is not ours to close: settling it says so
        if foreign:
            os.chown(path_of(dest), own, -1)  # who owns it could open it again
            kept &= ~stat.S_ISVTX  # closed and ours, it would look like a stage
        if kept != now:
            os.chmod(path_of(dest), kept)
    return safe


def close_late(context: JobContext, index: int, path: bytes, wanted: os.stat_result, dest: int) -> None:
    """Do so for a directory that may have been made by others since it was to be listed. Raises OSError.

    index: of the source. The root is there when it is listed.
    """
    landed = context.job.landed
    if not path or not context.options.directory_sync or index >= len(landed) or landed[index] is None:
        return
    found = os.fstat(dest)
    wider = found.st_mode & ~wanted.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if wider or found.st_uid not in (os.geteuid(), context.rights.owner(wanted, found)[0]):
        close_to_others(context, wanted, path, dest)


def not_given(found: int, wanted: int) -> str:
    """Return why a directory is not given to another user, and what to do."""
    return (
        f"the directory at the destination belongs to uid {found} and is not given to uid {wanted}: others may rename "
        f"what is there, and may have put it in this place. If it is the right one, `chown {wanted}` it, or else move "
        "it away; then run this again"
    )


def publish(
    context: JobContext, staged_as: tuple[int, bytes], dest: int, target: bytes, dest_dir: bytes, own: bool = False
) -> None:
    """Rename an entry of a stage to target in a directory, with a backup of what it replaces. Raises OSError.

    staged_as: (stage, name in it). dest: the directory, and dest_dir its path. own: this run made what is there, so it
    is not backed up
    """
    if context.job.backup is None or own:
        may = own or context.options.replaces_others
        rename_into_place(*staged_as, dest, target, "" if may else not_replaced(context.options))
        return
    from hpcp_mpi.engine.backup import saved

    stage, name = staged_as
    with saved(context, dest_dir, dest, target, lstat(name, stage)):
        rename_into_place(*staged_as, dest, target)


def not_replaced(options: Options) -> str:
    """Return why a directory does not take the place of what is none."""
    if not options.mirror:
        return f"{_IS_THERE} or -rme -rf"
    if options.max_delete is not None:
        return f"{_IS_THERE}; it would go uncounted, and --max-delete is given"
    return f"{_IS_THERE} or -rf; it would go before the question"


def rename_into_place(stage: int, name: bytes, dest: int, target: bytes, refusal: str = "") -> None:
    """Rename name in the stage to target in directory dest, replacing what a copy may replace. Raises OSError.

    refusal: why a directory may not replace what is none; "": it may
    """
    try:
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
    except NotADirectoryError:  # a directory over a file or a symlink
        if refusal:
            raise NotADirectoryError(errno.ENOTDIR, refusal) from None
        _exchange(stage, name, dest, target)
    except IsADirectoryError:  # a file over a directory, which may go if it is empty
        with suppress(FileNotFoundError):  # gone already, and this node did not know
            os.rmdir(target, dir_fd=dest)
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
    except PermissionError:
        # To move a directory its owner needs to write in it: its `..` changes.
        with pinned(stage, name) as fd:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISDIR(mode) or mode & 0o200:
                raise
            os.chmod(path_of(fd), stat.S_IMODE(mode) | 0o200)
            try:
                os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
            finally:
                os.chmod(path_of(fd), stat.S_IMODE(mode))


def _exchange(stage: int, name: bytes, dest: int, target: bytes) -> None:
    """Put a directory where a non-directory is. The old entry is kept until the new one is in place."""
    old = b"old.%d" % os.getpid()
    while lstat(old, stage) is not None:
        old += b"."
    try:
        _take_out(dest, target, stage, old)
    except FileNotFoundError:  # gone already, and this node did not know
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
        return
    except OSError:
        if lstat(old, stage) is None:
            raise
        # It was renamed, and only the answer was lost.
    try:
        os.rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
    except OSError:
        with suppress(OSError):
            os.rename(old, target, src_dir_fd=stage, dst_dir_fd=dest)
        raise


def _take_out(dest: int, target: bytes, stage: int, old: bytes) -> None:
    """Move a non-directory into a stage, with which it goes. What has become a directory meanwhile stays.

    Raises OSError.
    """
    try:
        os.link(target, old, src_dir_fd=dest, dst_dir_fd=stage, follow_symlinks=False)  # never a directory
    except FileNotFoundError:
        raise
    except OSError:  # too many links, another user's file, no links at all
        os.rename(target, old, src_dir_fd=dest, dst_dir_fd=stage)
        if is_directory(stage, old):
            free = (target, *(b"%s.%d" % (target, number) for number in range(1, 10_000)))
            back = next(each for each in free if lstat(each, dest) is None)
            os.rename(old, back, src_dir_fd=stage, dst_dir_fd=dest)
            raise IsADirectoryError(errno.EISDIR, "a directory has taken its place meanwhile") from None
    else:
        try:
            os.unlink(target, dir_fd=dest)
        except FileNotFoundError:
            pass
        except OSError:
            os.unlink(old, dir_fd=stage)
            raise
