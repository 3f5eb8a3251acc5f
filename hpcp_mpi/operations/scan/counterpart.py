"""The counterpart of a directory, as it is by now."""

import stat

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.vocab.paths import join


def counterpart(context: JobContext, dest_dir: bytes) -> tuple[bool, bool, bool]:
    """Return of a directory's counterpart: it is missing, a non-directory is in its place, or on the way there."""
    names = dest_dir.split(b"/") if dest_dir else []
    if context.job.destination_root is None:
        return True, False, False
    for depth, name in enumerate(names):
        try:
            with context.dest.at(join(*names[:depth])) as directory:
                status = lstat(name, directory)
        except OSError:
            break  # listing it reports the error
        if status is None:
            return True, False, False
        if not stat.S_ISDIR(status.st_mode):
            return True, True, depth < len(names) - 1
    return False, False, False
