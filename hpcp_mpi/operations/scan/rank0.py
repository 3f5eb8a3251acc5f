"""Rank 0 lists source and destination side by side; what it finds becomes units as it goes.

Others list, too, when they run dry (`sharing`). With `parallel_listing` they list from the start, and only what they
leave is listed here: directories too big to be held in memory, whose entries come in slices.
"""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.itemize import note_replaced
from hpcp_mpi.engine.unstorable_times import lost_time
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.listing import Slice
from hpcp_mpi.host.machine import most_threads
from hpcp_mpi.host.walk_pool import Pool
from hpcp_mpi.operations.scan.lister import Choose, Lister, Unlisted, builder_for, in_its_place
from hpcp_mpi.operations.scan.records import (
    ClassifiedEntries,
    DirectoryMetadata,
    Folder,
    LinkedName,
    ScanFindings,
    ScanNumbers,
    unfinished,
)
from hpcp_mpi.operations.scan.relist import Relister, above, emit_split, maximal
from hpcp_mpi.operations.scan.sharing import Sharing
from hpcp_mpi.operations.scan.single_entry import PIPE, leads_to_pipe, renamed
from hpcp_mpi.operations.scan.task import ScanTask
from hpcp_mpi.operations.scan.waiting import Waiting
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.rules.relisting import todo_of
from hpcp_mpi.scheduling.supply import Supply
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.errors import Failure, failure_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Kind

_LINKED = 0.05  # of what was found: if more are names of files with several, others list nothing


class Scan:
    """The stream of work that the trees hold. A feed; `outcome` says what could not be read.

    wake: called when there is something new to take.
    relists: what is in a directory can be found again by listing it: not one entry of it, or what a list or links name
    """

    def __init__(
        self,
        context: JobContext,
        landings: list[Landing],
        made_root: bool,
        wake: Callable[[], None],
        supply: Callable[[], Supply],
        only: int | None = None,
        choose: Choose | None = None,
    ) -> None:
        """made_root: this run made the destination root. supply: returns what ranks have to do.

        only: the one landing that is scanned. choose: leaves out what is another destination's
        """
        self._choose = choose
        self._only = only
        self.relists = all(landing.name is None for landing in landings)
        self.outcome = Outcome()
        self.builder = builder_for(context.options)
        self.builder.lost = lambda path, mtime_ns: lost_time(context, path, mtime_ns, self.outcome)
        self.waiting = Waiting()
        self.seconds = 0.0
        self._context = context
        self._landings = landings
        self._made_root = made_root
        self._wake = wake
        self._supply = supply
        self._lock = threading.Lock()
        self._ready: deque[Batch] = deque()
        self._error: BaseException | None = None
        self._began = time.monotonic()
        self._parallel = self._many_should_list()
        alone = context.options.parallel_listing is False or context.options.single or self.resumable is None
        self._sharing = Sharing(self._parallel, alone)
        self.builder.hand_on = self.builder.links.partial = self._parallel
        self._lister = Lister(context, self.outcome.warn, choose)
        refused = self.outcome.failures.append
        self._relister = Relister(context, landings, self.builder, self._lister, self._root, refused)
        if choose is not None:
            self.builder.collapse = False  # cp would copy all that is in a directory
        self._held = False
        self._open: set[ScanTask] = set()  # directories that are not listed to their end
        self._links_recorded = False
        self._listed_again = NOTHING  # that an earlier run found
        self._tops = 0  # directories that are listed again with all below them
        self.numbers = ScanNumbers()
        most = 1 if context.options.single else most_threads(64, 2)
        self._pool: Pool[ScanTask] = Pool(self._step, self._fail, most, lambda: context.slow)

    @property
    def resumable(self) -> "Scan | None":
        """The scan itself, if it is of all that is to be copied: another run can resume it in the middle."""
        return self if self._only is None and self._choose is None else None

    @property
    def shared_since(self) -> float | None:
        """The seconds after its beginning from which on all ranks listed; None: rank 0 alone did."""
        return self._sharing.since

    def start(self, todo: Sequence[Relist] | None = None) -> None:
        """Begin to list. todo: what is left to look at of a run that is resumed; None: all"""
        if todo is not None:
            self.again(todo, counted=False)
            return
        with self._lock:
            roots = self.roots()
            if self._parallel:
                self.builder.hand_over(roots)
                roots = []
            self._emit()
            tasks = self._tasks(roots)
        self._pool.add(tasks)

    def again(self, todo: Sequence[Relist], counted: bool = True) -> None:
        """Look at directories again, beside what is at the destination by now. counted: what is in them was counted"""
        self._links_recorded = False
        tasks: list[ScanTask] = []
        with self._lock:
            # Names of files may have been seen by a rank that is lost.
            self.builder.links.partial = True
            before = self.builder.scanned
            for each in todo:
                tasks += self._relister.tasks(each, counted)
                if not counted and self._landings[each.source].name is not None:
                    self._listed_again = self._listed_again.plus(self.builder.scanned.minus(before))
                elif not counted and each.recursive and each.source_dir:
                    self._tops += 1
                before = self.builder.scanned
            self._open.update(tasks)
            self._emit()
        self._pool.add(tasks)

    def _tasks(self, folders: Iterable[Folder], again: bool = False, reported: bool = False) -> list[ScanTask]:
        """Return the tasks of folders; the lock is held."""
        tasks = [ScanTask(folder, self._lister, again, reported) for folder in folders]
        self._open.update(tasks)
        return tasks

    @property
    def todo(self) -> list[Relist]:
        """The directories to look at if the run is resumed, beside the work that was taken."""
        with self._lock:
            emit_split(self._open, self.builder)
            self._emit()
            found, again = [], NOTHING
            for task, below in maximal(self._open, self._lister):
                found.append(task.todo)
                again = again.plus(below)
            for batch in (*self._ready, *self._sharing.lists):
                found += todo_of(batch)
                again = again.plus(batch.below)
            self.numbers = self._numbers()._replace(skipped=self.builder.skipped.plus(above(self._open)), again=again)
            return found

    def count(self) -> None:
        """Look at the counts: `numbers`."""
        with self._lock:
            self.numbers = self._numbers()

    def _numbers(self) -> ScanNumbers:
        builder, waiting = self.builder, self.waiting
        recorded = waiting.counted.minus(Tally(directories=builder.placed))
        return ScanNumbers(builder.scanned, self._listed_again, self._tops, builder.skipped, recorded)

    def unfinished(self) -> tuple[list[DirectoryMetadata], list[LinkedName]]:
        """Return how directories are to be settled that are begun, and the names of files with several: what is new."""
        with self._lock:
            settled = [record for task in self._open for record in unfinished(task.folder)]
            return settled, self.builder.links.take_seen()

    def forget_names(self) -> None:
        """Keep the names of files with several no longer for unfinished()."""
        with self._lock:
            self.builder.links.seen = None

    @property
    def done(self) -> bool:
        # In this order: what the last listing found is ready before the pool is exhausted.
        waiting = self._sharing.asked or not self._pool.exhausted or self._sharing.lists or self._ready
        done = not waiting and self._error is None
        if done and not self._links_recorded:
            self.seconds = self.seconds or time.monotonic() - self._began
            self._links_recorded = True
            self._record_links()
        return done

    def _record_links(self) -> None:
        """Record names of files that link to other ranks' files, or to those that were forgotten."""
        with self._lock:
            self.builder.links.end()
            self.waiting.add(self.builder.deferred)

    def next_batches(self) -> list[Batch]:
        """Return the work that was found since the last call. Raises what a listing thread raised."""
        if self._error is not None:
            raise self._error
        if self._sharing.unfinished or not self._pool.exhausted:
            self._share()
        taken = []
        while self._ready:
            taken.append(self._ready.popleft())
        if self._sharing.lists and not self._held:
            with self._lock:
                taken += self._sharing.take()
        return taken

    def _share(self) -> None:
        """Leave to others what waits here, if they should list it; or take back what they need not list."""
        sharing = self._sharing
        sharing.look(time.monotonic(), self._supply())
        count, found = sharing.wanted(self._pool.waiting), self.builder.scanned
        # Who sees some names of a file copies it once more: of many, that costs more than waiting for rank 0.
        if count and self.builder.links.names < _LINKED * (found.files + found.links):
            with self._lock:
                tasks = self._pool.take(count, lambda task: task.fresh)
                if tasks:
                    self.builder.links.partial = True  # others see names that are not seen here
                    self._open.difference_update(tasks)
                    self.builder.hand_over([task.folder for task in tasks])
                    self._emit()
        elif sharing.lists and self._pool.exhausted:
            with self._lock:
                for batch in sharing.back():
                    self._pool.add(self._tasks(self._lister.folders(self.builder, batch)))

    def on_findings(self, findings: list[ScanFindings]) -> None:
        """Add the findings of other ranks that were asked to list directories."""
        with self._lock:
            for found in findings:
                self._sharing.asked -= found.done
                self.builder.count(found.scanned)
                self.builder.holes += found.holes
                self.waiting.add(found.deferred)
                self._sharing.add(found.lists)
                for batch in found.huge:
                    self._pool.add(self._tasks(self._lister.folders(self.builder, batch)))

    def pause(self, held: bool) -> None:
        self._held = held
        self._pool.hold(held)

    def end(self) -> None:
        self._pool.end()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._wake()

    def _emit(self) -> None:
        """Hand on what the builder has; the lock is held."""
        self.waiting.add(self.builder.deferred)
        if self.builder.out:
            self._ready += (batch for batch in self.builder.out if batch.kind is not Kind.LIST)
            self._sharing.add([batch for batch in self.builder.out if batch.kind is Kind.LIST])
            self.builder.out.clear()
            self._wake()

    def _many_should_list(self) -> bool:
        """Return whether others should list: rank 0 lists faster than all can copy, not faster than all can compare."""
        asked = self._context.options.parallel_listing
        if asked is not None:
            return asked
        root = self._context.job.destination_root
        if root is None or self._made_root:
            return False
        with suppress(OSError), os.scandir(root.path) as entries:
            return next(entries, None) is not None
        return False  # listing it reports the error

    # --- roots

    def roots(self) -> list[Folder]:
        """Return the folders to begin with."""
        chosen = [each for each in enumerate(self._landings) if self._only in (None, each[0])]
        return [root for index, landing in chosen for root in self._root(index, landing)]

    def _root(self, index: int, landing: Landing) -> list[Folder]:
        """Return the folder of a landing, or nothing when it is a single entry, which is taken at once."""
        if landing.name is None:
            new, over = self._state(landing.dest_dir)
            if over is not None and not self._context.options.replaces_others:
                self.outcome.failures.append(in_its_place(self._context, self._context.job.sources[index].path))
                return []
            if over is not None:
                note_replaced(self._context, landing.dest_dir, over)
            return [self.builder.root(index, landing.dest_dir, new, over is not None)]
        try:
            self._single(index, landing, landing.name)
        except OSError as error:
            path = child_path(self._context.job.sources[index].path, landing.name)
            self.outcome.failures.append(failure_of(path, error))
        return []

    def _single(self, index: int, landing: Landing, name: bytes) -> None:
        """Add a landing that is a single entry. Raises OSError."""
        folder = self.builder.place(index, b"", landing.dest_dir)
        directory = self._context.job.sources[index].path
        with self._context.source_tree(index).handle(b"") as source:
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode) and leads_to_pipe(source, name):
                self.outcome.warn(child_path(directory, name), PIPE)
        there = None
        if self._context.job.destination_root is not None:
            with self._context.dest.at(b"") as dest:
                there = lstat(landing.dest_name or name, dest)
        some = Slice(rest=[(name, status, there)])
        if self._choose is not None:
            with self._context.source_tree(index).at(b"") as source:
                self._choose(folder, some, source)
        if self._context.options.left_out:
            self._lister.leave_out(directory, some)
        with self._context.source_tree(index).handle(b"") as source:
            listing = self._lister.listing(directory, some, source)
            self._lister.track(folder, listing, source)
        self.builder.add(folder, listing)
        self.builder.close(folder)
        dest_name = landing.dest_name
        if dest_name is not None:
            self.builder.out[:] = [renamed(batch, dest_name) for batch in self.builder.out]

    def _state(self, dest_dir: bytes) -> tuple[bool, os.stat_result | None]:
        """Return (missing, the non-directory that is there) of a directory directly below the destination root."""
        if self._context.job.destination_root is None:
            return True, None
        if not dest_dir:
            return self._made_root and not self._context.job.merged, None
        try:
            with self._context.dest.at(b"") as root:
                status = lstat(dest_dir, root)
        except OSError:
            return False, None  # listing it reports the error
        directory = status is not None and stat.S_ISDIR(status.st_mode)
        return not directory, None if directory else status

    # --- some of a directory, in a thread of the pool

    def _step(self, task: ScanTask) -> list[ScanTask]:
        """List some of a directory; return the directories found, and last itself if there may be more of it."""
        try:
            listing = task.next()
        except Unlisted as problem:
            self._refuse(task, problem.failure)
            return []
        with self._lock:
            self.outcome.failures += task.failures
            task.failures.clear()
            children = self._tasks(self._add(task, listing), task.again, task.reported)
            if not task.ended:
                task.seen += [name for name, _, _ in listing.folders] if listing is not None else []
                self._emit()
                return [*children, task]
            self._open.discard(task)
            self.builder.close(task.folder)
            self._emit()
        return children

    def _add(self, task: ScanTask, listing: ClassifiedEntries | None) -> list[Folder]:
        """Add some entries of a directory; return the directories among them."""
        if listing is None:
            return []
        if not (task.again or task.reported) and task.ended:
            return self.builder.add(task.folder, listing)
        before, holes, hand_on = self.builder.scanned, self.builder.holes, self.builder.hand_on
        if task.again or task.reported:
            self.builder.hand_on = False  # another rank would count what is below
        children = self.builder.add(task.folder, listing)
        self.builder.hand_on = hand_on
        found = self.builder.scanned.minus(before)
        if task.again:
            self.builder.count(NOTHING.minus(found))
            self.builder.holes = holes
        elif task.reported:
            self._listed_again = self._listed_again.plus(found)
        else:
            task.found = task.found.plus(found._replace(directories=0))
        return children

    def _refuse(self, task: ScanTask, failure: Failure) -> None:
        with self._lock:
            self._open.discard(task)
            self.outcome.failures.append(failure)
            self.builder.unlisted(task.folder, failure.vanished)
            self._emit()
