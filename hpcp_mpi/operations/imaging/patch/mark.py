"""The mark of patches that are being applied to a directory: with it the same run goes on where a killed one ended.

A directory that a killed run had made has not got its metadata yet, and a file may have half of it: without the mark
that would look as if somebody had changed them.
"""

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from hpcp_mpi.host.block.staging import store_names
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.operations.imaging.rules.patch import MARK
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import first_few, printable

NAME = MARK
_MOST = 1 << 20  # bytes


def begun(root: int, target: bytes, ids: Sequence[bytes], force: bool) -> bool:
    """Return whether a run that applied the same patches was ended in between. Raises FatalError.

    root: a descriptor of target. force: what another patch has begun is no reason to stop
    """
    found = _read(root)
    if found is None or found[0] == list(ids):
        return found is not None
    if force:
        return False
    raise FatalError(
        f"another patch was being applied to {printable(target)}, and not to its end: {first_few(found[0], 3)}",
        "Apply that one again first, or apply this one with -fa.",
    )


def _read(root: int) -> tuple[list[bytes], int] | None:
    """Return what a mark of ours says: (ids, mtime of the root before it, ns); None where there is none.

    A file of another user is no mark. Raises FatalError.
    """
    try:
        fd = os.open(NAME, READ, dir_fd=root)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise FatalError(f"cannot read {printable(NAME)} in the target: {reason_of(error)}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        os.close(fd)
        return None
    with open(fd, "rb") as file:
        *ids, last = file.read(_MOST).split(b"\n")
    return ids, int(last) if last.removeprefix(b"-").isdigit() else status.st_mtime_ns


def set_mark(root: int, target: bytes, ids: Sequence[bytes]) -> None:
    """Make the mark, and have it stored before anything else is. One of the same patches stays. Raises FatalError."""
    found = _read(root)
    if found is not None and found[0] == list(ids):
        return
    try:
        mtime = os.fstat(root).st_mtime_ns
        with suppress(FileNotFoundError):
            os.unlink(NAME, dir_fd=root)
        fd = os.open(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
        with open(fd, "wb") as file:
            file.write(b"\n".join([*ids, b"%d" % mtime]))
            file.flush()
            os.fsync(fd)
        store_names(root)
    except OSError as error:
        raise FatalError(
            f"nothing can be written to {printable(target)}: {reason_of(error)}", "Nothing was changed."
        ) from None


def remove_mark(root: int, mtime: int | None, as_before: bool) -> None:
    """Remove the mark, if there is one of ours. Raises OSError, FatalError.

    mtime: that the root gets, ns; None: it keeps the one it has or, as_before, gets the one that it had before the mark
    """
    found = _read(root)
    if found is None:
        return
    status = os.fstat(root)
    os.unlink(NAME, dir_fd=root)
    if mtime is None:
        mtime = found[1] if as_before else status.st_mtime_ns
    os.utime(root, ns=(status.st_atime_ns, mtime))
