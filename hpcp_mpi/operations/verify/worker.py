"""Verifying on a worker: the copies of other ranks are read again: files, links, whole subtrees, parts of big files."""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from hpcp_mpi.engine.broken_work import surviving
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.entries import lstat, names_in, types_in
from hpcp_mpi.host.uncached_read import write_out
from hpcp_mpi.operations.verify.records import Differing
from hpcp_mpi.operations.verify.reread import (
    GONE,
    MISSING,
    CannotVerify,
    CopyComparer,
    CopyDiffers,
    EntryPair,
    Inodes,
    OpenPair,
    unread,
)
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally, one_file, tally_of
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units, link_unit

APPEARED = "created after its directory was listed; not copied"
_FEW = 16  # entries for which it does not pay to have a whole file system written out


def verify(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Verify the units of VERIFY batches. What differs is a finding, for rank 0. Raises host.commands.Stopped."""
    each = sum(batch.entries for batch in batches) < _FEW or not _written_out(context)

    def look(context: JobContext, batch: Batch, mine: Outcome) -> None:
        if batch.big is not None:
            _Verifier(context, batch, mine, sync=True).ranges(batch.big)
        else:
            with context.gate:
                _Verifier(context, batch, mine, each).units()

    for batch in batches:
        surviving(context, batch, outcome, look)


def _written_out(context: JobContext) -> bool:
    """Have the destination's file system write what it has to; return whether that worked."""
    try:
        with context.dest.at(b"") as fd:
            return write_out(fd)
    except OSError:
        return False


class _Verifier:
    """Verifies one batch."""

    def __init__(self, context: JobContext, batch: Batch, outcome: Outcome, sync: bool) -> None:
        """sync: as for CopyComparer."""
        self.context = context
        self.batch = batch
        self.outcome = outcome
        self.reread = CopyComparer(context, batch.source, sync)

    def units(self) -> None:
        """Verify files, links, special files and whole subtrees."""
        batch = self.batch
        with ExitStack() as stack:
            try:
                with self.context.latency.noted():
                    source = stack.enter_context(self.context.source(batch).at(batch.source_dir))
            except OSError as error:
                for unit in batch.units:
                    self.unknown(unit.name, unread(error))
                return
            try:
                dest = stack.enter_context(self.context.copied(batch.dest_dir))
            except OSError as error:
                for unit in batch.units:
                    self.differs(unit, CopyDiffers(no_directory(error), unit.tally))
                return
            units = list(batch.units)
            alone = [unit for unit in units if not unit.tally.directories]
            look = self.reread.file if batch.units.plain else self.reread.entry
            self._each(alone, lambda unit: look(EntryPair(source, dest, unit.name, unit.target)))
            for unit in units:
                if unit.tally.directories:
                    _Subtree(self, unit).verify()

    def _each(self, units: list[Unit], look: Callable[[Unit], Tally]) -> None:
        """Verify units, many at once where that gains. None is looked at twice: it would be read twice."""
        results: dict[int, Tally | CopyDiffers | CannotVerify] = {}

        def take(at: int) -> None:
            if at not in results and not self.context.commands.stopped:
                try:
                    results[at] = self.reread.surely(lambda: look(units[at]))
                except (CopyDiffers, CannotVerify) as problem:
                    results[at] = problem
                except OSError as error:
                    results[at] = unread(error)
                except Stopped:
                    pass  # as all others, and this one's caller says so

        if not self.context.crowd.each(take, range(len(units))):
            for at in range(len(units)):
                take(at)
        if self.context.commands.stopped:
            raise Stopped
        good = [0] * len(NOTHING)
        for at, unit in enumerate(units):
            result = results[at]
            if isinstance(result, CopyDiffers):
                self.differs(unit, result)
            elif isinstance(result, CannotVerify):
                self.unknown(unit.name, result)
            else:
                good = [a + b for a, b in zip(good, result, strict=True)]
        self.good(Tally(*good))

    def ranges(self, big: BigFile) -> None:
        """Verify parts of a big file. The first one counts the file."""
        batch = self.batch
        differs: list[tuple[int, str]] = []
        try:
            with self.context.source(batch).at(batch.source_dir) as source, self.context.copied(batch.dest_dir) as dest:
                pair = EntryPair(source, dest, big.name, big.target)
                self.good(
                    self.reread.surely(lambda: self.reread.opened(pair, lambda files: self._parts(files, differs)))
                )
        except OSError as error:
            self.unknown(big.name, unread(error))
        except CannotVerify as problem:
            self.unknown(big.name, problem)
        except CopyDiffers as problem:
            differs = [(int(unit.name), problem.reason) for unit in batch.units]
        if differs:
            unit = Unit(big.name, one_file(big.size), 0, None if big.target == big.name else big.target)
            again = self.copying(batch.source_dir, batch.dest_dir, unit)
            begins = any(not start for start, _ in differs)
            self.outcome.findings.append(Differing(again, differs[0][1], None, unit.tally, begins))

    def _parts(self, files: OpenPair, differs: list[tuple[int, str]]) -> Tally:
        good = NOTHING
        for unit in self.batch.units:
            start = int(unit.name)
            try:
                self.reread.read(files, start, unit.tally.bytes)
                good = good.plus(unit.tally._replace(files=int(not start)))
            except CopyDiffers as problem:
                differs.append((start, problem.reason))
        return good

    # --- results

    def good(self, tally: Tally) -> None:
        self.outcome.verified = self.outcome.verified.plus(tally)

    def differs(self, unit: Unit, problem: CopyDiffers) -> None:
        again = self.copying(self.batch.source_dir, self.batch.dest_dir, unit)
        counted = unit.tally if problem.counted else NOTHING  # whatever the size is by now
        self.outcome.findings.append(Differing(again, problem.reason, None, counted))

    def copying(self, source_dir: bytes, dest_dir: bytes, unit: Unit) -> Batch:
        """Return the batch that copies a unit again."""
        split = self.context.options.split_size
        big = unit.tally.files == 1 == unit.tally.entries and 0 < split <= unit.tally.bytes
        unit = unit._replace(amount=0 if big else unit.tally.bytes)
        kind = Kind.START_FILE if big else Kind.COPY
        return Batch(kind, self.batch.source, source_dir, dest_dir, Units.of([unit]), again=True)

    def unknown(self, path: bytes, problem: CannotVerify) -> None:
        """path: relative to the batch's directory."""
        path = self.context.source_path(self.batch, path)
        if problem.vanished and self.context.job.resumed:
            self.outcome.warn(path, problem.reason)
            return
        self.outcome.failures.append(Failure(path, problem.reason, problem.vanished))


def no_directory(error: OSError) -> str:
    """Return what it means that the directory of a copy cannot be opened."""
    return MISSING if error.errno == errno.ENOENT else f"the directory of its copy cannot be opened: {reason_of(error)}"


class _Subtree:
    """Verifies a directory and all below it, both trees side by side. It is one unit, so it is not big."""

    def __init__(self, verifier: _Verifier, unit: Unit) -> None:
        self._verifier = verifier
        self._context = verifier.context
        self._unit = unit
        self._found = 0  # entries of the copy
        self._missing: list[tuple[bytes, os.stat_result]] = []  # paths below the unit, and what is there
        self._named: set[Inodes] = set()  # files with several names that were read, and are good
        self._known: dict[tuple[int, int], bytes] = {}  # source inodes with several names: where the copy has one
        self._again: dict[Inodes, int] = {}  # those that differ: which of differing it is
        self._links: dict[Inodes, list[Unit]] = {}  # their other names, to be made again
        self._differing: list[Differing] = []
        self._good = NOTHING

    def verify(self) -> None:
        waiting = [b""]
        while waiting:
            if self._context.commands.stopped:
                raise Stopped
            path = waiting.pop()
            waiting += self._directory(path)
        self._report_missing()
        for key, at in self._again.items():
            self._differing[at] = self._with_links(self._differing[at], self._links.get(key, []))
        self._verifier.outcome.findings += self._differing
        self._verifier.good(self._good)

    def _source_dir(self, path: bytes) -> bytes:
        return join(self._verifier.batch.source_dir, self._unit.name, path)

    def _dest_dir(self, path: bytes) -> bytes:
        return join(self._verifier.batch.dest_dir, self._unit.target, path)

    def _directory(self, path: bytes) -> list[bytes]:
        """Verify what is in a directory; return the directories in it."""
        found: list[bytes] = []
        with ExitStack() as stack:
            try:
                source = stack.enter_context(self._context.source(self._verifier.batch).at(self._source_dir(path)))
                types = dict(types_in(source))
            except OSError as error:
                self._verifier.unknown(join(self._unit.name, path), unread(error))
                return []
            try:
                dest = stack.enter_context(self._context.copied(self._dest_dir(path)))
                copied = names_in(dest)
            except OSError as error:
                if not path and error.errno == errno.ENOENT:
                    self._differ(path, self._unit.tally, CopyDiffers(MISSING, self._unit.tally))
                else:
                    problem = CannotVerify(no_directory(error))
                    self._verifier.unknown(join(self._unit.name, path), problem)
                return []
            self._found += 1 + len(copied)
            self._good = self._good.plus(ONE_DIRECTORY)
            for name in sorted(types):
                pair = EntryPair(source, dest, name, name)
                if name not in copied:
                    self._absent(path, pair)
                elif stat.S_ISDIR(types[name]):
                    self._found -= 1  # it is counted when it is entered
                    found.append(join(path, name))
                else:
                    self._child(path, pair, stat.S_ISREG(types[name]))
            for name in copied - types.keys():
                self._verifier.unknown(join(self._unit.name, path, name), CannotVerify(GONE, vanished=True))
        return found

    def _absent(self, path: bytes, pair: EntryPair) -> None:
        """Record an entry that has no copy, if it is still there."""
        try:
            wanted = lstat(pair.name, pair.source)
        except OSError as error:
            self._verifier.unknown(join(self._unit.name, path, pair.name), unread(error))
            return
        if wanted is not None:
            self._missing.append((join(path, pair.name), wanted))

    def _child(self, path: bytes, pair: EntryPair, is_file: bool) -> None:
        """Verify an entry that is no directory."""
        at = join(path, pair.name)
        reread = self._verifier.reread

        def look() -> Tally:
            return reread.opened(pair, lambda files: self._file(at, files)) if is_file else reread.entry(pair)

        try:
            self._good = self._good.plus(reread.surely(look))
        except CopyDiffers as problem:
            if problem.inodes in self._again:
                link = Unit(self._source_dir(at), NOTHING, 0, self._dest_dir(at))
                self._links.setdefault(problem.inodes, []).append(link)
                return
            if problem.inodes is not None:
                self._again[problem.inodes] = len(self._differing)
            self._differ(at, problem.counted, problem)
        except CannotVerify as problem:
            self._verifier.unknown(join(self._unit.name, at), problem)
        except OSError as error:
            self._verifier.unknown(join(self._unit.name, at), unread(error))

    def _file(self, path: bytes, files: OpenPair) -> Tally:
        """Verify a file; one that has several names once."""
        if files.wanted.st_nlink == 1:
            return self._verifier.reread.whole(files)
        inode = files.wanted.st_dev, files.wanted.st_ino
        self._known.setdefault(inode, self._dest_dir(path))
        if files.inodes in self._named:
            return one_file(0)
        counted = self._verifier.reread.whole(files)
        self._named.add(files.inodes)
        return counted

    def _differ(self, path: bytes, tally: Tally, problem: CopyDiffers) -> None:
        """Have what is at path copied again; it may be the unit itself. tally: what is there."""
        if path:
            directory, _, name = path.rpartition(b"/")
            unit = Unit(name, tally)
            again = self._verifier.copying(self._source_dir(directory), self._dest_dir(directory), unit)
        else:
            batch = self._verifier.batch
            again = self._verifier.copying(batch.source_dir, batch.dest_dir, self._unit)
        self._differing.append(Differing(again, problem.reason, None, problem.counted))

    def _with_links(self, differing: Differing, links: list[Unit]) -> Differing:
        if not links:
            return differing
        (unit,) = differing.batch.units
        leader = join(differing.batch.dest_dir, unit.target)
        return Differing(differing.batch, differing.reason, self._linking(links, leader), differing.counted)

    def _report_missing(self) -> None:
        """Report entries of the source that have no copy: lost, or created after the source was listed."""
        if self._verifier.batch.lossy:
            return  # named already
        lost = self._found < self._unit.entries
        for path, wanted in self._missing:
            if lost:
                self._lost(path, wanted)
            else:
                where = self._context.source_path(self._verifier.batch, join(self._unit.name, path))
                self._verifier.outcome.warn(where, APPEARED)

    def _lost(self, path: bytes, wanted: os.stat_result) -> None:
        """Have what is not there copied, or linked if it is another name of what is."""
        inode = wanted.st_dev, wanted.st_ino
        several = wanted.st_nlink > 1 and stat.S_ISREG(wanted.st_mode)
        if several and inode in self._known:
            unit = Unit(self._source_dir(path), one_file(0), 0, self._dest_dir(path))
            batch = self._linking([unit], self._known[inode])
            self._differing.append(Differing(batch, MISSING, None, one_file(0)))
            return
        if several:
            self._known[inode] = self._dest_dir(path)
        counted = NOTHING if stat.S_ISDIR(wanted.st_mode) else tally_of(wanted)
        self._differ(path, tally_of(wanted), CopyDiffers(MISSING, counted))

    def _linking(self, links: list[Unit], leader: bytes) -> Batch:
        units = Units.of(link_unit(unit.name, unit.tally, unit.target, leader) for unit in links)
        return Batch(Kind.LINK, self._verifier.batch.source, b"", b"", units, again=True)
