"""Big files are copied in ranges by all free ranks, and appear under their names complete, or not at all.

START_FILE (`beginning`) makes a stage that outlives it, with an empty copy of the full size in it; RANGE fills in a
part, on any rank; FINISH_FILE gives the copy its metadata and its name. Only FINISH_FILE counts the file, or names it
as failed.

Each of them looks the source up again: if it is another file, or one that was written to, the copy is spoilt.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.itemize import itemize_copies
from hpcp_mpi.engine.unstorable_times import warn
from hpcp_mpi.host.cp import attributes_command, complaints, ending
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.range_copy import RangeCopier, changed, opened
from hpcp_mpi.host.retrying import names_passing, tries
from hpcp_mpi.operations.copy.big_files.rules import EMPTIED, FileEnded, RangeDone, RangeFailed
from hpcp_mpi.operations.copy.content_only import drop_writing
from hpcp_mpi.operations.copy.cp_failures import CpDamage
from hpcp_mpi.operations.copy.publishing import publish_unit
from hpcp_mpi.operations.copy.worker import copy, note_losses
from hpcp_mpi.operations.verify.records import WrittenUnit
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units

CHANGED = "it changed while it was copied"
_HOUR_NS = 3600 * 10**9
_STEP = 64 * MIB  # of data of a range, after which it is looked whether the run is to end
_OLD = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # never O_CREAT: what is gone stays gone


class _Spoilt(Exception):
    """There will be no copy of a big file. reason: "" where others say why."""

    def __init__(self, reason: str, vanished: bool = False) -> None:
        super().__init__(reason, vanished)
        self.reason = reason
        self.vanished = vanished


def copy_range(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Copy the ranges of a RANGE batch. Raises host.commands.Stopped."""
    big = _of(batch)
    key = batch.dest_dir, big.stage
    with ExitStack() as stack:
        try:
            left = _copied_range(context, batch, big, stack)
        except _Spoilt as spoilt:
            outcome.findings.append(RangeFailed(key, len(batch.units), spoilt.reason, spoilt.vanished))
            return
        if left:  # the run ends in good order: another one resumes in the middle of a range
            outcome.new_work.append(batch.with_units(left))
        done = len(batch.units) - len(left)
        outcome.findings.append(RangeDone(key, done, batch.amount - left.amount))
        if context.options.verify:
            copied = _copied(batch.units, left)
            if len(copied):
                outcome.findings.append(WrittenUnit(batch.with_units(copied)))


def _copied_range(context: JobContext, batch: Batch, big: BigFile, stack: ExitStack) -> Units:
    """Copy ranges, a few times if what goes wrong may be over in a moment; return what is left. Raises _Spoilt."""
    before = context.commands.moved.mine
    for last in tries(lambda: context.commands.stopped):
        try:
            return _copy_range(context, batch, big, stack)
        except _Spoilt as spoilt:
            if last or not names_passing(spoilt.reason):
                raise
            context.commands.moved.back_to(before)
    raise AssertionError("the last try was not the last")


def _copied(units: Units, left: Units) -> Units:
    """Return what of some ranges was copied. left: what was not, which may begin in the middle of one"""
    done = len(units) - len(left)
    if not len(left):
        return units
    (cut,), (rest,) = units[done : done + 1], left[:1]
    copied = cut._replace(tally=cut.tally.minus(rest.tally), amount=cut.amount - rest.amount)
    begun = [copied] if copied.tally.bytes else []
    return Units.of([*units[:done], *begun])


def _copy_range(context: JobContext, batch: Batch, big: BigFile, stack: ExitStack) -> Units:
    """Return what is left, if the run ends in good order meanwhile."""
    try:
        # made, not at: some network file systems remember for a while that another rank's new directory is not there.
        dest = stack.enter_context(context.dest.made(batch.dest_dir, context.new_mode))
        stage = context.stages.enter(dest, big.stage)
    except OSError as error:
        raise _Spoilt(_lost(error)) from None
    stack.callback(os.close, stage)
    try:
        copied = os.open(big.stage, _OLD, dir_fd=stage)
    except OSError as error:
        raise _Spoilt(
            "" if error.errno == errno.ENOENT else f"its copy cannot be written: {reason_of(error)}"
        ) from None
    try:
        try:
            left = _fill(context, batch, big, copied)
            if context.options.sync_ranges:
                _store(copied)
        finally:
            _close(copied)
        if not context.options.content_only:
            _stamp(context, big, stage)
        return left
    except _Spoilt as spoilt:
        # So the other ranges fail at once, and the room is free again that was perhaps too little.
        if not names_passing(spoilt.reason):
            with suppress(OSError):
                os.unlink(big.stage, dir_fd=stage)
        raise


def _fill(context: JobContext, batch: Batch, big: BigFile, copied: int) -> Units:
    """Copy a batch's ranges into the open copy; return what is left when the run ends in good order meanwhile."""
    with ExitStack() as stack:
        with _reading():
            source = stack.enter_context(context.listed(batch))
            file, status = stack.enter_context(opened(source, big.name))
        if changed(big.identity, status):
            raise _Spoilt(CHANGED)
        try:
            copier = RangeCopier(
                file, copied, context.options, lambda: context.commands.stopped, context.commands.moved.add
            )
            for number, unit in enumerate(batch.units):
                start, end, before = int(unit.name), int(unit.name) + unit.tally.bytes, copier.copied
                while start < end:
                    if context.ending.is_set():
                        left = max(0, unit.amount - (copier.copied - before))
                        rest = Unit(b"%d" % start, Tally(bytes=end - start), left)
                        return Units.of([rest, *batch.units[number + 1 :]])
                    start = copier.copy(start, end - start, _STEP)
        except OSError as error:
            raise _Spoilt(reason_of(error)) from None
    return Units([], [])


@contextmanager
def _reading() -> Iterator[None]:
    """A source that cannot be opened meanwhile spoils its copy."""
    try:
        yield
    except FileNotFoundError:
        raise _Spoilt(VANISHED, vanished=True) from None
    except OSError as error:
        raise _Spoilt(f"cannot be opened for reading: {reason_of(error)}") from None


def _store(copied: int) -> None:
    """Have a copy stored: after a power failure the ledger would say that it is there."""
    try:
        os.fdatasync(copied)
    except OSError as error:
        raise _Spoilt(f"its copy cannot be stored: {reason_of(error)}") from None


def _close(copied: int) -> None:
    """Close a copy. Network file systems write, and fail to, only now."""
    try:
        os.close(copied)
    except OSError as error:
        raise _Spoilt(f"its copy cannot be written: {reason_of(error)}") from None


def _stamp(context: JobContext, big: BigFile, stage: int) -> None:
    """Give a copy its mtime, by the client that has just written to it.

    A client may send its servers the time of a write late (MooseFS's does, each second, closed or not), and so undo the
    mtime that another one has set since. If it sets the mtime itself, it sends that one.
    """
    times = context.job.times
    nearest = times.nearest(big.read_ns), times.nearest(big.identity[1])
    try:
        os.utime(big.stage, ns=nearest, dir_fd=stage, follow_symlinks=False)
    except OSError as error:
        raise _Spoilt(
            "" if error.errno == errno.ENOENT else f"its copy cannot be given its mtime: {reason_of(error)}"
        ) from None


def _lost(error: OSError) -> str:
    return f"its staging directory is lost: {reason_of(error)}"


def finish(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Give a file whose ranges are all copied its metadata and its name; remove its stage in any case."""
    big = _of(batch)
    (unit,) = batch.units
    with ExitStack() as stack:
        try:
            dest = stack.enter_context(context.dest.made(batch.dest_dir, context.new_mode))
            stage = context.stages.enter(dest, big.stage)
        except OSError as error:
            if batch.again and error.errno == errno.ENOENT and not big.failure:
                # A rank that was lost may have finished it, and not reported so: what is there shows it.
                outcome.new_work.append(replace(batch, kind=Kind.CHECK, big=None, again=False))
                return
            _fail(context, batch, unit, big.failure or _lost(error), outcome, big.vanished)
            return
        stack.callback(context.stages.remove, dest, big.stage, stage, outcome.warn)
        if big.failure:
            _fail(context, batch, unit, big.failure, outcome, big.vanished)
            return
        try:
            source = stack.enter_context(context.listed(batch))
        except OSError as error:
            _fail(context, batch, unit, f"cannot open its directory: {reason_of(error)}", outcome)
            return
        finish_begun(context, batch, big, unit, (source, stage, dest), outcome)


def finish_or_copy(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Finish a big file; one that is spoilt for a reason that may be over in a moment is copied by one cp."""
    mine = Outcome()
    finish(context, batch, mine)
    again = not mine.copied and any(names_passing(failure.reason) for failure in mine.failures)
    if again and not context.commands.stopped:
        mine.failures = []
        copy(context, [replace(batch, kind=Kind.COPY, big=None, again=False)], mine)
    mine.findings.append(FileEnded((batch.dest_dir, _of(batch).stage)))
    outcome.add(mine)


def finish_begun(
    context: JobContext, batch: Batch, big: BigFile, unit: Unit, directories: tuple[int, int, int], outcome: Outcome
) -> None:
    """Give a copy that is complete its metadata and its name. directories: of the source, the stage, the destination"""
    source, stage, dest = directories
    try:
        for last in tries(lambda: context.commands.stopped):
            words, said = _dress(context, big, source, stage)
            if last or not names_passing(words):
                break
        if context.options.itemize:
            itemize_copies(context, batch, outcome)
    except _Spoilt as spoilt:
        _fail(context, batch, unit, spoilt.reason, outcome, spoilt.vanished)
        return
    except OSError as error:
        to = printable(context.dest_path(batch.dest_dir))
        _fail(context, batch, unit, f"cannot write to {to}: {reason_of(error)}", outcome)
        return
    path = context.source_path(batch, unit.name)
    if said or words or context.options.strict_metadata:
        damage = CpDamage(said=said)
        if words:  # it lands, but not with all of its metadata
            damage.not_all(context, path, words)
        outcome.failures += damage.failures
        note_losses(context, batch, {big.name: (stage, big.stage)}, damage, outcome)
    if context.job.times.goes_astray(big.identity[1]):
        warn(context, context.source_path(batch, unit.name), big.identity[1], outcome)
    publish_unit(context, batch, unit, (stage, big.stage, dest), NOTHING, outcome)


def _dress(context: JobContext, big: BigFile, source: int, stage: int) -> tuple[str, bytes]:
    """Give the copy in the stage the source's metadata; return what could not be set, and all that cp said.

    Raises OSError.
    """
    with ExitStack() as stack:
        with _reading():
            file, status = stack.enter_context(opened(source, big.name))
        if changed(big.identity, status):
            raise _Spoilt(CHANGED)
        if big.stage in context.job.adopted:
            context.looks.wait_for_earlier_runs()  # what their clients still send comes before
        there = lstat(big.stage, stage)
        if there is None or not stat.S_ISREG(there.st_mode):  # cp would make one, empty
            raise _Spoilt(EMPTIED)
        if context.options.content_only:
            if there.st_size != big.size:
                raise _Spoilt(CHANGED)
            drop_writing(stage, big.stage, status)
            return "", b""
        # cp sets the mtime last, so it shows afterwards whether cp came to its end: not if it is right already.
        os.utime(big.stage, ns=(big.read_ns, _unlike(big)), dir_fd=stage, follow_symlinks=False)
        command = attributes_command(file, stage, big.stage)
        code, stderr = context.commands.run(command, b"/", (file, stage))
        times = context.job.times
        got = lstat(big.stage, stage)
        words = _words(code, stderr) if code else ""
        if got is None:
            raise _Spoilt(EMPTIED)
        # cp writes the mtime it finds: another one than that at first, or none.
        if got.st_size != big.size or changed(big.identity, os.fstat(file)):
            raise _Spoilt(words or CHANGED)
        timed = times.same(big.identity[1], got.st_mtime_ns)
        if words and not timed:
            raise _Spoilt(words)
        # cp -a would have kept the atime from before it read the file.
        if not timed or got.st_atime_ns != times.nearest(big.read_ns):
            _stamp(context, big, stage)
    return words, stderr


def _unlike(big: BigFile) -> int:
    """Return an mtime (ns) that a file does not have."""
    return _HOUR_NS if abs(big.identity[1]) < _HOUR_NS // 2 else 0


def _words(code: int, stderr: bytes) -> str:
    """Return what a cp that failed said."""
    by_path, others = complaints(stderr)
    return next(iter(by_path.values())) if by_path and code >= 0 else ending(code, others)


def _fail(context: JobContext, batch: Batch, unit: Unit, reason: str, outcome: Outcome, vanished: bool = False) -> None:
    path = context.source_path(batch, unit.name)
    outcome.failures.append(Failure(path, reason, vanished, unit.tally))


def _of(batch: Batch) -> BigFile:
    if batch.big is None:
        raise ValueError(f"a {batch.kind.name} batch without its file")
    return batch.big


def abandon(context: JobContext, outcome: Outcome) -> None:
    """Remove the unfinished stages that this rank made: the run ends early. No rank may be copying any more."""
    for where, name in context.stages.made():
        with suppress(OSError):  # finished by another rank, or the next run's to remove
            with context.dest.at(where) as dest:
                before = os.fstat(dest)
                stage = context.stages.enter(dest, name)
                context.stages.remove(dest, name, stage, outcome.warn)
                # All may be settled by now: a file whose stage could not be entered for a moment is copied otherwise.
                os.utime(dest, ns=(before.st_atime_ns, before.st_mtime_ns))
