"""Which destination takes which entry of a source."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.listing import Slice
from hpcp_mpi.operations.copy.destinations.rules import DestinationHash, PromisedSpace
from hpcp_mpi.operations.scan.records import Folder
from hpcp_mpi.operations.scan.symlinks import leads
from hpcp_mpi.rules import excludes
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.paths import child_path, join

_LINKS = 40  # as many symlinks the kernel follows before it gives up


Inode = tuple[int, int]


class _Plan:
    """What the copies to several destinations have in common. Used by many threads, under its lock."""

    def __init__(self, roots: list[bytes], spread: DestinationHash) -> None:
        self.roots = roots
        self.spread = spread
        self.left_over: dict[bytes, tuple[bytes, int]] = {}  # path below the destinations: (source, bytes)
        self.lock = threading.Lock()


class DestinationFilter:
    """Leaves to one destination what is its own. What it has already is: it is compared, and updated, there."""

    def __init__(self, plan: _Plan, mine: int, again: bool, job: Job, failed: set[bytes]) -> None:
        """mine: index of the destination. again: all had their turn, and this is about what is left over.

        failed: sources that were tried
        """
        self._plan = plan
        self._mine = mine
        self._again = again
        self._job = job
        self._failed = failed
        self._room = PromisedSpace(_free(plan.roots[mine]))
        self._excluded = excludes.matcher(job.options.all_excludes)
        self._homes: dict[Inode, int] = {}  # of files with several names that some destination has
        self._taken: set[Inode] = set()  # those that there is room for, under whichever name

    def __call__(self, folder: Folder, some: Slice, source: int) -> None:
        with ExitStack() as stack:
            there = [fd for index in range(len(self._plan.roots)) for fd in self._opened(stack, index, folder)]
            entries = _DirectoryPair(self._job, self._plan, folder, source, there)
            names, sizes = some.fresh
            kept = [each for each in zip(names, sizes, strict=True) if self._takes(entries, *each, None)]
            some.fresh = [name for name, _ in kept], [size for _, size in kept]
            some.rest = [each for each in some.rest if self._keeps(entries, *each)]
        if self._again:  # it had its turn
            some.equal, some.same = ([], []), [0, 0]

    def _opened(self, stack: ExitStack, index: int, folder: Folder) -> Iterator[tuple[int, int]]:
        """Yield a destination and a descriptor of the folder's counterpart there, if it is another one that has it."""
        if index != self._mine:
            with suppress(OSError):
                tree = stack.enter_context(_tree(self._plan.roots[index]))
                yield index, stack.enter_context(tree.at(folder.dest_dir))

    def _keeps(
        self, entries: "_DirectoryPair", name: bytes, status: os.stat_result, there: os.stat_result | None
    ) -> bool:
        if there is None or stat.S_ISDIR(there.st_mode):
            return self._takes(entries, name, status.st_size, status)
        if status.st_nlink > 1:
            with self._plan.lock:
                self._homes.setdefault((status.st_dev, status.st_ino), self._mine)
        return not self._again

    def _takes(self, entries: "_DirectoryPair", name: bytes, size: int, status: os.stat_result | None) -> bool:
        """Return whether something is for here that this destination does not have. status: None for a plain file."""
        source = entries.source_path(name)
        mode = stat.S_IFREG if status is None else status.st_mode
        excluded = self._excluded is not None and self._excluded(source, False)
        if stat.S_ISSOCK(mode) or excluded:
            return not self._again  # it is not copied; the destination whose turn it is says why
        inode = (status.st_dev, status.st_ino) if status is not None and status.st_nlink > 1 else None
        holder = entries.holder(name)
        with self._plan.lock:
            if holder is not None:
                if inode is not None:
                    self._homes.setdefault(inode, holder)
                return False
            if source in self._failed:
                return False
        if stat.S_ISLNK(mode):
            return self._decide_link(entries, name, source)
        with self._plan.lock:
            if inode is None:
                home = self._plan.spread.home(entries.path(name))
            else:
                home = self._homes.get(inode, self._plan.spread.home(_group(inode[1])))
            needed = 0 if inode in self._taken or not stat.S_ISREG(mode) else size
            if not self._is_turn(home, entries.path(name), source, size):
                return False
            if not (self._room.take(needed) or self._room.take(entries.allocated(name))):
                self._plan.left_over[entries.path(name)] = source, size
                return False
            if inode is not None:
                self._taken.add(inode)
            self._plan.left_over.pop(entries.path(name), None)
            return True

    def _decide_link(self, entries: "_DirectoryPair", name: bytes, source: bytes) -> bool:
        home = entries.home_of_target(name)
        with self._plan.lock:
            last = self._mine == len(self._plan.roots) - 1
            if self._again and home != self._mine and not last:
                return False
            return self._is_turn(home, entries.path(name), source, 0) and (
                not self._again or self._plan.left_over.pop(entries.path(name), None) is not None
            )

    def _is_turn(self, home: int, path: bytes, source: bytes, size: int) -> bool:
        """Return whether this copy is to take what belongs to a destination, and none has. The lock is held."""
        if self._again:
            return path in self._plan.left_over
        if home < self._mine and not self._job.options.dry_run:
            self._plan.left_over.setdefault(path, (source, size))  # that one had its turn, and did not take it
        return home == self._mine


class _DirectoryPair:
    """Entries of one folder, and what other destinations have of them."""

    def __init__(self, job: Job, plan: _Plan, folder: Folder, source: int, there: list[tuple[int, int]]) -> None:
        """there: (destination, descriptor of the folder's counterpart) of the others."""
        self._job = job
        self._plan = plan
        self._folder = folder
        self._source = source
        self._there = there

    def path(self, name: bytes) -> bytes:
        return join(self._folder.dest_dir, name)

    def source_path(self, name: bytes) -> bytes:
        return child_path(self._job.sources[self._folder.source].path, join(self._folder.source_dir, name))

    def holder(self, name: bytes) -> int | None:
        """Return another destination that has something of this name, and not a directory."""
        return next((index for index, fd in self._there if _is_entry(lstat(name, fd))), None)

    def allocated(self, name: bytes) -> int:
        """Return the bytes that a file takes, without its holes."""
        status = lstat(name, self._source)
        return 0 if status is None else status.st_blocks * 512

    def home_of_target(self, name: bytes) -> int:
        """Return the destination that has, or will have, what a symlink points to; the first one if none does."""
        try:
            target = os.readlink(name, dir_fd=self._source)
        except OSError:
            return 0
        source_dir, dest_dir = self._folder.source_dir, self._folder.dest_dir
        for _ in range(_LINKS):
            there, here = leads(source_dir, target), leads(dest_dir, target)
            if there is None or here is None or there[0] or here[0]:
                return 0
            source, path = there[1], here[1]
            for index, root in enumerate(self._plan.roots):
                if _is_entry(_look(root, path)[0]):
                    return index
            status, target = _look(self._job.sources[self._folder.source].path, source)
            if status is None or stat.S_ISDIR(status.st_mode) or self._job.landed[self._folder.source] is None:
                return 0
            if not stat.S_ISLNK(status.st_mode):
                return self._plan.spread.home(path if status.st_nlink == 1 else _group(status.st_ino))
            source_dir, dest_dir = source.rpartition(b"/")[0], path.rpartition(b"/")[0]
        return 0


def _group(inode: int) -> bytes:
    """Return what decides the home of a file with several names."""
    return b"inode %d" % inode


def _is_entry(status: os.stat_result | None) -> bool:
    return status is not None and not stat.S_ISDIR(status.st_mode)


@contextmanager
def _tree(root: bytes) -> Iterator[Tree]:
    tree = Tree(root)
    try:
        yield tree
    finally:
        tree.close()


def _look(root: bytes, path: bytes) -> tuple[os.stat_result | None, bytes]:
    """Return the lstat of what lies at path below root, None where nothing does, and where it points to."""
    directory, _, name = path.rpartition(b"/")
    with suppress(OSError), _tree(root) as tree, tree.at(directory) as fd:
        status = lstat(name or b".", fd)
        if status is not None and stat.S_ISLNK(status.st_mode):
            return status, os.readlink(name, dir_fd=fd)
        return status, b""
    return None, b""


def _free(root: bytes) -> int | None:
    """Return the bytes that a user may still write where a directory is, or will be; None where that is not known."""
    while not os.path.isdir(root):
        root = os.path.dirname(root)
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize if status.f_blocks else None
