"""Files that lstat shows as equal on both sides: which of them need a closer look."""

from collections.abc import Sequence

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import metadata
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.hashing import differing
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.units import DEST

_LONG = MIB  # tails of this size are hashed, not held
_SOME = 256  # files after which it is seen whether the run is ending


def doubtful_among(
    context: JobContext, index: int, source: int, dest: int, names: Sequence[bytes], sizes: Sequence[int]
) -> set[bytes]:
    """Return the names of files whose tails or attributes are not the same, or have to be looked at closer.

    index: of the source. source, dest: descriptors of the directories. Raises host.commands.Stopped.
    """
    options = context.options
    tail = _LONG if options.full_hash else options.hash_size
    hidden = context.hides_acls(index), context.hides_acls(DEST)
    if tail == 0:
        return {
            *metadata.carriers(source, names, context.crowd, hidden[0]),
            *metadata.carriers(dest, names, context.crowd, hidden[1]),
        }
    hiding = hidden if any(hidden) else None
    doubtful: set[bytes] = set()
    files = list(zip(names, sizes, strict=True))
    if tail >= _LONG:
        doubtful = {name for name, size in files if size >= _LONG}
        files = [file for file in files if file[1] < _LONG]

    def compare(file: tuple[bytes, int]) -> None:
        doubtful.update(differing((file,), source, dest, tail, hiding))

    if not context.crowd.each(compare, files):
        for at in range(0, len(files), _SOME):
            doubtful.update(differing(files[at : at + _SOME], source, dest, tail, hiding))
            if context.commands.stopped:
                raise Stopped
    return doubtful
