"""Rank 0 looks up what a file list names, beside what is at the destination; what it finds becomes units as it goes.

Names are read directory by directory, those above first, so only the directories on the way to the one at hand are
remembered. What a list names is taken without what is below it. The directories that a name lies in are made too, with
their sources' metadata; the root only gets any if it is listed itself.
"""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby, islice
from typing import NamedTuple

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import not_replaced
from hpcp_mpi.engine.itemize import note_replaced
from hpcp_mpi.engine.unstorable_times import lost_time
from hpcp_mpi.formats.file_list import Type
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.external_sort import ExternalSort, Record
from hpcp_mpi.host.listing import Pair, Slice
from hpcp_mpi.host.stage import is_stage
from hpcp_mpi.operations.scan.lister import Lister, Unlisted, builder_for
from hpcp_mpi.operations.scan.records import DeferredRecords, Folder, ScanFindings, ScanNumbers
from hpcp_mpi.operations.scan.waiting import Waiting
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.scheduling.supply import Supply
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, join, printable, relative_to
from hpcp_mpi.vocab.tally import ONE_DIRECTORY, Tally
from hpcp_mpi.vocab.units import Batch

_SLICE = 4096  # names that are looked up together


class ListedName(NamedTuple):
    """A name in a list. They sort by directory, each right before those in it."""

    directory: bytes  # relative, with NUL for `/`
    name: bytes  # in it; b"" is the root
    line: int
    type: str  # Type's value: what the list says


class _Visit:
    """A directory that listed names lie in, or that is listed itself."""

    __slots__ = ("folder", "name", "next", "path", "pending", "problem", "waiting")

    def __init__(self, path: bytes, name: bytes) -> None:
        self.path = path
        self.name = name
        self.folder: Folder | None = None  # None: nothing in it is taken
        self.problem = ""  # why; without one, because it is excluded
        self.pending = ExternalSort()  # (name, line) of listed directories in it
        self.waiting: Iterator[Record] | None = None  # those that were not visited yet, and the first of them
        self.next: Record | None = None


class _ButRoot(ExternalSort):
    """Records of directories to settle, without the root: no list named it."""

    def add(self, records: Iterable[Record]) -> None:
        super().add(record for record in records if record[1])


class ListedScan:
    """The stream of work that a list names. take() it until it is exhausted; `outcome` says what could not be taken.

    names: ListedName records. The other arguments are those of Scan, whose place it takes in a copy.
    """

    relists = False
    resumable = None  # what a list names is found by looking at all of it

    def __init__(
        self,
        names: ExternalSort,
        context: JobContext,
        landings: list[Landing],
        made_root: bool,
        wake: Callable[[], None],
        supply: Callable[[], Supply],
    ) -> None:
        self.outcome = Outcome()
        self.builder = builder_for(context.options)
        self.builder.lost = lambda path, mtime_ns: lost_time(context, path, mtime_ns, self.outcome)
        self.builder.collapse = False  # cp would copy all that is in a directory
        self.waiting = Waiting()
        self.numbers = ScanNumbers()
        self.seconds = 0.0
        self.shared_since: float | None = None  # rank 0 alone reads the list
        self._names = names
        self._context = context
        self._base = context.job.sources[0].path
        self._wake = wake
        self._lister = Lister(context, self.outcome.warn)
        self._excluded = context.excluded
        self._stack: list[_Visit] = []  # the directory at hand, and those that it lies in
        self._ready: deque[tuple[DeferredRecords, list[Batch]]] = deque()
        self._changed = threading.Condition()
        self._held = self._ended = self._done = False
        self._error: BaseException | None = None
        self._began = time.monotonic()
        self._root_is_listed = (b"", b"") in ((record[0], record[1]) for record in islice(names, 1))
        if not self._root_is_listed:
            self.waiting.settled = _ButRoot()
            self.builder.count(Tally(directories=-1))

    def start(self, todo: Sequence[Relist] | None = None) -> None:
        """Begin to look names up."""
        assert todo is None
        threading.Thread(target=self._run, name="scan-list", daemon=True).start()

    def count(self) -> None:
        """Look at the counts: `numbers`."""
        self.numbers = ScanNumbers(self.builder.scanned, skipped=self.builder.skipped)

    @property
    def done(self) -> bool:
        done = self._done and not self._ready and self._error is None  # in this order
        if done and not self.seconds:
            self.seconds = time.monotonic() - self._began
        return done

    def next_batches(self) -> list[Batch]:
        """Return the work that was found since the last call. Raises what looking up raised."""
        if self._error is not None:
            raise self._error
        taken: list[Batch] = []
        while self._ready:
            deferred, batches = self._ready.popleft()
            self.waiting.add(deferred)
            taken += batches
        return taken

    def again(self, todo: Sequence[Relist]) -> None:
        """Nothing is a unit with all below it here, so nothing has to be looked at again."""
        assert not todo, todo

    def on_findings(self, findings: list[ScanFindings]) -> None:
        """No rank is asked to list."""

    def pause(self, held: bool) -> None:
        with self._changed:
            self._held = held
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # --- the thread

    def _run(self) -> None:
        try:
            if self._look_up():
                self._done = True
        except BaseException as error:
            self._error = error
        finally:
            self._context.release()
            self._wake()

    def _look_up(self) -> bool:
        """Take all names; return whether it was not ended early."""
        self._stack.append(self._root())
        for directory, records in groupby(self._names, key=lambda record: record[0]):
            assert isinstance(directory, bytes)
            self._enter(directory.replace(b"\0", b"/"))
            last = None
            while some := list(islice(records, _SLICE)):
                names = []
                for name in map(ListedName._make, some):
                    if name.name and name.name != last:  # each once
                        names.append(name)
                    last = name.name
                self._add_names(self._stack[-1], names)
                self._emit()
                if not self._goes_on():
                    return False
        while self._stack:
            self._leave()
        self.builder.links.end()
        self._emit()
        return True

    def _goes_on(self) -> bool:
        with self._changed:
            while self._held and not self._ended:
                self._changed.wait()
            return not self._ended

    def _emit(self) -> None:
        """Hand on what the builder has."""
        builder = self.builder
        self._ready.append((builder.deferred.take(), builder.out))
        builder.out = []
        self._wake()

    # --- directories

    def _root(self) -> _Visit:
        visit = _Visit(b"", b"")
        job = self._context.job
        visit.folder = self.builder.root(0, b"", new=job.destination_root is None)
        visit.folder.counted = not isinstance(self.waiting.settled, _ButRoot)
        if self._root_is_listed and job.destination_root is not None and self._context.options.directory_sync:
            with self._context.source_tree(0).at(b"") as source, self._context.dest.at(b"") as dest:
                self._compare(visit, visit.folder, source, dest)
        return visit

    def _enter(self, directory: bytes) -> None:
        """Make a directory the one at hand: leave those that it does not lie in, visit those on the way to it."""
        while (missing := relative_to(directory, self._stack[-1].path)) is None:
            self._leave()
        for name in missing.split(b"/") if missing else ():
            line = self._visit_pending(self._stack[-1], until=name)
            visit = self._visit(self._stack[-1], name)
            self._stack.append(visit)
            if line and visit.problem:
                self._fail(visit.path, line, visit.problem)

    def _leave(self) -> None:
        visit = self._stack[-1]
        self._visit_pending(visit)
        self._stack.pop()
        if visit.folder is not None:
            self.builder.close(visit.folder)

    def _visit_pending(self, parent: _Visit, until: bytes | None = None) -> int:
        """Visit directories that are listed and hold nothing that is.

        until: the next name of one that does; return the line that lists it, if there is one, else 0.
        """
        if parent.waiting is None:
            parent.waiting = iter(parent.pending)
            parent.next = next(parent.waiting, None)
        while parent.next is not None:
            name, line = parent.next
            assert isinstance(name, bytes) and isinstance(line, int)
            if until is not None and name > until:
                break
            parent.next = next(parent.waiting, None)
            if name == until:
                return line
            visit = self._visit(parent, name)
            if visit.folder is not None:
                self.builder.close(visit.folder)
            elif visit.problem:
                self._fail(visit.path, line, visit.problem)
            if len(self.builder.out) > _SLICE:
                self._emit()
        return 0

    def _visit(self, parent: _Visit, name: bytes) -> _Visit:
        """Return what is known of a directory and of its counterpart."""
        visit = _Visit(join(parent.path, name), name)
        if parent.folder is None:
            visit.problem = parent.problem
            return visit
        path = child_path(self._base, visit.path)
        if self._excluded is not None and self._excluded(path, True):
            return visit
        try:
            if name.startswith(STAGE_PREFIX):
                with self._context.source_tree(0).handle(parent.path) as above:
                    if is_stage(above, name):
                        self.outcome.warn(path, "staging directory of a killed run; not copied")
                        return visit
            with self._context.source_tree(0).at(visit.path) as source:
                if self._lister.forbidden(path, os.fstat(source).st_ino):
                    visit.problem = "it lies in the destination"
                else:
                    self._place_beside(parent.folder, visit, source)
        except OSError as error:
            visit.problem = f"cannot open the directory {printable(visit.path)}: {reason_of(error)}"
        return visit

    def _place_beside(self, parent: Folder, visit: _Visit, source: int) -> None:
        """Find out what is at the destination beside a directory. Raises OSError."""
        there = None
        with ExitStack() as stack:
            if not parent.new:
                dest_parent = stack.enter_context(self._context.dest.at(parent.dest_dir))
                there = lstat(visit.name, dest_parent)
            exists = there is not None and stat.S_ISDIR(there.st_mode)
            if there is not None and not exists:
                if not self._context.options.replaces_others:
                    reason = not_replaced(self._context.options)
                    visit.problem = f"{printable(visit.path)} cannot be made at the destination: {reason}"
                    return
                note_replaced(self._context, visit.path, there)
            visit.folder = folder = self.builder.child(parent, visit.name, not exists, there is not None and not exists)
            self.builder.count(ONE_DIRECTORY)
            if exists and self._context.options.directory_sync:
                dest = stack.enter_context(self._context.dest.at(visit.path))
                self._compare(visit, folder, source, dest)

    def _compare(self, visit: _Visit, folder: Folder, source: int, dest: int) -> None:
        """Compare a directory with its counterpart; nothing is taken where that is not to be written to."""
        try:
            self._lister.compare_folder(folder, source, dest)
        except Unlisted as problem:
            visit.folder, visit.problem = None, problem.failure.reason
            self.builder.forget(folder)

    # --- entries

    def _add_names(self, visit: _Visit, names: list[ListedName]) -> None:
        """Add names in a directory."""
        folder = visit.folder
        if folder is None:
            for each in names if visit.problem else ():
                self._fail(join(visit.path, each.name), each.line, visit.problem)
            return
        if not names:
            return
        some = Slice()
        with ExitStack() as stack:
            try:
                source = stack.enter_context(self._context.source_tree(0).at(visit.path))
                dest = None if folder.new else stack.enter_context(self._context.dest.at(folder.dest_dir))
            except OSError as error:
                for each in names:
                    self._fail(join(visit.path, each.name), each.line, f"cannot open its directory: {reason_of(error)}")
                return
            found = self._statuses(names, source, dest)
            for each in names:
                self._sort_out(visit, each, found[each.name], some)
            listing = self._lister.listing(child_path(self._base, visit.path), some, source)
            self._lister.track(folder, listing, source)
        self.builder.add(folder, listing)

    def _sort_out(self, visit: _Visit, listed: ListedName, pair: Pair | OSError, some: Slice) -> None:
        """Put aside directories and what cannot be taken; all else is for some."""
        if isinstance(pair, OSError):
            self._fail(join(visit.path, listed.name), listed.line, reason_of(pair))
        elif problem := _mismatch(listed, pair[1]):
            self._fail(join(visit.path, listed.name), listed.line, problem)
        elif stat.S_ISDIR(pair[1].st_mode):
            visit.pending.add([(listed.name, listed.line)])
        else:
            some.rest.append(pair)

    def _statuses(self, names: list[ListedName], source: int, dest: int | None) -> dict[bytes, Pair | OSError]:
        """Return what lstat says of names on both sides, many at once where that takes long."""
        found: dict[bytes, Pair | OSError] = {}

        def look(name: bytes) -> None:
            try:
                own = os.stat(name, dir_fd=source, follow_symlinks=False)
                found[name] = name, own, None if dest is None else lstat(name, dest)
            except OSError as error:
                found[name] = error

        wanted = [each.name for each in names]
        if not self._context.crowd.each(look, wanted):
            for name in wanted:
                look(name)
        return found

    def _fail(self, path: bytes, line: int, reason: str) -> None:
        self.outcome.failures.append(Failure(child_path(self._base, path), f"line {line}: {reason}"))


def _mismatch(listed: ListedName, status: os.stat_result) -> str:
    """Return what is wrong where something is not what it was listed as, or another name was meant; else ""."""
    directory = stat.S_ISDIR(status.st_mode)
    if listed.type == Type.DIRECTORY.value:
        return "" if directory else "it was listed as a directory, and is none"
    if listed.type == Type.LINK.value and not stat.S_ISLNK(status.st_mode):
        return "it was listed as a symlink, and is none; if `:` is part of the name, give -nhfl or -0"
    if directory and listed.type != Type.UNKNOWN.value:
        return f"it was listed as a {listed.type}, and is a directory"
    return ""
