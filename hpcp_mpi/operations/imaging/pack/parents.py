"""The directories above what is copied into an image: made before, and made like those of this machine in the end."""

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

from hpcp_mpi.host import metadata
from hpcp_mpi.vocab.errors import Failure, FatalError, failure_of, reason_of
from hpcp_mpi.vocab.paths import child_path, printable

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_parents(mount: bytes, parents: Iterable[bytes], called: bytes) -> None:
    """Make directories in an image that are not there yet, only for us. Raises FatalError.

    parents: relative to the mount, the upper ones first. No symlink of the image is followed. called: the image
    """
    for parent in parents:
        if not parent:
            continue
        try:
            with ExitStack() as stack:
                above = _opened(stack, mount, os.path.dirname(parent))
                with suppress(FileExistsError):
                    os.mkdir(os.path.basename(parent), 0o700, dir_fd=above)
                _opened(stack, mount, parent)
        except OSError as error:
            raise FatalError(
                f"cannot make {printable(child_path(called + b':/', parent))}: {reason_of(error)}",
                "Something else may have that name in the image; copy into another one.",
            ) from None


def settle_parents(mount: bytes, parents: Sequence[bytes], called: bytes) -> list[Failure]:
    """Give directories of an image the owner, mode, attributes and times of those of this machine; return failures."""
    failures = []
    for parent in reversed(parents):
        try:
            with ExitStack() as stack:
                source = os.open(b"/" + parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, source)
                _settle(source, _opened(stack, mount, parent))
        except OSError as error:
            failures.append(failure_of(child_path(called + b":/", parent), error, "cannot set its metadata"))
    return failures


def _settle(source: int, copy: int) -> None:
    wanted, found = os.fstat(source), os.fstat(copy)
    xattrs = metadata.xattrs_of(source, b"."), metadata.xattrs_of(copy, b".")
    owner, mode = (wanted.st_uid, wanted.st_gid), stat.S_IMODE(wanted.st_mode)
    has = (found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode), found.st_mtime_ns
    if has == (owner, mode, wanted.st_mtime_ns) and xattrs[0] == xattrs[1]:
        return
    metadata.write(copy, b".", found, owner, mode, xattrs, (wanted.st_atime_ns, wanted.st_mtime_ns))


def _opened(stack: ExitStack, mount: bytes, path: bytes) -> int:
    """Return a descriptor of a directory in an image, reached without symlinks. Raises OSError."""
    fd = os.open(mount, _OPEN)
    stack.callback(os.close, fd)
    for name in path.split(b"/") if path else ():
        fd = os.open(name, _OPEN, dir_fd=fd)
        stack.callback(os.close, fd)
    return fd
