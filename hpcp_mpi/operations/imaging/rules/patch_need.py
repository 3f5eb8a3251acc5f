"""How much a patch takes in its image. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from hpcp_mpi.formats.entry_state import State
from hpcp_mpi.operations.imaging.rules.patch import parents
from hpcp_mpi.vocab.image_options import Need

_BLOCK = 4096
_NO_ATTRIBUTES = b"ef46db3751d8e999"  # the digest of none
_LONG_TARGET = 59  # bytes of a symlink's target that its inode holds
_FIRST = _BLOCK - 36  # bytes of names in the first block of a directory
_OWN_FILES, _OWN_DIRECTORIES = 3, 1  # what says what the patch is


def need_of(entries: Iterable[tuple[bytes, State, int]], tables: int) -> Need:
    """Return what a patch takes. entries: (path, state, bytes in blocks); tables: bytes of what says what it is

    Hard links are counted as files of their own: a little more than is needed.
    """
    files = symlinks = long_symlinks = others = blocks = data = attributes = count = 0
    directories: set[bytes] = set()
    names: defaultdict[bytes, int] = defaultdict(int)
    name_bytes = 0
    for path, state, stored in entries:
        count += 1
        directory, _, name = path.rpartition(b"/")
        directories.update(parents(path))
        name_bytes += len(name)
        names[directory] += 8 + (len(name) + 3 & ~3)
        attributes += state.attributes not in (None, _NO_ATTRIBUTES)
        if state.kind == b"f":
            size = state.size or 0
            files += 1
            data += size
            blocks += min(_whole(size), _whole(stored) if stored else _whole(size))
        elif state.kind == b"l":
            symlinks += 1
            long_symlinks += len(state.target or b"") > _LONG_TARGET
        elif state.is_directory:
            directories.add(path)
        else:
            others += 1
    directories.discard(b"")
    several = sum(-(-2 * each // _BLOCK) * _BLOCK for each in names.values() if each > _FIRST)
    return Need(
        files=files + _OWN_FILES,
        directories=len(directories) + 1 + _OWN_DIRECTORIES,
        symlinks=symlinks,
        others=others,
        long_symlinks=long_symlinks,
        entries=count + len(directories) + _OWN_FILES + _OWN_DIRECTORIES,
        blocks=blocks + _whole(tables) + _OWN_FILES * _BLOCK,
        data=data + tables,
        name_bytes=name_bytes + sum(map(len, directories)),
        directory_blocks=(len(directories) + 2) * _BLOCK + several,
        attribute_bytes=attributes * 256,
        attribute_inodes=attributes,
    )


def _whole(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
