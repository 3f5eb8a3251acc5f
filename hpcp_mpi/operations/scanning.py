"""Rank 0 lists source and destination side by side; what it finds becomes units as it goes.

With `parallel_listing` the directories are handed out instead, and only what others leave is listed here: directories
too big to be held in memory, whose entries come in slices.
"""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.host.listing import Slice, lstat
from hpcp_mpi.host.pool import Pool
from hpcp_mpi.host.spill import Spill
from hpcp_mpi.operations.frontier import most_asked
from hpcp_mpi.operations.lister import Choose, Lister, Unlisted, gather_for
from hpcp_mpi.operations.sparing import spared
from hpcp_mpi.operations.workplace import Workplace
from hpcp_mpi.plan.gather import Gather
from hpcp_mpi.plan.landing import Landing
from hpcp_mpi.plan.listed import Folder, Listed
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.names import below
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch, Kind, Units

_AT_ONCE = 100  # directories per slot that others are asked to list; fewer, and slots wait for the next


class Waiting:
    """What waits for the end of the run."""

    def __init__(self) -> None:
        self.settled = Spill()
        self.linked = Spill()
        self.shared = Spill()
        self.extras = Spill()
        self.tracked = Spill()

    def take(self, found: Gather | Listed) -> None:
        """Take what was found."""
        for mine, theirs in (
            (self.settled, found.settled),
            (self.linked, found.linked),
            (self.shared, found.shared),
            (self.extras, found.extras),
            (self.tracked, found.tracked),
        ):
            if theirs:
                mine.add(theirs)
                theirs.clear()


class _Task:
    """A directory on its way through the pool. Its slices take turns with what they contain."""

    __slots__ = ("failures", "folder", "listings")

    def __init__(self, folder: Folder, lister: Lister) -> None:
        self.folder = folder
        self.failures: list[Failure] = []
        self.listings = lister.listings(folder, self.failures)


class Scan:
    """The stream of work that the trees hold. take() it until it is exhausted; `outcome` says what could not be read.

    wake: called when there is something new to take.
    """

    def __init__(
        self,
        place: Workplace,
        landings: list[Landing],
        made_root: bool,
        wake: Callable[[], None],
        slots: Callable[[], int],
        only: int | None = None,
        choose: Choose | None = None,
    ) -> None:
        """made_root: the destination root was made by this run. slots: how many there are on all ranks.

        only: the one landing that is scanned; the others are another scan's
        choose: leaves out what is another destination's
        """
        self._choose = choose
        self._only = only
        self.outcome = Outcome()
        self.gather = gather_for(place.options)
        self.waiting = Waiting()
        self.seconds = 0.0
        self._place = place
        self._landings = landings
        self._made_root = made_root
        self._wake = wake
        self._slots = slots
        self._lock = threading.Lock()
        self._ready: deque[Batch] = deque()
        self._error: BaseException | None = None
        self._began = time.monotonic()
        self._parallel = self._many_should_list()
        self.gather.hand_on = self._parallel
        self._lister = Lister(place, self.outcome.remark, choose)
        if choose is not None:
            self.gather.collapse = False  # cp would copy all that is in a directory
        self._lists: list[Batch] = []  # directories for others to list; the last found go first, as in any walk
        self._asked = 0  # directories that others were asked to list
        self._held = False
        most = 1 if place.options.single else 64
        self._pool: Pool[_Task] = Pool(self._step, self._fail, most, lambda: place.latency.slow)

    def start(self) -> None:
        """Begin to list."""
        with self._lock:
            roots = self._roots()
            if self._parallel:
                self.gather.hand_over(roots)
                roots = []
            self._emit()
        self._pool.add([_Task(root, self._lister) for root in roots])

    @property
    def exhausted(self) -> bool:
        # In this order: what the last listing found is ready before the pool is exhausted.
        waiting = self._asked or not self._pool.exhausted or self._lists or self._ready
        done = not waiting and self._error is None
        if done and not self.seconds:
            self.seconds = time.monotonic() - self._began
            self._give_up()
        return done

    def _give_up(self) -> None:
        """Record what links to other ranks' files, or to those that were forgotten."""
        with self._lock:
            if self._parallel or self.gather.partial:
                self.gather.give_up()
                self.waiting.take(self.gather)
            if self._place.options.mirror:
                self.waiting.extras = spared(self._place.job, self.waiting.extras, self.waiting.tracked)

    def take(self) -> list[Batch]:
        """Return the work that was found since the last call. Raises what a listing thread raised."""
        if self._error is not None:
            raise self._error
        taken = []
        while self._ready:
            taken.append(self._ready.popleft())
        most = most_asked(self._slots(), _AT_ONCE)
        while self._lists and self._asked < most and not self._held:
            batch = self._lists.pop()
            if len(batch.units) > most - self._asked:
                rest, batch = batch.split(len(batch.units) - (most - self._asked))
                self._lists.append(rest)
            self._asked += len(batch.units)
            taken.append(batch)
        return taken

    def hear(self, news: list[Listed]) -> None:
        """Take what others found in directories that they were asked to list."""
        with self._lock:
            for found in news:
                self._asked -= found.done
                self.gather.count(found.scanned)
                self.waiting.take(found)
                self._lists += found.lists
                for batch in found.huge:
                    folders = self._lister.folders(self.gather, batch)
                    self._pool.add([_Task(folder, self._lister) for folder in folders])

    def hold(self, held: bool) -> None:
        self._held = held
        self._pool.hold(held)

    def end(self) -> None:
        self._pool.end()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._wake()

    def _emit(self) -> None:
        """Hand on what gather has; the lock is held."""
        self.waiting.take(self.gather)
        if self.gather.out:
            for batch in self.gather.out:
                if batch.kind is Kind.LIST:
                    self._lists.append(batch)
                else:
                    self._ready.append(batch)
            self.gather.out.clear()
            self._wake()

    def _many_should_list(self) -> bool:
        """Tell whether others should list: rank 0 lists faster than all can copy, not faster than all can compare."""
        asked = self._place.options.parallel_listing
        if asked is not None:
            return asked
        root = self._place.job.destination_root
        if root is None or self._made_root:
            return False
        with suppress(OSError), os.scandir(root.path) as entries:
            return next(entries, None) is not None
        return False  # whoever lists it says what is wrong

    # --- roots

    def _roots(self) -> list[Folder]:
        """Return the folders to begin with."""
        chosen = [each for each in enumerate(self._landings) if self._only in (None, each[0])]
        return [root for index, landing in chosen for root in self._root(index, landing)]

    def _root(self, index: int, landing: Landing) -> list[Folder]:
        """Return the folder of a landing, or nothing when it is a single entry, which is taken at once."""
        if landing.name is None:
            new, over = self._state(landing.dest_dir)
            return [self.gather.root(index, landing.dest_dir, new, over)]
        folder = self.gather.place(index, b"", landing.dest_dir)
        name = landing.name
        directory = self._place.job.sources[index].path
        status = os.stat(below(directory, name), follow_symlinks=False)
        there = None
        if self._place.job.destination_root is not None:
            with self._place.dest.at(b"") as dest:
                there = lstat(landing.dest_name or name, dest)
        some = Slice(rest=[(name, status, there)])
        if self._choose is not None:
            with self._place.source_tree(index).at(b"") as source:
                self._choose(folder, some, source)
        listing = self._lister.listing(directory, some)
        with self._place.source_tree(index).at(b"") as source:
            self._lister.track(folder, listing, source)
        self.gather.add(folder, listing)
        self.gather.close(folder)
        dest_name = landing.dest_name
        if dest_name is not None:
            self.gather.out[:] = [_renamed(batch, dest_name) for batch in self.gather.out]
        return []

    def _state(self, dest_dir: bytes) -> tuple[bool, bool]:
        """Return (missing, a non-directory is there) of a directory directly below the destination root."""
        if self._place.job.destination_root is None:
            return True, False
        if not dest_dir:
            return self._made_root and not self._place.job.merged, False
        with self._place.dest.at(b"") as root:
            status = lstat(dest_dir, root)
        directory = status is not None and stat.S_ISDIR(status.st_mode)
        return not directory, status is not None and not directory

    # --- some of a directory, in a thread of the pool

    def _step(self, task: _Task) -> list[_Task]:
        """List some of a directory; return the directories found, and last itself if there may be more of it."""
        folder = task.folder
        try:
            listing = next(task.listings, None)
        except Unlisted as problem:
            self._refuse(folder, problem.failure)
            return []
        with self._lock:
            self.outcome.failures += task.failures
            task.failures.clear()
            if listing is None:
                self.gather.close(folder)
                self._emit()
                return []
            children = self.gather.add(folder, listing)
            self._emit()
        return [*(_Task(child, self._lister) for child in children), task]

    def _refuse(self, folder: Folder, failure: Failure) -> None:
        with self._lock:
            self.outcome.failures.append(failure)
            self.gather.unlisted(folder, failure.vanished)
            self._emit()


def _renamed(batch: Batch, dest_name: bytes) -> Batch:
    return replace(batch, units=Units.of(unit._replace(dest_name=dest_name) for unit in batch.units))


ScanMaker = Callable[..., Scan]  # what is called with the arguments of Scan to make the scan of a copy
