"""Output files that get their names when they are complete, or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from hpcp_mpi.vocab.paths import STAGE_PREFIX


@contextmanager
def output_file(path: bytes) -> Iterator[IO[bytes]]:
    """Yield a new file that is renamed to path when the `with` block ends without an error. Raises OSError.

    It is made beside its place, under a name that lists and copies leave out. It gets the mode of a file it replaces.
    """
    beside = os.path.join(os.path.dirname(path), STAGE_PREFIX + os.urandom(8).hex().encode() + b".new")
    try:
        with open(beside, "xb") as file:
            with suppress(OSError):
                old = os.lstat(path)
                if stat.S_ISREG(old.st_mode):
                    os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            yield file
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
