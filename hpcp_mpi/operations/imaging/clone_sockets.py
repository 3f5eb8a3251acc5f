"""The sockets of a clone: copies leave them out, as nobody listens there; a disk is to have them."""

import os
import stat

from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import failure_of
from hpcp_mpi.vocab.outcome import SOCKET
from hpcp_mpi.vocab.paths import relative_to
from hpcp_mpi.vocab.report import Report


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
    os.mknod(target, stat.S_IFSOCK | 0o600)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    above = os.lstat(os.path.dirname(source))
    os.utime(os.path.dirname(target), ns=(above.st_atime_ns, above.st_mtime_ns))
