"""What sources take in a file system, found by listing them once.

What cannot be listed counts as far as it is known: the copy will name it. Other mounts are entered, as a copy does.
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from stat import S_IFREG, S_ISLNK, S_ISREG

from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import READ, Tree
from hpcp_mpi.host.entries import _TYPE, encoded
from hpcp_mpi.host.latency import Latency, ParallelCalls
from hpcp_mpi.host.metadata import carriers, xattrs_of
from hpcp_mpi.host.retrying import never
from hpcp_mpi.host.walk_pool import Pool
from hpcp_mpi.rules.excludes import Excludes
from hpcp_mpi.vocab.image_options import Need
from hpcp_mpi.vocab.paths import child_path, join

_BLOCK = 4096
_SLICE = 4096  # entries of a directory that are looked at together
_LOOK = 0.05  # seconds between two looks whether the run was stopped
_INODE_ROOM = 88  # bytes of attributes that an ext inode of 256 bytes holds
_LONG_TARGET = 59  # bytes of a symlink's target that an ext inode holds
_SMALL = 16 * _BLOCK  # a file of no more bytes counts as if it had no holes
_MOST_HOLES = 4096  # that are looked for in a file
_DIRECTORY_ROOM = _BLOCK - 36  # bytes of names in the first block of a directory

# A directory: which source, its path in there.
_Task = tuple[int, bytes]


def needed(
    sources: Sequence[bytes],
    excludes: Excludes | None = None,
    stop: Callable[[], bool] = never,
    leave_out: frozenset[tuple[int, int]] = frozenset(),
    directories_only: bool = False,
) -> Need:
    """Return what sources (absolute paths) take, each with all that is below it. Raises Stopped as stop says.

    leave_out: (device, inode) of files that are not counted, as the image itself
    """
    walk = _Walk(sources, excludes, leave_out, directories_only)
    try:
        tasks = [task for number in range(len(sources)) if (task := walk.begin(number)) is not None]
        walk.run(tasks, stop)
        return walk.need()
    finally:
        walk.close()


class _Walk:
    """The listing of all sources, by as many threads as gain."""

    def __init__(
        self,
        sources: Sequence[bytes],
        excludes: Excludes | None,
        leave_out: frozenset[tuple[int, int]],
        directories_only: bool,
    ) -> None:
        self._total = dict.fromkeys(Need.__slots__, 0)
        self._sources = sources
        self._excluded = excludes
        self._leave_out = leave_out
        self._directories_only = directories_only
        self._lock = threading.Lock()
        self._names_left: dict[tuple[int, int], int] = {}  # of files with several names that were met
        self._latency = Latency()
        self._crowd = ParallelCalls()
        self._own = threading.local()
        self._trees: list[Tree] = []
        self._busy = 0
        self._ended = False
        self._failure: BaseException | None = None

    def begin(self, number: int) -> _Task | None:
        """Count a source itself; return the task of listing it if it is a directory."""
        path = self._sources[number]
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode):
            self._add({"directories": 1, "entries": 1, "name_bytes": len(os.path.basename(path))})
            return number, b""
        found = _Found()
        parent = os.open(os.path.dirname(path) or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = os.path.basename(path)
            self._count(found, parent, name, status)
            if not S_ISLNK(status.st_mode):
                found.attributes(parent, [name])
        finally:
            os.close(parent)
        self._add(found.values)
        return None

    def run(self, tasks: list[_Task], stop: Callable[[], bool]) -> None:
        pool = Pool(self._step, self._fail, slow=lambda: self._latency.slow)
        pool.add(tasks)
        pause = 0.001
        try:
            while not pool.exhausted and self._failure is None:
                if stop():
                    raise Stopped
                time.sleep(pause)
                pause = min(_LOOK, pause * 1.5)
        finally:
            self._ended = True
            pool.end()
            while self._busy:  # until no thread has a directory open
                time.sleep(0.001)
        if self._failure is not None:
            raise self._failure

    def need(self) -> Need:
        return Need(**self._total)

    def close(self) -> None:
        """Close all that is open: a mount could not be unmounted."""
        self._crowd.close()
        for tree in self._trees:
            tree.close()

    def _fail(self, error: BaseException) -> None:
        self._failure = error

    def _step(self, task: _Task) -> list[_Task]:
        with self._lock:
            self._busy += 1
        try:
            return [] if self._ended else self._listed(*task)
        except OSError:
            return []
        finally:
            with self._lock:
                self._busy -= 1

    def _tree(self, number: int) -> Tree:
        """Return this thread's way into a source."""
        trees: dict[int, Tree] = self._own.__dict__.setdefault("trees", {})
        if number not in trees:
            trees[number] = Tree(self._sources[number], stopped=lambda: self._ended)
            with self._lock:
                self._trees.append(trees[number])
        return trees[number]

    def _listed(self, number: int, path: bytes) -> list[_Task]:
        """Count the entries of a directory; return the directories among them."""
        found = _Found()
        shown = child_path(self._sources[number], path)
        below: list[bytes] = []
        with self._latency.noted():
            handle = self._tree(number).at(path)
            directory = handle.__enter__()
        try:
            with suppress(OSError), os.scandir(directory) as entries:  # what was found until then counts
                while not self._ended and (some := list(islice(entries, _SLICE))):
                    below += self._some(found, directory, some, shown)
            if not path:
                found.attributes(directory, [b"."])
        finally:
            handle.__exit__(None, None, None)
        values = found.values
        values["directory_blocks"] += directory_bytes(found.names)
        self._add(values)
        return [(number, join(path, name)) for name in below]

    def _some(self, found: "_Found", directory: int, some: list["os.DirEntry[str]"], shown: bytes) -> list[bytes]:
        """Count some entries of a directory, shown is its path; return the directories among them."""
        self._crowd.each(_look, some)
        excluded, plain = self._excluded, not self._leave_out
        begin = shown.rstrip(b"/") + b"/"
        below: list[bytes] = []
        asked: list[bytes] = []
        others: list[bytes] = []  # counted by _count
        files = blocks = data = 0
        for entry in some:
            name = encoded(entry.name)
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
                if excluded is not None and excluded(begin + name, is_directory):
                    continue
                if is_directory:
                    below.append(name)
                    asked.append(name)
                    continue
                if self._directories_only:
                    continue
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                files += 1  # at least its inode
                asked.append(name)
                continue
            size = status.st_size
            # Most are such: in this loop, as a call takes as long as the lstat.
            if plain and status.st_mode & _TYPE == S_IFREG and status.st_nlink == 1 and size <= status.st_blocks * 512:
                files += 1
                blocks += size + _BLOCK - 1 & -_BLOCK
                data += size
                asked.append(name)
            elif self._count(found, directory, name, status) and not S_ISLNK(status.st_mode):
                others.append(name)
        found.names += sum(11 + len(name) & ~3 for name in asked)
        values = found.values
        values["name_bytes"] += sum(map(len, asked))
        values["entries"] += len(asked)
        values["directories"] += len(below)
        values["files"] += files
        values["blocks"] += blocks
        values["data"] += data
        found.attributes(directory, asked + others, self._crowd)
        return below

    def _count(self, found: "_Found", directory: int, name: bytes, status: os.stat_result) -> bool:
        """Count an entry that is no directory; return whether its inode was met for the first time."""
        values, mode = found.values, status.st_mode
        if self._leave_out and (status.st_dev, status.st_ino) in self._leave_out:
            return False
        values["entries"] += 1
        values["name_bytes"] += len(name)
        found.names += 11 + len(name) & ~3
        if status.st_nlink > 1 and self._met(status):
            return False
        if S_ISREG(mode):
            values["files"] += 1
            size = status.st_size
            held = -(-size // _BLOCK) * _BLOCK
            if size > _SMALL and status.st_blocks * 512 < size:
                held = _without_holes(directory, name, size, status.st_blocks * 512)
                size = min(size, held)
            values["blocks"] += held
            values["data"] += size
        elif S_ISLNK(mode):
            values["symlinks"] += 1
            if status.st_size > _LONG_TARGET:
                values["long_symlinks"] += 1
                values["target_bytes"] += status.st_size
        else:
            values["others"] += 1
        return True

    def _met(self, status: os.stat_result) -> bool:
        """Return whether a file of several names was met under another one. Who has met all of them is forgotten."""
        key = status.st_dev, status.st_ino
        with self._lock:
            left = self._names_left.pop(key, 0)
            if left != 1:
                self._names_left[key] = (left or status.st_nlink) - 1
        return bool(left)

    def _add(self, values: dict[str, int]) -> None:
        with self._lock:
            for name, value in values.items():
                self._total[name] += value


class _Found:
    """What was found in one directory."""

    def __init__(self) -> None:
        self.values: dict[str, int] = dict.fromkeys(Need.__slots__, 0)
        self.names = 0  # bytes that its entries take in a directory of ext

    def attributes(self, directory: int, names: list[bytes], crowd: ParallelCalls | None = None) -> None:
        """Count the extended attributes of entries."""
        for name in carriers(directory, names, crowd or ParallelCalls()):
            with suppress(OSError):
                each = xattrs_of(directory, name)
                self.values["attribute_bytes"] += sum(len(key) + len(value) for key, value in each.items())
                self.values["attribute_inodes"] += sum(_sizes_in_inode(each)) > _INODE_ROOM


def _sizes_in_inode(attributes: dict[bytes, bytes]) -> list[int]:
    """Return the bytes that each attribute takes in an inode of ext: the first part of its name is a number there."""
    return [16 + (len(key.partition(b".")[2]) + 3 & ~3) + (len(value) + 3 & ~3) for key, value in attributes.items()]


def directory_bytes(names: int) -> int:
    """Return the bytes of a directory of ext in blocks of 4096. names: those that its entries take"""
    return _BLOCK if names <= _DIRECTORY_ROOM else -(-2 * names // _BLOCK) * _BLOCK


def _look(entry: "os.DirEntry[str]") -> None:
    with suppress(OSError):  # the next call reports it
        entry.stat(follow_symlinks=False)


def _without_holes(directory: int, name: bytes, size: int, allocated: int) -> int:
    """Return the bytes in blocks that a copy of a file takes: what is compressed here is not there.

    allocated: what it takes here, for what cannot be opened
    """
    try:
        fd = os.open(name, READ, dir_fd=directory)
    except OSError:
        return allocated
    held, at = 0, 0
    try:
        for _ in range(_MOST_HOLES):
            begin = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, begin, os.SEEK_HOLE)
            held += -(-at // _BLOCK) * _BLOCK - begin // _BLOCK * _BLOCK
            if at >= size:
                break
        else:
            held = max(held, allocated)
    except OSError as error:
        if error.errno != errno.ENXIO:  # that is: no data behind
            held = max(held, allocated)
    finally:
        os.close(fd)
    return min(held, -(-size // _BLOCK) * _BLOCK)
