"""What a clone has beyond what copies make: sockets, where nobody listens, and swap files without holes."""

import os
import stat
from collections.abc import Iterator

from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import failure_of
from hpcp_mpi.vocab.outcome import SOCKET
from hpcp_mpi.vocab.paths import relative_to
from hpcp_mpi.vocab.report import Report

_MAGIC, _MAGIC_AT = b"SWAPSPACE2", 10  # before the end of the first page
_PAGES = (4096, 8192, 16384, 32768, 65536)


def make_sockets(run: Imaging, report: Report, source: bytes, target: bytes) -> None:
    """Make those sockets that a report says were not copied. source, target: where both trees are mounted"""
    notes = []
    for path, note in report.outcome.notes:
        below = relative_to(path, run.shown.names[source] + b"/") if note == SOCKET else None
        if not below:
            notes.append((path, note))
            continue
        try:
            _make(source + b"/" + below, target + b"/" + below)
        except OSError as error:
            report.outcome.failures.append(failure_of(path, error, "cannot make a socket"))
    report.outcome.notes = notes


def _make(source: bytes, target: bytes) -> None:
    status = os.lstat(source)
    try:
        os.mknod(target, stat.S_IFSOCK | 0o600)
    except FileExistsError:
        if not stat.S_ISSOCK(os.lstat(target).st_mode):
            raise
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    above = os.lstat(os.path.dirname(source))
    os.utime(os.path.dirname(target), ns=(above.st_atime_ns, above.st_mtime_ns))


def without_holes(run: Imaging, report: Report, source: bytes, target: bytes) -> None:
    """Give all blocks to those swap files that got holes: the kernel swaps to none with holes.

    source, target: where both trees are mounted
    """
    for below, status in _sparse_files(target):
        path = target + b"/" + below
        try:
            original = os.lstat(source + b"/" + below)
            if original.st_blocks * 512 < original.st_size or not _is_swap(path):
                continue
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.posix_fallocate(fd, 0, status.st_size)
                os.utime(fd, ns=(original.st_atime_ns, original.st_mtime_ns))
            finally:
                os.close(fd)
        except FileNotFoundError:  # it went from a source that is in use
            continue
        except OSError as error:
            shown = run.shown.path(path)
            report.outcome.failures.append(failure_of(shown, error, "a swap file that has holes in the clone"))


def _sparse_files(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield path and status of each file below a mounted root that has fewer blocks than its size."""
    below = [b""]
    while below:
        path = below.pop()
        with os.scandir(os.path.join(root, path)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(os.path.join(path, entry.name))
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_blocks * 512 < status.st_size:
                        yield os.path.join(path, entry.name), status


def _is_swap(path: bytes) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return any(os.pread(fd, len(_MAGIC), page - _MAGIC_AT) == _MAGIC for page in _PAGES)
    finally:
        os.close(fd)
