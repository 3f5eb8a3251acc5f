"""Listing a directory and its counterpart side by side.

Most entries are plain files with nothing at the destination, or with a true copy there. Those two kinds are told apart
here, in one tight loop, and kept as columns: a millionth of a second per entry is a quarter of an hour per billion.
Directories are known by the type that the listing itself gives; they are not looked at one by one.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from stat import S_IFMT, S_IFREG

from hpcp_mpi.vocab.names import STAGE_PREFIX

_SLICE = 4096  # entries that are handed on together
_MOST_NAMES = 100_000  # of a destination directory that are held; of a bigger one every name is looked up
_CODING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # os.fsencode looks them up for every name

# An entry of the source: its name, its lstat, and that of what has its name at the destination.
# A plain tuple: a named one takes as long to make as the lstat.
Pair = tuple[bytes, os.stat_result, os.stat_result | None]

Names = dict[str, bool]  # of a directory's entries: is it a directory?
Failed = Callable[[bytes, OSError], None]


@dataclass(slots=True)
class Slice:
    """Some entries of a directory."""

    fresh: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # (names, sizes) of plain files
    # with one name, and nothing at the destination
    equal: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # the same for plain files with one
    # name on both sides, equal in all that two lstats show
    folders: list[tuple[bytes, int, bool | None]] = field(default_factory=list)  # (name, inode, what is at the
    # destination: None nothing, False a non-directory)
    rest: list[Pair] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.fresh[0]) + len(self.equal[0]) + len(self.folders) + len(self.rest)


def names_in(directory: int) -> set[bytes]:
    """Return the names in a directory. Raises OSError."""
    return {encoded(name) for name in os.listdir(directory)}


def encoded(name: str) -> bytes:
    """Return a name as the bytes it is."""
    return name.encode(*_CODING)


def typed_names(directory: int) -> tuple[Names | None, list[bytes]]:
    """Return the names in a directory with their types, None if there are too many to hold, and our stages there.

    Raises OSError.
    """
    names: Names | None = {}
    stages: list[bytes] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == "." and name.encode(*_CODING).startswith(STAGE_PREFIX):
                stages.append(name.encode(*_CODING))
            if names is not None:
                names[name] = entry.is_dir(follow_symlinks=False)
                if len(names) > _MOST_NAMES:
                    names = None
    return names, stages


def slices(source: int, dest: int | None, names: Names | None, plain: bool, failed: Failed) -> Iterator[Slice]:
    """Yield the entries of source beside those of dest, some thousand at a time.

    names: what dest holds, from typed_names. plain: False where nothing may be told apart here, as with excludes.
    What cannot be looked at is given to failed. Raises OSError when the directory itself cannot be read.
    """
    with os.scandir(source) as entries:
        while True:
            if dest is None and plain:
                some, more = _new(entries, failed)
            else:
                some, more = _pairs(entries, dest, names, plain, failed)
            yield some
            if not more:
                return


def _new(entries: Iterator["os.DirEntry[str]"], failed: Failed) -> tuple[Slice, bool]:
    """Return the next entries where there is no counterpart, and whether there are more."""
    some = Slice()
    (names, sizes), folders, rest = some.fresh, some.folders, some.rest
    for count, entry in enumerate(entries, 1):
        name = entry.name
        coded = name.encode(*_CODING)
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append((coded, entry.inode(), None))
            else:
                status = entry.stat(follow_symlinks=False)
                if S_IFMT(status[0]) == S_IFREG and status[3] == 1 and name[0] != ".":
                    names.append(coded)
                    sizes.append(status[6])
                else:
                    rest.append((coded, status, None))
        except OSError as error:
            failed(coded, error)
        if count == _SLICE:
            return some, True
    return some, False


def _pairs(
    entries: Iterator["os.DirEntry[str]"], dest: int | None, there: Names | None, plain: bool, failed: Failed
) -> tuple[Slice, bool]:
    """Return the next entries beside their counterparts, and whether there are more."""
    some = Slice()
    (names, sizes), (fresh_names, fresh_sizes), rest = some.equal, some.fresh, some.rest
    stat_at = os.stat
    for count, entry in enumerate(entries, 1):
        name = entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                some.folders.append((name.encode(*_CODING), entry.inode(), _kind(name, dest, there)))
            else:
                status = entry.stat(follow_symlinks=False)
                found = None
                if dest is not None and (there is None or name in there):
                    try:
                        found = stat_at(name, dir_fd=dest, follow_symlinks=False)
                    except FileNotFoundError:
                        pass
                if not plain or name[0] == "." or S_IFMT(status[0]) != S_IFREG or status[3] != 1:
                    rest.append((name.encode(*_CODING), status, found))
                elif found is None:
                    fresh_names.append(name.encode(*_CODING))
                    fresh_sizes.append(status[6])
                elif (
                    status.st_mtime_ns == found.st_mtime_ns
                    and status[0] == found[0]
                    and status[3:7] == found[3:7]  # names, owner, group, size
                ):
                    names.append(name.encode(*_CODING))
                    sizes.append(status[6])
                else:
                    rest.append((name.encode(*_CODING), status, found))
        except OSError as error:
            failed(name.encode(*_CODING), error)
        if count == _SLICE:
            return some, True
    return some, False


def _kind(name: str, dest: int | None, there: Names | None) -> bool | None:
    """Return whether a directory has name at the destination; None where nothing has."""
    if dest is None:
        return None
    if there is not None:
        return there.get(name)
    status = lstat(encoded(name), dest)
    return None if status is None else S_IFMT(status.st_mode) == 0o040000


def lstat(name: bytes, directory: int) -> os.stat_result | None:
    """Return the lstat of an entry; None where there is none. Raises OSError."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
