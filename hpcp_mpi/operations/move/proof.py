"""What proves that a source may go: all of its bytes are in its copy, and all of its metadata.

The scan and the check of a move compare whole files. What is asked here is what they cannot know: whether the copy lost
an owner or an attribute, and, where another entry may have taken its place meanwhile, once more its bytes.
"""

import os
import stat
from contextlib import ExitStack

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import READ
from hpcp_mpi.host.metadata import xattrs_of
from hpcp_mpi.rules.equality import Rights, metadata_changes
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.units import DEST

_EXACT = Rights(0, frozenset())  # nobody's rights excuse what a copy lacks
_WORDS = {"p": "mode", "o": "owner", "g": "group"}

Entry = tuple[int, bytes]  # (descriptor of the directory, name)


def lacks(
    context: JobContext, source: int, mine: Entry, theirs: Entry, wanted: os.stat_result, found: os.stat_result
) -> str:
    """Return in words what of an entry's metadata its copy does not have; "" if nothing. Raises OSError.

    source: which root mine is of. wanted, found: what lstat says of both
    """
    options = context.options
    if options.content_only or options.accept_loss:
        return ""
    changes = metadata_changes(wanted, found, context.job.times, _EXACT)
    if stat.S_ISDIR(wanted.st_mode) and found.st_mode == wanted.st_mode | stat.S_ISGID:
        changes = changes.replace("p", "")  # inherited from its parent, besides all that the source has
    words = [_WORDS[change] for change in changes if change in _WORDS]
    attributes = xattrs_of(*mine, context.hides_acls(source))
    if attributes:
        there = xattrs_of(*theirs, context.hides_acls(DEST))
        words += [printable(name) for name, value in sorted(attributes.items()) if there.get(name) != value]
    return ", ".join(words)


def same_content(
    context: JobContext, mine: Entry, theirs: Entry, wanted: os.stat_result, found: os.stat_result
) -> bool:
    """Return whether two regular files, of which wanted and found are the lstats, hold the same bytes. Raises OSError,
    and host.commands.Stopped.
    """
    from hpcp_mpi.host.uncached_read import same_bytes

    with ExitStack() as stack:
        ours, other = (_opened(stack, *each) for each in ((mine, wanted), (theirs, found)))
        return same_bytes(ours, other, 0, wanted.st_size, lambda: context.commands.stopped)


def _opened(stack: ExitStack, entry: Entry, expected: os.stat_result) -> int:
    directory, name = entry
    fd = os.open(name, READ, dir_fd=directory)
    stack.callback(os.close, fd)
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino, status.st_size) != (expected.st_dev, expected.st_ino, expected.st_size):
        raise OSError(0, "it was replaced meanwhile")
    return fd
