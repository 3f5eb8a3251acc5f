"""An entry that is copied alone, as a command names it."""

import os
import stat
from dataclasses import replace

from hpcp_mpi.vocab.units import Batch, Units

PIPE = "a symlink to a pipe, as <(...) of a shell: the link is copied, and nothing of what comes out of the pipe"


def leads_to_pipe(directory: int, name: bytes) -> bool:
    """Return whether a symlink in a directory, a descriptor, leads to a pipe."""
    try:
        return stat.S_ISFIFO(os.stat(name, dir_fd=directory).st_mode)
    except OSError:
        return False


def renamed(batch: Batch, dest_name: bytes) -> Batch:
    """Return a batch of one entry, which has this name at the destination."""
    return replace(batch, units=Units.of(unit._replace(dest_name=dest_name) for unit in batch.units))
