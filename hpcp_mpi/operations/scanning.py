"""Rank 0 lists source and destination side by side; what it finds becomes units as it goes."""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from hpcp_mpi.host import metadata
from hpcp_mpi.host.listing import lstat, names_in, pairs
from hpcp_mpi.host.pool import Pool
from hpcp_mpi.operations.workplace import Workplace
from hpcp_mpi.plan import excludes
from hpcp_mpi.plan.classify import Classifier
from hpcp_mpi.plan.compare import metadata_changes
from hpcp_mpi.plan.gather import Gather
from hpcp_mpi.plan.landing import Landing
from hpcp_mpi.plan.listed import Folder
from hpcp_mpi.vocab.errors import Failure, failure_of
from hpcp_mpi.vocab.names import STAGE_PREFIX, below
from hpcp_mpi.vocab.options import CopyOptions
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch


def gather_for(options: CopyOptions) -> Gather:
    """Return the collector that options ask for."""
    check_size = None if options.full_hash else options.hash_size
    collapse = options.directory_sync and not options.directory_only
    return Gather(options.unit_weight, options.file_cost, check_size, collapse)


class Scan:
    """The stream of work that the trees hold. take() it until it is exhausted; `outcome` says what could not be read.

    wake: called when there is something new to take.
    """

    def __init__(
        self,
        place: Workplace,
        landings: list[Landing],
        merged: frozenset[bytes],
        made_root: bool,
        wake: Callable[[], None],
    ) -> None:
        """merged: directories that several sources have. made_root: the destination root was made by this run."""
        self.outcome = Outcome()
        self.gather = gather_for(place.options)
        self.seconds = 0.0
        self._place = place
        self._landings = landings
        self._merged = merged  # each is copied entry by entry
        self._made_root = made_root
        self._wake = wake
        self._lock = threading.Lock()
        self._ready: deque[Batch] = deque()
        self._error: BaseException | None = None
        self._began = time.monotonic()
        root = place.job.destination_root
        forbidden: frozenset[tuple[int, int]] = frozenset()
        if root is not None:
            status = os.stat(root.path)
            forbidden = frozenset({(status.st_dev, status.st_ino)})
        self._classifier = Classifier(
            place.job.window_ns,
            place.options.directory_only,
            excludes.matcher(place.options.excludes),
            forbidden,
            self.outcome.remark,
        )
        self._pool: Pool[Folder] = Pool(self._list, self._fail, 1 if place.options.single else 64)

    def start(self) -> None:
        """Begin to list."""
        self._pool.start([root for index, landing in enumerate(self._landings) for root in self._root(index, landing)])

    @property
    def exhausted(self) -> bool:
        # In this order: what the last listing found is ready before the pool is exhausted.
        done = self._pool.exhausted and not self._ready and self._error is None
        if done and not self.seconds:
            self.seconds = time.monotonic() - self._began
        return done

    def take(self) -> list[Batch]:
        """Return the work that was found since the last call. Raises what a listing thread raised."""
        if self._error is not None:
            raise self._error
        taken = []
        while self._ready:
            taken.append(self._ready.popleft())
        return taken

    def hold(self, held: bool) -> None:
        self._pool.hold(held)

    def end(self) -> None:
        self._pool.end()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._wake()

    def _emit(self) -> None:
        """Hand on what gather has; the lock is held."""
        if self.gather.out:
            self._ready.extend(self.gather.out)
            self.gather.out.clear()
            self._wake()

    # --- roots

    def _root(self, index: int, landing: Landing) -> list[Folder]:
        """Return the folder of a landing, or nothing when it is a single entry, which is taken at once."""
        if landing.name is None:
            new, over = self._state(landing.dest_dir)
            return [self.gather.root(index, landing.dest_dir, new, over)]
        folder = self.gather.place(index, landing.dest_dir)
        name = landing.name
        directory = self._place.job.sources[index].path
        status = os.stat(below(directory, name), follow_symlinks=False)
        there = None
        if self._place.job.destination_root is not None:
            with self._place.dest.at(b"") as dest:
                there = lstat(landing.dest_name or name, dest)
        listing = self._classifier.classify(directory, [(name, status, there)])
        self.gather.add(folder, listing)
        self.gather.close(folder)
        dest_name = landing.dest_name
        if dest_name is not None:
            self.gather.out[:] = [_renamed(batch, dest_name) for batch in self.gather.out]
        self._emit()
        return []

    def _state(self, dest_dir: bytes) -> tuple[bool, bool]:
        """Return (missing, a non-directory is there) of a directory directly below the destination root."""
        if self._place.job.destination_root is None:
            return True, False
        if not dest_dir:
            return self._made_root and not self._merged, False
        with self._place.dest.at(b"") as root:
            status = lstat(dest_dir, root)
        directory = status is not None and stat.S_ISDIR(status.st_mode)
        return not directory, status is not None and not directory

    # --- one directory, in a thread of the pool

    def _list(self, folder: Folder) -> list[Folder]:
        """List one directory; return the directories in it."""
        path = below(self._place.job.sources[folder.source].path, folder.source_dir)
        children: list[Folder] = []
        with ExitStack() as stack:
            names: set[bytes] = set()
            dest = None
            try:
                if not folder.new:
                    dest = stack.enter_context(self._place.dest.at(folder.dest_dir))
                    names = names_in(dest)
            except OSError as error:
                # What is there is not known, so nothing below is written.
                self._refuse(folder, Failure(path, f"cannot list its counterpart at the destination: {error.strerror}"))
                return []
            try:
                source = stack.enter_context(self._place.source_tree(folder.source).at(folder.source_dir))
                if (
                    dest is not None
                    and self._place.options.directory_sync
                    and (folder.dest_dir in self._merged or self._differs(source, dest))
                ):
                    folder.settle = True
                self._take(folder, path, (source, dest, names), children)
            except OSError as error:
                self._refuse(folder, failure_of(path, error, "cannot list"))
                return children
        with self._lock:
            self.gather.close(folder)
            self._emit()
        return children

    def _refuse(self, folder: Folder, failure: Failure) -> None:
        with self._lock:
            self.outcome.failures.append(failure)
            if failure.vanished and folder.empty:
                self.gather.forget(folder)
            else:
                self.gather.refuse(folder)
            self._emit()

    def _take(
        self, folder: Folder, path: bytes, listed: tuple[int, int | None, set[bytes]], children: list[Folder]
    ) -> None:
        """Give gather what is in a directory. listed: (source, destination, names there). Raises OSError."""
        failures: list[Failure] = []

        def failed(name: bytes, error: OSError) -> None:
            failures.append(failure_of(below(path, name), error))

        sweeps = [name for name in listed[2] if name.startswith(STAGE_PREFIX)]
        for some in pairs(*listed, failed):
            listing = self._classifier.classify(path, some)
            listing.sweeps, sweeps = sweeps, []
            listing.open = listing.open or bool(failures) or folder.dest_dir in self._merged
            with self._lock:
                self.outcome.failures += failures
                failures.clear()
                children += self.gather.add(folder, listing)
                self._emit()

    def _differs(self, source: int, dest: int) -> bool:
        letters = metadata.xattr_letters(metadata.xattrs_of(source, b"."), metadata.xattrs_of(dest, b"."))
        place = self._place
        return bool(metadata_changes(os.fstat(source), os.fstat(dest), place.job.window_ns, place.rights, letters))


def _renamed(batch: Batch, dest_name: bytes) -> Batch:
    return replace(batch, units=tuple(unit._replace(dest_name=dest_name) for unit in batch.units))
