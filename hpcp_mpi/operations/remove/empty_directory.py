"""Emptying one directory, by its descriptor: the calls of a removal, and what they are counted as."""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.itemize import GONE
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import despite_protection, pinned
from hpcp_mpi.host.entries import first_in, is_directory
from hpcp_mpi.host.retrying import in_the_end, retried
from hpcp_mpi.host.roots import is_marked
from hpcp_mpi.operations.remove.own_files import OwnFiles
from hpcp_mpi.operations.remove.rules import Disposer, RemovalGuard, marks_of, others
from hpcp_mpi.vocab.errors import Failure, failure_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path, join, printable
from hpcp_mpi.vocab.tally import ONE_LINK, ONE_SPECIAL, Tally
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Units

# Places in a Tally, and what one of each is.
FILES, DIRECTORIES, LINKS, SPECIALS = range(4)
_TALLIES = {FILES: None, LINKS: ONE_LINK, SPECIALS: ONE_SPECIAL}

KEPT = "it was replaced meanwhile; the new entry was kept"
MOUNTED = "another file system is mounted here; kept"

_HUGE = 50_000  # entries of a directory that are held at once
_HANDED = 8  # so many times as many of one directory are handed out at once: rank 0 holds them
_PASS = 5.0  # seconds that it may take to go through one before what was done is reported
_TOGETHER = 500  # calls between looks whether the run is to end
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


class Kept(OSError):
    """A RemovalGuard said that an entry stays."""


class Folder:
    """A directory that is being emptied."""

    __slots__ = ("again", "fd", "folders", "gone", "kept", "name", "out", "path")

    def __init__(self, fd: int, path: bytes, name: bytes) -> None:
        self.fd = fd
        self.path = path  # relative to the root
        self.name = name
        self.folders: list[bytes] = []  # in it, not walked through yet
        self.kept = False  # something in it stays
        self.out = 0  # units in it that others have to do
        self.again = False  # it has to be listed again after that
        self.gone = 0  # entries that were removed from one that is listed again


class DirectoryEmptier:
    """Empties directories of one batch.

    found:  batches for others
    listed: a Tally of what was listed and may go
    """

    def __init__(
        self,
        context: JobContext,
        batch: Batch,
        outcome: Outcome,
        guard: RemovalGuard | None,
        disposer: Disposer | None,
    ) -> None:
        """guard: says which entries stay; None: all may go. disposer: makes entries go; None: unlink and rmdir"""
        options, source = context.options, batch.source
        self._context = context
        self._batch = batch
        self._outcome = outcome
        self._root = context.job.destination if source == DEST else context.job.sources[source].path
        self._prefix = b"" if source == DEST else dict(enumerate(context.job.landed)).get(source) or b""
        self.counts_only = batch.kind is Kind.COUNT or options.dry_run
        # What a move removes from its sources is no news: it was itemized when it was copied.
        self._itemizes = options.itemize and batch.kind is not Kind.COUNT and (source == DEST or not options.move)
        self._own = OwnFiles(context.job)
        # A mirror and a move also write to own directories that are write-protected, as rsync; `-rm` does as `rm -rf`.
        self._opening = despite_protection if options.mirror or options.move else lambda fd, error, call: error
        self._guard = guard
        self._marks = marks_of(batch)
        self._disposer = disposer
        self._excluded = _excluded(context, source)
        self._counts = {"removed": [0, 0, 0, 0], "skipped": [0, 0, 0, 0], "listed": [0, 0, 0, 0]}
        self.found: list[Batch] = []

    def account(self) -> Tally:
        """Put what was done into the outcome; return what was listed and may go."""
        removed, skipped, listed = (Tally(*counts) for counts in self._counts.values())
        self._outcome.removed = self._outcome.removed.plus(removed)
        self._outcome.skipped = self._outcome.skipped.plus(skipped)
        return listed

    def raise_if_stopped(self) -> None:
        """Raise Stopped when the run is ending."""
        if self._context.commands.stopped:
            raise Stopped

    def _stopped(self) -> bool:
        return self._context.commands.stopped

    def may_enter(self, path: bytes) -> bool:
        """Return whether the kind of removal allows to empty a directory."""
        return self._guard is None or self._guard.may_enter(path)

    def doubts(self, path: bytes) -> bool:
        """Return whether the kind of removal needs a closer look at what is in a directory."""
        return self._guard is not None and self._guard.doubts(path)

    def give(self, folder: Folder, units: Units) -> None:
        """Leave units of a directory to others."""
        doubted = self.doubts(folder.path)
        self.found.append(Batch(self._batch.kind, self._batch.source, folder.path, b"", units, new=doubted))
        folder.out += len(units)

    def mounted(self, path: bytes) -> None:
        """Name a mount that stays: to a mirror, which was not told to remove it, that is no failure."""
        if self._batch.source == DEST:
            self._outcome.warn(child_path(self._root, path), MOUNTED)
        else:
            self.fail(path, MOUNTED)

    def fail(self, path: bytes, what: OSError | str, doing: str = "") -> None:
        """Name what stays, and why."""
        full = child_path(self._root, path)
        failure = Failure(full, what) if isinstance(what, str) else failure_of(full, what, doing)
        self._outcome.failures.append(failure)

    def empty(self, folder: Folder, to_the_end: bool = False) -> None:
        """Remove what is in a directory, and note the directories in it. Raises OSError.

        to_the_end: however large it is. What is left of it can hardly be removed.
        """
        with ExitStack() as stack:
            entries, block = retried(partial(_begun, folder.fd, stack), self._stopped)
            if len(block) == _HUGE and not (to_the_end or self.counts_only):
                self._empty_huge(folder, block, entries)
                return
            blocks = gone = 0
            while block:
                for kind, names in self._listed(folder, block):
                    went, kept = self.unlink(folder, names, kind)
                    gone += went
                    folder.kept = folder.kept or kept
                block = list(islice(entries, _HUGE))
                blocks += 1
        if blocks > 1 and gone and not self.counts_only:
            # What is removed while a directory is read may hide other entries from the reader.
            folder.again, folder.gone = True, gone

    def _empty_huge(
        self, folder: Folder, block: "list[os.DirEntry[str]]", entries: "Iterator[os.DirEntry[str]]"
    ) -> None:
        """Remove files from a directory that is too large to be held; it is listed again. On slow storage others help.

        Directories in it, and what is excluded, are for the pass that has little left. Raises OSError.
        """
        folder.again = True
        handed, slow, began = 0, self._context.latency.slow, time.monotonic()
        while block:
            kinds, _ = sort(entry for entry in block if self._excluded is None or not self._excludes(folder, entry))
            for kind, names in kinds:
                self._counts["listed"][kind] += len(names)
                # The kernel lets one unlink at a time in a directory. Where calls are fast, helpers only wait for that:
                # 1,000,000 files of one directory on tmpfs took three ranks 6.0 core-seconds, and one alone 5.1.
                if slow and handed < _HANDED:
                    self.give(folder, others(map(os.fsencode, names), _TALLIES[kind]))
                    handed += 1
                else:
                    folder.gone += self.unlink(folder, names, kind)[0]
            if handed == _HANDED > 0 or (folder.gone and time.monotonic() - began > _PASS):
                return
            block = list(islice(entries, _HUGE))

    def _listed(self, folder: Folder, block: "Sequence[os.DirEntry[str]]") -> list[tuple[int, list[str]]]:
        """Return the names of what may go by kind; note the directories, and what is excluded."""
        if self._excluded is not None:
            stay = [entry for entry in block if self._excludes(folder, entry)]
            if stay:
                folder.kept = True
                self._count("skipped", *sort(stay))
                staying = {entry.name for entry in stay}
                block = [entry for entry in block if entry.name not in staying]
        kinds, folders = sort(block)
        if self._batch.source != DEST and self._context.options.move:
            folders = [name for name in folders if not self._context.own(os.fsencode(name))]  # those of a move
        self._count("listed", kinds, folders)
        folder.folders += map(os.fsencode, folders)
        return kinds

    def _excludes(self, folder: Folder, entry: "os.DirEntry[str]") -> bool:
        return self._excluded is not None and self._excluded(
            join(folder.path, os.fsencode(entry.name)), entry.is_dir(follow_symlinks=False)
        )

    def _count(self, what: str, kinds: list[tuple[int, list[str]]], folders: list[str]) -> None:
        for kind, names in (*kinds, (DIRECTORIES, folders)):
            self._counts[what][kind] += len(names)

    def unlink(self, folder: Folder, names: Sequence[str | bytes], kind: int) -> tuple[int, bool]:
        """Remove what is no directory; return how many went, and whether any stays.

        What turns out to be a directory is neither: it is noted in the folder.
        """
        call = self._call(folder)
        undone: set[str | bytes] = set()
        kept = False
        if own := self._own.among(names, folder.fd):
            names, kept = [name for name in names if name not in own], True
            self._own.tell(own, folder.path, self.fail)
        pace = None if self.counts_only else self._context.removal_pace
        together = _TOGETHER if pace is None else min(_TOGETHER, pace.together)
        for start in range(0, len(names), together):
            if call is None:
                break
            self.raise_if_stopped()
            if pace is not None:
                pace.take(len(names[start : start + together]), self.raise_if_stopped)
            some = iter(names[start : start + together])
            while True:
                # One try for many names, and one call for each: a removal spends its time in this loop.
                try:
                    for name in some:
                        call(name, dir_fd=folder.fd)
                    break
                except OSError as error:
                    again = partial(call, name, dir_fd=folder.fd)
                    problem = self._opening(folder.fd, in_the_end(error, again, self._stopped), again)
                    if problem is not None:
                        undone.add(name)
                        kept |= self._not_unlinked(folder, os.fsencode(name), problem)
        gone = [name for name in names if name not in undone] if undone else names
        self.went(kind, folder.path, gone)
        return len(gone), kept

    def _call(self, folder: Folder) -> Callable[..., None] | None:
        """Return what makes a name go; None where it is only counted."""
        guard, disposer, counts_only = self._guard, self._disposer, self.counts_only
        marks = self._marks if folder.path == self._batch.source_dir else {}
        if guard is None and not marks and (disposer is None or counts_only):
            return None if counts_only else os.unlink

        def call(name: str | bytes, dir_fd: int) -> None:
            name = os.fsencode(name)
            if name in marks and not self._is_meant(dir_fd, join(folder.path, name), name):
                raise Kept
            if guard is not None and guard.must_keep(dir_fd, folder.path, name):
                raise Kept
            if counts_only:
                return
            if disposer is None:
                os.unlink(name, dir_fd=dir_fd)
            else:
                disposer.unlink(dir_fd, folder.path, name)

        return call

    def _is_meant(self, directory: int, path: bytes, name: bytes) -> bool:
        """Return whether a name still is that of the entry that was named; else say that it stays. Raises OSError."""
        with pinned(directory, name) as entry:
            if is_marked(entry, self._marks[name]):
                return True
        self.fail(path, KEPT)
        return False

    def may_remove(self, entry: int, path: bytes) -> bool:
        """Return whether an open directory is what was named, where it matters; else say that it stays."""
        mark = self._marks.get(path)
        if mark is None or is_marked(entry, mark):
            return True
        self.fail(path, KEPT)
        return False

    def _not_unlinked(self, folder: Folder, name: bytes, error: OSError) -> bool:
        """Record why an entry was not removed; return whether it stays."""
        if isinstance(error, Kept):
            return True
        if error.errno == errno.ENOENT:
            return False
        path = join(folder.path, name)
        if path in self._context.mounts_of(self._batch.source).below:
            self.mounted(path)
            return True
        # Linux says EISDIR of a directory, POSIX and some file systems EPERM.
        if error.errno == errno.EISDIR or (error.errno == errno.EPERM and is_directory(folder.fd, name)):
            folder.folders.append(name)
            return False
        self.fail(path, error, "cannot remove")
        return True

    def rmdir(self, above: int, path: bytes, name: bytes) -> bool:
        """Remove an empty directory; return whether it is gone."""
        directory = path[: -len(name)].rstrip(b"/")

        def call() -> None:
            if path in self._marks and not self._is_meant(above, path, name):
                raise Kept
            if self.counts_only:
                return
            if self._disposer is None:
                os.rmdir(name, dir_fd=above)
            else:
                self._disposer.rmdir(above, directory, name)

        error: OSError | None = None
        try:
            retried(call, self._stopped)
        except Kept:
            return False
        except FileNotFoundError:
            return True
        except OSError as problem:
            error = self._opening(above, problem, call)
        if error is not None:
            intruder = first_in(above, name) if error.errno in _NOT_EMPTY else None
            if intruder is not None:
                self.fail(path, f"not empty: something was written here meanwhile: {printable(intruder)}")
            else:
                self.fail(path, error, "cannot remove")
            return False
        self.went(DIRECTORIES, directory, [name])
        return True

    def removed_unseen(self, above: int, path: bytes, name: bytes) -> bool:
        """Remove a directory that may not be listed if it is empty; return whether it was."""
        try:
            if path in self._marks and not self._is_meant(above, path, name):
                return False
            os.rmdir(name, dir_fd=above)
        except OSError:
            return False
        self.went(DIRECTORIES, path[: -len(name)].rstrip(b"/"), [name])
        return True

    def went(self, kind: int, path: bytes, names: Sequence[str | bytes]) -> None:
        """Note that entries of a directory are gone, or would be."""
        self._counts["removed"][kind] += len(names)
        if self._itemizes:
            prefix, end = join(self._prefix, path), b"/" if kind == DIRECTORIES else b""
            self._outcome.items += [(GONE, join(prefix, os.fsencode(name)) + end, b"") for name in names]


def _begun(fd: int, stack: ExitStack) -> "tuple[Iterator[os.DirEntry[str]], list[os.DirEntry[str]]]":
    """Return the listing of a directory, and the first entries of it. Raises OSError."""
    entries = stack.enter_context(os.scandir(fd))
    return entries, list(islice(entries, _HUGE))


def sort(entries: "Iterable[os.DirEntry[str]]") -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the names of entries by kind, without kinds that there are none of, and the names of directories."""
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    specials: list[str] = []
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            files.append(entry.name)
        elif entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        elif entry.is_symlink():
            links.append(entry.name)
        else:
            specials.append(entry.name)
    kinds = [(kind, names) for kind, names in ((FILES, files), (LINKS, links), (SPECIALS, specials)) if names]
    return kinds, folders


def kind_of(tally: Tally) -> int:
    """Return what one entry with a tally is."""
    return LINKS if tally.links else SPECIALS if tally.specials else FILES


def _excluded(context: JobContext, source: int) -> Callable[[bytes, bool], bool] | None:
    """Return a predicate of (path below a root, whether it is a directory): it is excluded; None where nothing is.

    Patterns are matched against paths of sources; at the destination, against those that land there.
    """
    matches, job = context.excluded, context.job
    if matches is None or (source == DEST and context.options.delete_excluded):
        return None
    if source != DEST:
        root = job.sources[source].path
        return lambda path, is_directory: matches(child_path(root, path), is_directory)
    roots = [(number, root.path) for number, root in enumerate(job.sources)]

    def excluded(path: bytes, is_directory: bool) -> bool:
        found = ((root, job.source_dir_of(number, path)) for number, root in roots)
        return any(matches(child_path(root, each), is_directory) for root, each in found if each is not None)

    return excluded
