"""Hard links across units: when all first names are copied, the other names are linked to them.

link(2) is complete in one step and replaces nothing, so a name that nothing has needs no stage. What it must lead to is
the inode that was looked at: a directory that only root and we can write to has no other one under the leader's name;
in any other one the leader is opened, and its descriptor is linked. A rank that is lost and makes its link late gives a
free name to a copy of this run, or nothing: others find that one there, or replace what is not the leader.

What has the name already is replaced as by any copy: a stage, a link in there, a rename.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import NamedTuple

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import FULL, close_late, made, publish
from hpcp_mpi.engine.itemize import itemize_replaced
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import path_of, pinned
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.machine import kept_open
from hpcp_mpi.host.stage import staged
from hpcp_mpi.host.unchanged import only_ours
from hpcp_mpi.operations.copy.check import check
from hpcp_mpi.operations.copy.publishing import LEADS_TO_ITS_PLACE, leads_to_its_place
from hpcp_mpi.operations.copy.worker import copy
from hpcp_mpi.rules.equality import NEW, change_letters, maybe_identical
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.tally import Tally, total_of
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units, link_paths

# No link can be made, but a file can: too many links, other quota or file system, no links at all.
_COPY_INSTEAD = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP)
_MOST_OPEN = 48  # directories that are kept open for the links of a batch
_IN_USE = 3  # of them, by one link
_MEASURED = 2  # links of a batch of which it is noted how long they take


def link(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Make each unit of a LINK batch a name of what was copied to its leader.

    A leader that is not there, or not whole, was not copied: then the first unit is copied and leads the others.
    """
    units = list(batch.units)
    with _Links(context, batch, outcome) as links:
        while units:
            with context.gate:  # where calls are fast, one thread makes as many links as the interpreter can
                count = links.make(units)
            if count < len(units):
                links.copy_instead(units[count])
            units = units[count + 1 :]


class _Directory(NamedTuple):
    """A directory that is kept open."""

    keeps: ExitStack
    fd: int
    status: os.stat_result


class _Leader(NamedTuple):
    """What other names are linked to, as it was looked at."""

    path: bytes  # below the destination root
    name: bytes
    directory: _Directory
    found: os.stat_result
    pin: int | None  # a descriptor of it; None where its name leads to nothing else

    def link(self, name: bytes, directory: int) -> None:
        """Give it a name in an open directory. Raises OSError."""
        if self.pin is None:
            os.link(self.name, name, src_dir_fd=self.directory.fd, dst_dir_fd=directory, follow_symlinks=False)
        else:
            os.link(path_of(self.pin), name, dst_dir_fd=directory)  # follows what /proc has, and no symlink that it is


class _Links:
    """The links of one batch: neighbours share open directories, and looks at their leader."""

    def __init__(self, context: JobContext, batch: Batch, outcome: Outcome) -> None:
        self._context = context
        self._batch = batch
        self._outcome = outcome
        self._most = max(_IN_USE + 1, kept_open(_MOST_OPEN))
        self._open: OrderedDict[tuple[int, bytes], _Directory] = OrderedDict()
        self._leader: _Leader | None = None
        self._pin = ExitStack()
        self._instead: dict[bytes, bytes] = {}  # what leads in the place of leaders that nothing can be linked to
        self._full: tuple[int, int] | None = None  # the inode that can have no more names
        self._occupied = False  # the last name was there already
        self._last: list[tuple[bytes, _Directory] | None] = [None] * _IN_USE  # what each use was made of last
        self._touched: _Directory | None = None  # the one that was written to last
        self._made: list[Tally] = []

    def __enter__(self) -> "_Links":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pin.close()
        for directory in self._open.values():
            directory.keeps.close()
        self._outcome.copied = self._outcome.copied.plus(total_of(self._made))
        self._outcome.linked += len(self._made)

    def make(self, units: Sequence[Unit]) -> int:
        """Make links; return the number of units up to the first that has to be copied instead."""
        for at, unit in enumerate(units):
            target, leader = link_paths(unit)
            try:
                with self._context.dest_latency.noted() if at < _MEASURED else nullcontext():
                    linked = self._make(unit, target, leader)
            except OSError as error:
                reason = f"cannot be linked at {printable(self._context.dest_path(target))}: {reason_of(error)}"
                path = self._context.source_path(self._batch, unit.name)
                self._outcome.failures.append(Failure(path, reason, attempted=unit.tally))
                continue
            if not linked:
                return at
        return len(units)

    def copy_instead(self, unit: Unit) -> None:
        """Copy what cannot be linked; it leads what its leader led."""
        target, leader = link_paths(unit)
        self._instead[leader] = target
        if self._full is not None:
            self._context.full[self._full] = target
            self._full = None
        copy(self._context, [_alone(self._batch, unit, target, Kind.COPY)], self._outcome)

    def _make(self, unit: Unit, target: bytes, leader: bytes) -> bool:
        """Make one link; return False where the entry has to be copied instead. Raises OSError."""
        context, outcome = self._context, self._outcome
        source_dir, _, source_name = unit.name.rpartition(b"/")
        try:
            source = self._source(source_dir)
            wanted = os.stat(source_name, dir_fd=source.fd, follow_symlinks=False)
        except FileNotFoundError:
            _vanished(context, self._batch, unit, outcome)
            return True
        if context.options.dry_run:
            _pretend(context, self._batch, unit, wanted, outcome)
            return True
        first = self._whole(self._instead.get(leader, leader), wanted)
        while first is not None and _inode(first.found) in context.full:
            self._instead[leader] = further = context.full[_inode(first.found)]
            first = self._whole(further, wanted)
        if first is None:
            return False
        dest_dir, _, name = target.rpartition(b"/")
        dest = self._dest(dest_dir, source.status)
        # Names that are there come together, as those that are not: each is asked for as the one before was.
        there = lstat(name, dest.fd) if self._occupied else None
        if there is None:
            if context.commands.stopped:
                raise Stopped
            try:
                first.link(name, dest.fd)
            except FileExistsError:
                there = lstat(name, dest.fd)
            except OSError as error:
                return self._unlinkable(unit, first, error)
            else:
                self._occupied = False
                if dest is not self._touched:
                    self._touched = dest
                    outcome.touched.add((self._batch.source, source_dir, dest_dir))
                self._count(unit, target, first.path, wanted.st_mode)
                return True
        self._occupied = True
        if _is_file(first.found, there):
            outcome.skipped = outcome.skipped.plus(unit.tally)
            return True
        replacing = there is not None
        return self._replace(unit, (source_dir, source_name), (dest_dir, dest.fd, name), first, wanted, replacing)

    def _unlinkable(self, unit: Unit, first: _Leader, error: OSError) -> bool:
        """Return False where an entry has to be copied as it cannot be linked; else raise the error."""
        if error.errno == errno.EMLINK:
            self._full = _inode(first.found)
        if error.errno in _COPY_INSTEAD:
            path = self._context.source_path(self._batch, unit.name)
            self._outcome.warn(path, f"copied, not linked: {reason_of(error)}")
        elif error.errno != errno.ENOENT:  # another user has removed the leader
            raise error
        return False

    def _count(self, unit: Unit, target: bytes, leader: bytes, mode: int) -> None:
        if self._context.options.itemize:
            self._outcome.items.append((change_letters("h", mode, NEW), target, leader))
        self._made.append(unit.tally)

    def _replace(
        self,
        unit: Unit,
        of: tuple[bytes, bytes],
        to: tuple[bytes, int, bytes],
        first: _Leader,
        wanted: os.stat_result,
        replacing: bool,
    ) -> bool:
        """Make a link where something has the name. of: the source's directory and name; to: the same, with an fd."""
        context, outcome, batch = self._context, self._outcome, self._batch
        source_dir, source_name = of
        dest_dir, dest, name = to
        with ExitStack() as stack:
            if replacing and stat.S_ISLNK(wanted.st_mode):
                source = stack.enter_context(context.source(batch).handle(source_dir))
                if leads_to_its_place(source, source_name, (source, source_name), dest, name):
                    raise OSError(0, LEADS_TO_ITS_PLACE)
            outcome.touched.add((batch.source, source_dir, dest_dir))
            stage = stack.enter_context(staged(dest, context.run_id, outcome.warn, context.options.content_only))
            try:
                first.link(name, stage)
            except FileExistsError:
                # The stage is new and private: an earlier try made it, and only its answer was lost (ESTALE on NFS).
                if not _is_file(first.found, lstat(name, stage)):
                    raise
            except OSError as error:
                return self._unlinkable(unit, first, error)
            if context.commands.stopped:
                raise Stopped  # another rank may have done it by now, and more
            try:
                publish(context, (stage, name), dest, name, dest_dir)
            except OSError as error:
                if not (context.options.mirror and error.errno in FULL):
                    raise
                outcome.after_mirror.append(batch.with_units(Units.of([unit])))
                return True
        self._count(unit, link_paths(unit)[0], first.path, wanted.st_mode)
        return True

    # --- directories and leaders, kept open

    def _source(self, path: bytes) -> _Directory:
        return self._kept(0, path) or self._keep(0, path, self._context.source(self._batch).handle(path))

    def _dest(self, path: bytes, above: os.stat_result) -> _Directory:
        """Return a directory of the destination. above: the fstat of its counterpart"""
        directory = self._kept(1, path)
        if directory is None:
            directory = self._keep(1, path, made(self._context, path, self._batch.over))
            try:
                close_late(self._context, self._batch.source, path, above, directory.fd)
            except BaseException:
                self._drop(1, path)  # nothing is put in it before that was done
                raise
        return directory

    def _whole(self, path: bytes, wanted: os.stat_result) -> _Leader | None:
        """Return the leader at path; None where it is not there, or not whole.

        It was copied before any link is made, maybe by another node: what looks otherwise may be this one's memory.
        """
        context = self._context
        for _ in context.looks.each():
            leader = self._look(path)
            if leader is not None:
                found = leader.found
                if maybe_identical(wanted, found, context.job.times) and _owned(context, wanted, found):
                    return leader
            self._leader = None
            self._drop(2, path.rpartition(b"/")[0])  # it may be another one by now
        return None

    def _look(self, path: bytes) -> _Leader | None:
        """Return what is at path; None where nothing is."""
        above, _, name = path.rpartition(b"/")
        directory = self._kept(2, above)
        known = self._leader
        if known is not None and known.path == path and known.directory is directory:
            return known
        try:
            if directory is None:
                directory = self._keep(2, above, self._context.dest.handle(above))
            self._leader = None
            self._pin.close()
            if only_ours(directory.status, os.geteuid()):
                pin, found = None, os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            else:
                pin = self._pin.enter_context(pinned(directory.fd, name))
                found = os.fstat(pin)
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._leader = known = _Leader(path, name, directory, found, pin)
        return known

    def _drop(self, use: int, path: bytes) -> None:
        """Close a directory if it is kept."""
        self._last[use] = None
        directory = self._open.pop((use, path), None)
        if directory is not None:
            directory.keeps.close()

    def _kept(self, use: int, path: bytes) -> _Directory | None:
        last = self._last[use]
        if last is not None and last[0] == path:
            return last[1]
        known = self._open.get((use, path))
        if known is not None:
            self._last[use] = path, known
            self._open.move_to_end((use, path))
        return known

    def _keep(self, use: int, path: bytes, opening: AbstractContextManager[int]) -> _Directory:
        """Open a directory, and close the one that was not used for the longest time. Raises OSError."""
        with ExitStack() as stack:
            fd = stack.enter_context(opening)
            directory = _Directory(ExitStack(), fd, os.fstat(fd))
            directory = directory._replace(keeps=stack.pop_all())
        self._open[use, path] = directory
        self._last[use] = path, directory
        if len(self._open) > self._most:
            for each, last in enumerate(self._last):
                if last is not None:
                    self._open.move_to_end((each, last[0]))
            self._open.popitem(last=False)[1].keeps.close()
        return directory


def _is_file(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Return whether two looks were at the same inode. other: None, there was nothing"""
    return other is not None and _inode(one) == _inode(other)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _owned(context: JobContext, wanted: os.stat_result, found: os.stat_result) -> bool:
    """Return whether a leader has the owner that its copy has: else somebody has put another file in its place."""
    return context.options.content_only or found.st_uid in (context.rights.owner(wanted, found)[0], os.geteuid())


def _vanished(context: JobContext, batch: Batch, unit: Unit, outcome: Outcome) -> None:
    path = context.source_path(batch, unit.name)
    if context.job.resumed:
        outcome.warn(path, VANISHED)
    else:
        outcome.failures.append(Failure(path, VANISHED, True, unit.tally))


def _pretend(context: JobContext, batch: Batch, unit: Unit, wanted: os.stat_result, outcome: Outcome) -> None:
    """Say what a link would change."""
    target, leader = link_paths(unit)
    there, first = _at_destination(context, target), _at_destination(context, leader)
    if first is not None and _is_file(first, there) and _stays(context, batch, unit, target):
        outcome.skipped = outcome.skipped.plus(unit.tally)
        return
    if context.options.compare:
        itemize_replaced(context, target, wanted.st_mode, outcome)
    known = there is not None and stat.S_IFMT(there.st_mode) == stat.S_IFMT(wanted.st_mode)
    outcome.items.append((change_letters("h", wanted.st_mode, "" if known else NEW), target, leader))
    outcome.copied = outcome.copied.plus(unit.tally)
    outcome.linked += 1


def _at_destination(context: JobContext, path: bytes) -> os.stat_result | None:
    directory, _, name = path.rpartition(b"/")
    try:
        with context.dest.at(directory) as fd:
            return lstat(name, fd)
    except OSError:
        return None  # not there yet


def _stays(context: JobContext, batch: Batch, unit: Unit, target: bytes) -> bool:
    """Return whether the file that unit is a name of stays at the destination: else a new one gets all its names."""
    alone = _alone(batch, unit, target, Kind.CHECK)
    return not len(check(context, alone, Outcome()).units)


def _alone(batch: Batch, unit: Unit, target: bytes, kind: Kind) -> Batch:
    """Return a batch of another kind, of one entry of a LINK batch."""
    source_dir, _, source_name = unit.name.rpartition(b"/")
    dest_dir, _, name = target.rpartition(b"/")
    units = Units.of([Unit(source_name, unit.tally, unit.amount, name)])
    return Batch(kind, batch.source, source_dir, dest_dir, units, over=batch.over)
