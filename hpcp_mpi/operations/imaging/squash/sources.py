"""What goes into a squashfs: where each source lands in it, what is left out of it, and how much there is.

mksquashfs reads the tree by its paths. What it cannot read it makes an empty file of, and ends with 0: so what cannot
be read is found out here, and left out.
"""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hpcp_mpi.operations.prepare.arguments import absolute, expanded
from hpcp_mpi.operations.prepare.copy_job import type_of_source
from hpcp_mpi.rules.excludes import Excludes
from hpcp_mpi.rules.landing import Landing, Type, own_name, place_at, place_sources
from hpcp_mpi.vocab.errors import Failure, UsageError, failure_of
from hpcp_mpi.vocab.paths import child_path, join, printable
from hpcp_mpi.vocab.tally import Tally, one_file

_LATEST = 0xFFFFFFFF  # seconds since 1970 that a squashfs can store
_FORMAT, _REGULAR = 0o170000, stat.S_IFREG  # of a mode


@dataclass(frozen=True, slots=True)
class Source:
    """A source of a squashfs. path: absolute; place: its path in the image, b"": its contents are the root."""

    argument: bytes  # as it was given
    path: bytes
    place: bytes


@dataclass(slots=True)
class Contents:
    """What is in the sources. left_out: paths in the image."""

    tally: Tally = field(default_factory=Tally)
    left_out: list[bytes] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    times: list[bytes] = field(default_factory=list)  # paths of what was changed at a time that is not stored
    itself: bytes = b""  # the path of the image, if it lies in a source


def squash_sources(arguments: Sequence[bytes], in_root: bool) -> list[Source]:
    """Return the sources with their places. in_root: as in a copy to a directory. Raises FatalError, UsageError."""
    named = [name for argument in arguments for name in expanded(argument)]
    typed = [(name, type_of_source(name, "Nothing was made.")) for name in named]
    if not typed:
        raise UsageError("no source was given")
    if not in_root:
        return _at_their_paths(typed)
    _, landings = place_sources(typed, b"/image", True)
    if len(landings) > 1 and not all(landing.target for landing in landings):
        raise UsageError(
            "the contents of several directories cannot be merged in a squashfs",
            "Leave out the / at the end: each is a directory of its own then. Or copy them to one directory first.",
        )
    return [Source(each.argument, _path_of(each), each.target) for each in landings]


def _path_of(landing: Landing) -> bytes:
    if landing.name is None:
        return absolute(landing.argument)
    return child_path(absolute(landing.source_root), landing.name)


def _at_their_paths(typed: list[tuple[bytes, Type]]) -> list[Source]:
    """Return sources that land where they are on this machine."""
    found = []
    for name, kind in typed:
        itself = kind is Type.DIRECTORY or not own_name(name)
        path = absolute(name)
        if kind is Type.DIRECTORY_LINK and not own_name(name):
            path = os.path.realpath(path)
        above = os.path.dirname(path)
        if os.path.realpath(above) != above or (itself and os.path.islink(path)):
            raise UsageError(
                f"the path of {printable(name)} has a symlink in it, so it has no place in a squashfs",
                f"Give it as {printable(os.path.realpath(path))}, or with --image-root.",
            )
        found.append(Source(name, path, path.lstrip(b"/")))
    place_at(typed, [each.place for each in found])  # refuses what is there twice
    for each in found:
        for other in found:
            if other is not each and (not other.place or each.place.startswith(other.place + b"/")):
                raise UsageError(f"{printable(each.argument)} lies in {printable(other.argument)}", "Give the latter.")
    return found


def contents_of(
    sources: Iterable[Source],
    excluded: Excludes | None,
    images: frozenset[tuple[int, int]],
    refuse_if_stopped: Callable[[], None],
) -> Contents:
    """Return what is in the sources. images: the image and its stage, by device and inode: they are not in it."""
    walk = _Walk(excluded, images, refuse_if_stopped)
    for source in sources:
        walk.source(source)
    return walk.result()


class _Walk:
    def __init__(
        self,
        excluded: Excludes | None,
        images: frozenset[tuple[int, int]],
        refuse_if_stopped: Callable[[], None],
    ) -> None:
        self._excluded = excluded
        self._images = images
        self._inodes = frozenset(inode for _, inode in images)
        self._refuse_if_stopped = refuse_if_stopped
        self._unprivileged = os.geteuid() != 0
        self._found = Contents()
        self._counts = [0, 0, 0, 0, 0]  # as a Tally
        self._linked: set[tuple[int, int]] = set()

    def result(self) -> Contents:
        self._found.tally = Tally(*self._counts)
        return self._found

    def source(self, source: Source) -> None:
        """Count a source with all that is in it."""
        status = os.lstat(source.path)
        folders = [(source.path, source.place)]
        if not stat.S_ISDIR(status.st_mode):
            folders = []
            left_out = self._excluded is not None and self._excluded(source.path, False)
            if left_out or not self._count(source.path, status):
                self._found.left_out.append(source.place)
        else:
            self._counts[1] += 1
        while folders:
            path, place = folders.pop()
            self._refuse_if_stopped()
            try:
                folders.extend(self._directory(path, place))
            except OSError as error:
                self._found.failures.append(failure_of(path, error, "cannot list"))
                if place:
                    self._found.left_out.append(place)

    def _directory(self, path: bytes, place: bytes) -> list[tuple[bytes, bytes]]:
        """Count what is in a directory; return the directories in it, with their places. Raises OSError."""
        folders, files, size, inodes = [], 0, 0, self._inodes
        excluded, unprivileged = self._excluded, self._unprivileged
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    is_directory = entry.is_dir(follow_symlinks=False)
                    if excluded is not None and excluded(entry.path, is_directory):
                        self._found.left_out.append(join(place, entry.name))
                        continue
                    status = entry.stat(follow_symlinks=False)
                except OSError as error:
                    self._found.failures.append(failure_of(entry.path, error))
                    self._found.left_out.append(join(place, entry.name))
                    continue
                # Nearly all are like this, and a call takes as long as the lstat.
                if (
                    status.st_mode & _FORMAT == _REGULAR
                    and status.st_nlink == 1
                    and not unprivileged
                    and 0 <= status.st_mtime <= _LATEST
                    and status.st_ino not in inodes
                ):
                    files += 1
                    size += status.st_size
                    continue
                if status.st_ino in inodes and (status.st_dev, status.st_ino) in self._images:
                    self._found.itself = entry.path
                    self._found.left_out.append(join(place, entry.name))
                elif not self._count(entry.path, status):
                    self._found.left_out.append(join(place, entry.name))
                elif is_directory:
                    folders.append((entry.path, join(place, entry.name)))
        self._counts[0] += files
        self._counts[4] += size
        return folders

    def _count(self, path: bytes, status: os.stat_result) -> bool:
        """Count an entry; return whether it can be read."""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG and self._unprivileged and not os.access(path, os.R_OK, effective_ids=True):
            self._found.failures.append(
                Failure(path, "cannot read: Permission denied", attempted=one_file(status.st_size))
            )
            return False
        if not 0 <= status.st_mtime <= _LATEST:
            self._found.times.append(path)
        if kind == stat.S_IFREG:
            self._counts[0] += 1
            if status.st_nlink == 1 or self._is_first_name(status):
                self._counts[4] += status.st_size
        else:
            self._counts[1 if kind == stat.S_IFDIR else 2 if kind == stat.S_IFLNK else 3] += 1
        return True

    def _is_first_name(self, status: os.stat_result) -> bool:
        known = (status.st_dev, status.st_ino) in self._linked
        self._linked.add((status.st_dev, status.st_ino))
        return not known
