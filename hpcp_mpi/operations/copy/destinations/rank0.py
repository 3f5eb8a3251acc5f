"""A command that is several copies: to several destinations, or of one source after the other.

All of them are checked before the first begins. To several destinations: directories go to all of them, anything else
to the one that has it already, or to the one that `rules` beside this file tells. So the copies that follow each other
agree without a record of who took what, and a later run finds everything in its place.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Face
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.listing import Slice
from hpcp_mpi.operations.copy.destinations.rules import Room, Spread
from hpcp_mpi.operations.copy.phases import carry_out
from hpcp_mpi.operations.copy.symlink_targets.rank0 import carry_out_all
from hpcp_mpi.operations.prepare.copy_job import NoDestination, Prepared, prepare
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.operations.scan.records import Folder
from hpcp_mpi.operations.scan.symlinks import leads
from hpcp_mpi.rules import excludes
from hpcp_mpi.vocab.errors import Failure, FatalError, UsageError
from hpcp_mpi.vocab.job import CopyJob
from hpcp_mpi.vocab.paths import STAGE_PREFIX, below, is_below, join, shown
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Asked
from hpcp_mpi.vocab.tally import Tally

_LINKS = 40  # as many symlinks the kernel follows before it gives up

Inode = tuple[int, int]


def lead_several(wire: Wire, asked: Asked, face: Face) -> Report:
    """Do a copy that is several; rank 0 calls it, the others follow. Raises FatalError."""
    destinations, missing = _checked(asked)
    if len(destinations) > 1:
        report = _spread(wire, asked, destinations, face)
    else:
        prepared = prepare(asked.sources, destinations[0], asked.options)
        # Each copy knows of the others' sources, but does not scan them.
        scans = [partial(Scan, only=index) for index in range(len(prepared.landings))]
        # Whether anything may be removed is known when all are copied: a later one may fail, or exceed --max-delete.
        apart = asked.options.sequential and not asked.options.mirror
        report = carry_out_all(wire, prepared, face, scans if apart else (None,))
        if asked.options.mirror and asked.options.sequential and len(scans) > 1:
            note = "the sources were copied together, in spite of -nb: what -rme removes depends on all of them"
            report.outcome.remark(prepared.job.destination, note)
    for destination in missing:
        report.outcome.remark(destination, "it does not exist; left out (-ncd)")
    return report


def _checked(asked: Asked) -> tuple[list[bytes], list[bytes]]:
    """Return the destinations to copy to, and those that are left out. Nothing is made yet. Raises FatalError."""
    there: dict[bytes, bytes] = {}  # by their roots: the same one twice is one
    missing: list[bytes] = []
    for destination in asked.destinations:
        try:
            copy = prepare(asked.sources, destination, replace(asked.options, dry_run=True))
        except NoDestination:
            if len(asked.destinations) == 1:
                raise
            missing.append(destination)
            continue
        if len(asked.destinations) > 1:
            _refuse_several(copy)
        there.setdefault(os.path.realpath(copy.job.destination), destination)
    if not there:
        raise FatalError("none of the destinations exists", "Make one of them, or leave out -ncd.")
    for root in there:
        for other in there:
            if root != other and is_below(other, root):
                raise UsageError(f"the destination {shown(other)} lies inside another one, {shown(root)}")
    return list(there.values()), missing


def _refuse_several(copy: Prepared) -> None:
    """Refuse what cannot be done with several destinations."""
    if any(landing.dest_name is not None for landing in copy.landings):
        raise UsageError("a file cannot be spread over several destinations", "Name directories with -d.")
    if copy.job.options.move:
        raise UsageError(
            "-rm with several destinations: none of them would hold all of a source",
            "Copy first, and remove the sources when that is done.",
        )


# --- several destinations


def _spread(wire: Wire, asked: Asked, destinations: list[bytes], face: Face) -> Report:
    """Copy to one destination after the other; what found no room where it belongs goes where there is some."""
    # Rank 0 decides what goes where, so it lists; links go where their targets are, so no target is fetched.
    options = replace(asked.options, parallel_listing=False, links="never")
    copies = [prepare(asked.sources, destination, options) for destination in destinations]
    roots = [each.job.destination for each in copies]
    shares = [1.0] * len(roots) if asked.random_destinations else _shares(roots)
    plan = _Plan(roots, Spread(shares, b"\0".join(roots)))
    total = Report()
    for again in (False, True):
        if again and not plan.left_over:
            break
        for index, each in enumerate(copies):
            if total.ended_early:
                break
            # What a copy before could not do is not tried again elsewhere: it is named already.
            chooser = _Chooser(plan, index, again, each.job, {failure.path for failure in total.failures})
            this = _may_still_remove(each, total.outcome.removed.entries)
            this = replace(this, made_root=each.made_root and not again)
            report = carry_out(wire, this, face, partial(Scan, choose=chooser))
            if index or again:
                report.scanned = report.scanned._replace(directories=0)  # they are the same in all
            _add(total, report)
    _name_left_over(total, plan)
    total.destination = roots[0]
    total.destinations = roots
    return total


def _may_still_remove(copy: Prepared, removed: int) -> Prepared:
    """Return a copy that may remove what those before it have left of --max-delete."""
    options = copy.job.options
    if options.max_delete is None:
        return copy
    options = replace(options, max_delete=max(0, options.max_delete - removed))
    return replace(copy, job=replace(copy.job, options=options))


def _add(total: Report, report: Report) -> None:
    total.sources, total.dry_run = report.sources, report.dry_run
    total.add(report)


def _name_left_over(total: Report, plan: "_Plan") -> None:
    for source, size in plan.left_over.values():
        reason = f"it fits on none of the destinations: it takes {size:,} bytes"
        total.failures.append(Failure(source, reason, attempted=size))
        total.scanned = total.scanned.plus(Tally(files=1, bytes=size))


def _free(root: bytes) -> int:
    """Return the bytes that a user may still write where a directory is, or will be."""
    while not os.path.isdir(root):
        root = os.path.dirname(root)
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


def _shares(roots: list[bytes]) -> list[float]:
    """Return the free bytes of each destination; those on one file system share what is free there."""
    devices = []
    for root in roots:
        while not os.path.isdir(root):
            root = os.path.dirname(root)
        devices.append(os.stat(root).st_dev)
    return [_free(root) / devices.count(device) for root, device in zip(roots, devices, strict=True)]


class _Plan:
    """What the copies to several destinations have in common. Used by many threads, under its lock."""

    def __init__(self, roots: list[bytes], spread: Spread) -> None:
        self.roots = roots
        self.spread = spread
        self.left_over: dict[bytes, tuple[bytes, int]] = {}  # path below the destinations: (source, bytes)
        self.lock = threading.Lock()


class _Chooser:
    """Leaves to one destination what is its own. What it has already is: it is compared, and updated, there."""

    def __init__(self, plan: _Plan, mine: int, again: bool, job: CopyJob, failed: set[bytes]) -> None:
        """mine: index of the destination. again: all had their turn, and this is about what is left over.

        failed: sources that were tried
        """
        self._plan = plan
        self._mine = mine
        self._again = again
        self._job = job
        self._failed = failed
        self._room = Room(_free(plan.roots[mine]))
        self._excluded = excludes.matcher(job.options.excludes)
        self._homes: dict[Inode, int] = {}  # of files with several names that some destination has
        self._taken: set[Inode] = set()  # those that there is room for, under whichever name

    def __call__(self, folder: Folder, some: Slice, source: int) -> None:
        with ExitStack() as stack:
            there = [fd for index in range(len(self._plan.roots)) for fd in self._opened(stack, index, folder)]
            entries = _Entries(self._job, self._plan, folder, source, there)
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

    def _keeps(self, entries: "_Entries", name: bytes, status: os.stat_result, there: os.stat_result | None) -> bool:
        if there is None or stat.S_ISDIR(there.st_mode):
            return self._takes(entries, name, status.st_size, status)
        if status.st_nlink > 1:
            with self._plan.lock:
                self._homes.setdefault((status.st_dev, status.st_ino), self._mine)
        return not self._again

    def _takes(self, entries: "_Entries", name: bytes, size: int, status: os.stat_result | None) -> bool:
        """Tell whether something is for here that this destination does not have. status: None for a plain file."""
        source = entries.source_path(name)
        mode = stat.S_IFREG if status is None else status.st_mode
        if name.startswith(STAGE_PREFIX) or stat.S_ISSOCK(mode) or (self._excluded and self._excluded(source)):
            return not self._again  # it is not copied; whoever says why is asked
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

    def _decide_link(self, entries: "_Entries", name: bytes, source: bytes) -> bool:
        home = entries.home_of_target(name)
        with self._plan.lock:
            last = self._mine == len(self._plan.roots) - 1
            if self._again and home != self._mine and not last:
                return False
            return self._is_turn(home, entries.path(name), source, 0) and (
                not self._again or self._plan.left_over.pop(entries.path(name), None) is not None
            )

    def _is_turn(self, home: int, path: bytes, source: bytes, size: int) -> bool:
        """Tell whether this copy is to take what belongs to a destination, and none has. The lock is held."""
        if self._again:
            return path in self._plan.left_over
        if home < self._mine and not self._job.options.dry_run:
            self._plan.left_over.setdefault(path, (source, size))  # that one had its turn, and did not take it
        return home == self._mine


class _Entries:
    """Entries of one folder, and what other destinations have of them."""

    def __init__(self, job: CopyJob, plan: _Plan, folder: Folder, source: int, there: list[tuple[int, int]]) -> None:
        """there: (destination, descriptor of the folder's counterpart) of the others."""
        self._job = job
        self._plan = plan
        self._folder = folder
        self._source = source
        self._there = there

    def path(self, name: bytes) -> bytes:
        return join(self._folder.dest_dir, name)

    def source_path(self, name: bytes) -> bytes:
        return below(self._job.sources[self._folder.source].path, join(self._folder.source_dir, name))

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
    """Return what the home of a file with several names is told by."""
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
