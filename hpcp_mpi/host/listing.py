"""Listing of a directory side by side with its counterpart at the destination.

Most entries are plain files with nothing at the destination, or with a true copy there. Those two kinds are sorted out
here, in one tight loop, and kept as columns: a millionth of a second per entry is a quarter of an hour per billion.
Directories are known by the type that the listing itself gives; they need no lstat each.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, repeat
from stat import S_IFREG, S_ISDIR
from typing import Protocol

from hpcp_mpi.host.entries import _CODING, _TYPE, encoded, lstat
from hpcp_mpi.host.latency import ParallelCalls
from hpcp_mpi.host.stage import stages_among
from hpcp_mpi.vocab.tally import HOLES_MATTER

_FEW = 3  # with no more entries, threads do not gain
_SLICE = 4096  # entries of one slice, at most
_MOST_NAMES = 100_000  # of a destination directory that are held; in a bigger one every name is looked up
ALL_SECONDS = (-(1 << 63), 1 << 63)  # all that a file can have
CLOCKS_NS = 1_000_000_000  # the most by which the clocks of two file systems may differ

# An entry of the source: its name, its lstat, and the lstat of the entry of that name at the destination.
# A plain tuple: a named one takes as long to make as the lstat.
Pair = tuple[bytes, os.stat_result, os.stat_result | None]

Names = dict[str, "os.DirEntry[str]"]


class Stats(Protocol):
    """An object with a stat method, as os.DirEntry."""

    def stat(self, *, follow_symlinks: bool) -> os.stat_result: ...


Failed = Callable[[bytes, OSError], None]


@dataclass(frozen=True, slots=True)
class Sorting:
    """What the entries of a directory are told apart by.

    plain:    False where no entry may be sorted out here, as with excludes
    by_lstat: files equal by lstat are equal, unless the source's inode was changed after the copy's
    astray:   returns whether the destination changes an mtime (ns): such entries are not sorted out here
    within_ns: mtimes no further apart are equal
    seconds:  the first and the last that the destination can store; other new files are not sorted out here
    """

    plain: bool
    by_lstat: bool
    astray: Callable[[int], bool] | None = None
    within_ns: int = 0
    seconds: tuple[int, int] = ALL_SECONDS


@dataclass(slots=True)
class Slice:
    """A part of a directory's entries, sorted by kind."""

    fresh: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # (names, sizes) of plain files
    # with one name, and nothing at the destination
    equal: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # the same for plain files with one
    # name on both sides, equal by lstat
    same: list[int] = field(default_factory=lambda: [0, 0])  # number and bytes of equal files to skip
    folders: list[tuple[bytes, int, bool | None]] = field(default_factory=list)  # (name, inode, what is at the
    # destination: None nothing, False a non-directory)
    rest: list[Pair] = field(default_factory=list)
    doubtful: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # (names, sizes) of files equal
    # by lstat, of which it is known that they need a closer look
    links: list[bytes] = field(default_factory=list)  # where symlinks lead that are equal on both sides
    last: bool = False  # there are no more entries
    twins: list[Pair] = field(default_factory=list)  # files with several names, each equal to what has its name

    @property
    def _same(self) -> int:
        return self.same[0] + len(self.equal[0]) + len(self.doubtful[0]) + len(self.links) + len(self.twins)

    @property
    def beside(self) -> int:
        """The number of entries whose name exists at the destination, as any type."""
        folders = sum(there is not None for _, _, there in self.folders)
        return self._same + folders + sum(there is not None for _, _, there in self.rest)

    def __len__(self) -> int:
        return self._same + len(self.fresh[0]) + len(self.folders) + len(self.rest)


def entries_of(directory: int) -> tuple[Names | None, list[bytes]]:
    """Return the entries of a directory, None if too many to hold, and the names of stages there. Raises OSError."""
    with os.scandir(directory) as entries:
        names: Names | None = {entry.name: entry for entry in islice(entries, _MOST_NAMES)}
        stages = _stages(directory, names or ())
        while more := [entry.name for entry in islice(entries, _MOST_NAMES)]:
            names = None
            stages += _stages(directory, more)
    return names, stages


def _stages(directory: int, names: Iterable[str]) -> list[bytes]:
    return stages_among(directory, (encoded(name) for name in names if name[0] == "."))


def slices(
    source: int, dest: int | None, names: Names | None, how: Sorting, failed: Failed, crowd: ParallelCalls
) -> Iterator[Slice]:
    """Yield the entries of source beside those of dest, some thousand at a time.

    names:  what dest holds, from entries_of
    failed: called with each name whose lstat fails, and the error. Raises OSError if the directory is unreadable.
    """
    astray = how.astray
    with os.scandir(source) as entries:
        while True:
            some = Slice()
            beside = _DestSide(some, dest, names)
            listed = list(islice(entries, _SLICE))
            some.last = len(listed) < _SLICE
            _look_ahead(listed, names, crowd)
            if astray is not None:
                listed = _without_astray(listed, astray, some, beside, failed)
            # In one loop for each case: a call per entry would take as long as an lstat.
            if how.plain and (dest is None or (names is not None and not names)):
                _all_new(listed, some, how.seconds, failed)
            elif how.plain and dest is not None:
                there = names if names is not None else {entry.name: _Unheld(entry.name, dest) for entry in listed}
                _mostly_equal(listed, some, beside, there, how, failed)
            else:
                for entry in listed:
                    _again(entry, some, beside, failed)
            yield some
            if some.last:
                return


def all_new(source: int, how: Sorting, crowd: ParallelCalls) -> Slice | None:
    """Return the only slice of a directory of which the destination has nothing; None where there are more.

    Raises OSError, also where an entry cannot be looked at.
    """
    with os.scandir(source) as entries:
        listed = list(islice(entries, _SLICE))
    if len(listed) == _SLICE or not how.plain or how.astray is not None:
        return None
    some = Slice()
    _look_ahead(listed, None, crowd)
    _all_new(listed, some, how.seconds, _raised)
    return some


def _raised(name: bytes, error: OSError) -> None:
    raise error


def _without_astray(
    listed: list["os.DirEntry[str]"],
    astray: Callable[[int], bool],
    some: Slice,
    beside: "_DestSide",
    failed: Failed,
) -> list["os.DirEntry[str]"]:
    """Add entries whose mtimes the destination changes to some; return the others. Entries cache their lstat."""
    others = []
    for entry in listed:
        try:
            taken = not entry.is_dir(follow_symlinks=False) and astray(entry.stat(follow_symlinks=False).st_mtime_ns)
        except OSError:
            taken = True  # the next call reports the error
        if taken:
            _again(entry, some, beside, failed)
        else:
            others.append(entry)
    return others


def _look_ahead(listed: list["os.DirEntry[str]"], names: Names | None, crowd: ParallelCalls) -> None:
    """Call lstat for many entries at once, where it takes long. Entries cache their answers."""

    def look(entry: "os.DirEntry[str]") -> None:
        with suppress(OSError):  # the next call reports it
            entry.stat(follow_symlinks=False)

    if len(listed) <= _FEW:
        return
    ours, theirs = listed[:2], [names[entry.name] for entry in listed[:2] if entry.name in names] if names else []
    # One of the two file systems may be slow, or both.
    if seconds := crowd.gains(look, ours) or crowd.gains(look, theirs):
        ours = [entry for entry in listed if not entry.is_dir(follow_symlinks=False)]
        theirs = [names[entry.name] for entry in ours if entry.name in names] if names else []
        crowd.all(look, ours + theirs, seconds)


class _Unheld:
    """An entry of a destination directory that has too many to be held; it may not exist."""

    __slots__ = ("_directory", "_name")

    def __init__(self, name: str, directory: int) -> None:
        self._name = name
        self._directory = directory

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._directory, follow_symlinks=follow_symlinks)


class _DestSide:
    """The destination's entries of the same names as some of the source."""

    def __init__(self, some: Slice, dest: int | None, names: Names | None) -> None:
        self._some = some
        self._dest = dest
        self._names = names

    def lstat(self, name: str) -> os.stat_result | None:
        if self._dest is None or (self._names is not None and name not in self._names):
            return None
        return lstat(encoded(name), self._dest)

    def folder(self, entry: "os.DirEntry[str]") -> None:
        """Add a directory of the source to the slice."""
        there = None
        if self._names is not None:
            found = self._names.get(entry.name)
            there = None if found is None else found.is_dir(follow_symlinks=False)
        elif self._dest is not None:
            status = lstat(encoded(entry.name), self._dest)
            there = None if status is None else S_ISDIR(status.st_mode)
        self._some.folders.append((encoded(entry.name), entry.inode(), there))


def _all_new(entries: Iterable["os.DirEntry[str]"], some: Slice, seconds: tuple[int, int], failed: Failed) -> None:
    """Add entries to a slice where the destination has nothing."""
    first, last = seconds
    names: list[str] = []
    folders: list[str] = []
    rest: list[str] = []
    inodes: list[int] = []
    statuses: list[os.stat_result] = []
    sizes = some.fresh[1]
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                inodes.append(entry.inode())
                continue
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            failed(encoded(entry.name), error)
            continue
        if (
            status[0] & _TYPE == S_IFREG
            and status[3] == 1
            and first <= status[8] <= last
            and (status[6] < HOLES_MATTER or status.st_blocks * 512 >= status[6])
        ):
            names.append(entry.name)
            sizes.append(status[6])
        else:
            rest.append(entry.name)
            statuses.append(status)
    some.fresh[0].extend(_all_encoded(names))
    if folders:
        some.folders.extend(zip(_all_encoded(folders), inodes, repeat(None)))
    if rest:
        some.rest.extend(zip(_all_encoded(rest), statuses, repeat(None)))


def _mostly_equal(
    entries: Iterable["os.DirEntry[str]"],
    some: Slice,
    beside: _DestSide,
    there: Mapping[str, Stats],
    how: Sorting,
    failed: Failed,
) -> None:
    """Add entries to a slice where the destination has copies of most."""
    by_lstat, within_ns, (first, last) = how.by_lstat, how.within_ns, how.seconds
    equal: list[str] = []
    fresh: list[str] = []
    sizes = some.equal[1]
    count = total = 0
    for entry in entries:
        name = entry.name
        found = None
        try:
            if entry.is_dir(follow_symlinks=False):
                beside.folder(entry)
                continue
            status = entry.stat(follow_symlinks=False)
            if name in there:
                found = there[name].stat(follow_symlinks=False)
                if (
                    (
                        status.st_mtime_ns == found.st_mtime_ns
                        or (within_ns and abs(status.st_mtime_ns - found.st_mtime_ns) <= within_ns)
                    )
                    and status[0] == found[0]
                    and status[3:7] == found[3:7]  # names, owner, group, size
                    and status[3] == 1
                    and status[0] & _TYPE == S_IFREG
                ):
                    if by_lstat and status.st_ctime_ns < found.st_ctime_ns - CLOCKS_NS:
                        count += 1
                        total += status[6]
                        continue
                    equal.append(name)
                    sizes.append(status[6])
                    continue
        except FileNotFoundError:
            # It was removed meanwhile, on one side or the other.
            _again(entry, some, beside, failed)
            continue
        except OSError as error:
            failed(encoded(name), error)
            continue
        regular = status[0] & _TYPE == S_IFREG
        if (
            found is None
            and regular
            and status[3] == 1
            and first <= status[8] <= last
            and (status[6] < HOLES_MATTER or status.st_blocks * 512 >= status[6])
        ):
            fresh.append(name)
            some.fresh[1].append(status[6])
        else:
            some.rest.append((encoded(name), status, found))
    some.same = [count, total]
    some.equal[0].extend(_all_encoded(equal))
    some.fresh[0].extend(_all_encoded(fresh))


def _again(entry: "os.DirEntry[str]", some: Slice, beside: _DestSide, failed: Failed) -> None:
    try:
        if entry.is_dir(follow_symlinks=False):
            beside.folder(entry)
        else:
            some.rest.append((encoded(entry.name), entry.stat(follow_symlinks=False), beside.lstat(entry.name)))
    except OSError as error:
        failed(encoded(entry.name), error)


def _all_encoded(names: list[str]) -> list[bytes]:
    """Return the bytes of names, in one call, as no name holds a NUL: a call for each takes four times as long."""
    return "\0".join(names).encode(*_CODING).split(b"\0") if names else []


def only_in(dest: int, source: int, names: Names | None, found: int) -> Iterator[list[tuple[bytes, bool]]]:
    """Yield entries of dest that have no counterpart in source, each with whether it is a directory.

    names: as for slices. found: the number of them that slices found in source. Raises OSError.
    """
    if names is not None:
        if found == len(names):
            return
        there = set(os.listdir(source))
        extra = [entry for name, entry in names.items() if name not in there]
        yield [(encoded(entry.name), entry.is_dir(follow_symlinks=False)) for entry in extra]
        return
    with os.scandir(dest) as entries:
        while listed := list(islice(entries, _SLICE)):
            each = ((encoded(entry.name), entry.is_dir(follow_symlinks=False)) for entry in listed)
            yield [(name, is_dir) for name, is_dir in each if lstat(name, source) is None]
