"""Copying units: `cp` into a stage, then renames into place."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from functools import partial

from hpcp_mpi.engine.broken_work import persistently, surviving
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import FULL, IN_THE_WAY, close_late, made, publish
from hpcp_mpi.engine.itemize import itemize_copies
from hpcp_mpi.engine.unstorable_times import set_nearest
from hpcp_mpi.host import cp
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import path_of, pinned
from hpcp_mpi.host.entries import is_directory, lstat
from hpcp_mpi.host.machine import kept_open
from hpcp_mpi.host.retrying import names_passing, passes
from hpcp_mpi.host.stage import staged
from hpcp_mpi.operations.copy.check import check_all
from hpcp_mpi.operations.copy.content_only import default_acl, keep_metadata
from hpcp_mpi.operations.copy.cp_failures import CpDamage, CpFailures
from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.operations.verify.records import WrittenUnit
from hpcp_mpi.vocab.errors import Failure, failure_of, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join, printable
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally, total_of
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Unit, Units

LEADS_TO_ITS_PLACE = (
    "a symlink to what it would replace in the destination, or through that: it would lead to itself; not copied. "
    "Remove the link, or exclude it"
)
_MAX_PINNED = 200  # files that one cp is given as descriptors
FEW = 16  # files in a directory for which a cp of their own costs more than pinning each


def copy(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Copy the units of COPY batches. What fails is a Failure in outcome."""
    if context.options.dry_run:
        for batch in batches:
            _pretend(context, batch, outcome)
        return
    persistently(context, batches, outcome, partial(_copy, context))


def _copy(context: JobContext, batches: Sequence[Batch], outcome: Outcome, last: bool) -> None:
    """last: what fails is not copied again, so units land without what failed in them."""
    few = [batch for batch in batches if len(batch.units) < FEW and _are_files(batch.units)]
    groups = _together(few, context.slots) if len(few) > 1 else []
    grouped = {id(batch) for group in groups for batch in group}
    alone = [batch for batch in batches if id(batch) not in grouped]
    for group in groups:
        if not _copy_together(context, group, outcome):
            alone += group
    for batch in alone:
        surviving(context, batch, outcome, partial(_copy_batch, last=last))


def check_and_copy(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Check what may be identical; copy what is not, unless it is so much that others should help."""
    differing: list[Batch] = []
    for batch in batches:
        with context.gate:
            differing += check_all(context, [batch], outcome)
    limited = context.options.rate_bytes or context.options.rate_files  # then rank 0 says when it may be copied
    if limited or sum(batch.amount for batch in differing) > context.options.bite_weight:
        outcome.new_work += differing
    else:
        copy(context, differing, outcome)


def _are_files(units: Units) -> bool:
    return units.plain or all(unit.tally.files == 1 == unit.tally.entries for unit in units)


def _pretend(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    try:
        itemize_copies(context, batch, outcome)
    except OSError as error:
        attempted = total_of(unit.tally for unit in batch.units)
        outcome.failures.append(failure_of(context.source_path(batch), error, "", attempted))
        return
    for unit in batch.units:
        if _is_link(unit) and not context.options.compare:
            with suppress(OSError), context.source(batch).at(batch.source_dir) as source:
                with context.dest.at(batch.dest_dir) as dest:
                    if leads_to_its_place(source, unit.name, (source, unit.name), dest, unit.target):
                        _refuse(context, batch, [unit], LEADS_TO_ITS_PLACE, outcome)
                        continue
        outcome.copied = outcome.copied.plus(unit.tally)


def _is_link(unit: Unit) -> bool:
    return unit.tally.links == 1 == unit.entries


def leads_to_its_place(source: int, name: bytes, link: tuple[int, bytes], dest: int, target: bytes) -> bool:
    """Return whether a symlink would replace what it leads to. Arguments are as for host.link_path.

    What replaces nothing, as nearly all links, costs one lstat. Raises OSError.
    """
    if lstat(target, dest) is None:
        return False
    from hpcp_mpi.host.link_path import replaces_its_target  # few links replace anything

    return replaces_its_target(source, name, link, dest, target)


def _copy_batch(context: JobContext, batch: Batch, outcome: Outcome, last: bool) -> None:
    """Copy units that share a directory, with as few calls of cp as fit. last: as for _copy"""
    to = printable(context.dest_path(batch.dest_dir))
    with ExitStack() as stack:
        try:
            source = stack.enter_context(context.listed(batch))
        except OSError as error:
            for unit in batch.units:
                path = context.source_path(batch, unit.name)
                outcome.failures.append(failure_of(path, error, "cannot open its directory", unit.tally))
            return
        try:
            dest = stack.enter_context(made(context, batch.dest_dir, batch.over))
            close_late(context, batch.source, batch.dest_dir, os.fstat(source), dest)
            outcome.touched.add((batch.source, batch.source_dir, batch.dest_dir))
            stage = stack.enter_context(staged(dest, context.run_id, outcome.warn, context.options.content_only))
            if context.options.itemize:
                itemize_copies(context, batch, outcome)
        except OSError as error:
            _refuse(context, batch, batch.units, f"cannot write to {to}: {reason_of(error)}", outcome)
            return
        mends = not context.job.times.clamps
        other = _Lazily(lambda: staged(dest, context.run_id, outcome.warn, context.options.content_only), stack)
        for units in _calls(batch.units):
            try:
                damage, placed = _into_stage(context, batch, units, source, stage, other)
            except OSError as error:
                _refuse(context, batch, units, f"cannot be copied to {to}: {reason_of(error)}", outcome)
                continue
            outcome.failures += damage.failures
            if damage.said or damage.refused or context.options.strict_metadata:
                note_losses(context, batch, placed, damage, outcome)
            staying = damage.unknown if last else damage.unknown | _passing(context, batch, damage)
            for unit in units:
                if unit.name in staying:
                    continue
                if mends:
                    look = partial(lstat, unit.name, source)
                    set_nearest(context, batch, unit, look, placed[unit.name], outcome)
                lost = damage.lost.get(unit.name, NOTHING)
                publish_unit(context, batch, unit, (*placed[unit.name], dest), lost, outcome)


def _into_stage(
    context: JobContext, batch: Batch, units: list[Unit], source: int, stage: int, other: Callable[[], int]
) -> tuple[CpDamage, dict[bytes, tuple[int, bytes]]]:
    """Copy units into a stage; return what is not good, and where they are: (stage, name in it) of each.

    other: returns another stage. Raises OSError, host.commands.Stopped.
    """
    if not batch.ours:
        from hpcp_mpi.operations.copy.guarded_cp import copy_into  # not needed in root's own trees

        return copy_into(context, batch, units, source, stage, other)
    command = cp.command(context.options, stage, [unit.name for unit in units])
    code, stderr = context.commands.run(command, path_of(source), (stage,))
    damage = CpFailures(context, batch, stage, code, stderr).take(units) if code else CpDamage()
    damage.said += stderr
    return damage, {unit.name: (stage, unit.name) for unit in units}


class _Lazily:
    """A second stage, which is made when it is asked for."""

    def __init__(self, make: Callable[[], AbstractContextManager[int]], stack: ExitStack) -> None:
        self._make = make
        self._stack = stack
        self._stage: int | None = None

    def __call__(self) -> int:
        """Return its descriptor. Raises OSError."""
        if self._stage is None:
            self._stage = self._stack.enter_context(self._make())
        return self._stage


def note_losses(
    context: JobContext, batch: Batch, placed: dict[bytes, tuple[int, bytes]], damage: CpDamage, outcome: Outcome
) -> None:
    """Note what copies in a stage lack of their metadata, as the destination does not store it.

    placed: where they are (stage, name in it), by the name of their unit
    """
    from hpcp_mpi.engine.losses import note_lost, note_lost_acl, note_refused  # rarely needed

    for path, words in damage.lacking:
        note_lost_acl(context, path, words, outcome)
    for path, refused in damage.refused:
        note_refused(context, path, refused, outcome)
    note_lost(context, batch, placed, damage.said, outcome)


def _passing(context: JobContext, batch: Batch, damage: CpDamage) -> set[bytes]:
    """Return the units to which something happened that may be over in a moment: they are copied again."""
    directory = context.source_path(batch)
    paths = [failure.path for failure in damage.failures if names_passing(failure.reason)]
    return {path[len(directory) :].lstrip(b"/").partition(b"/")[0] for path in paths}


def _refuse(context: JobContext, batch: Batch, units: Iterable[Unit], reason: str, outcome: Outcome) -> None:
    outcome.failures += [Failure(context.source_path(batch, u.name), reason, attempted=u.tally) for u in units]


def _calls(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """Yield units in groups whose names fit in a command line."""
    group: list[Unit] = []
    size = 0
    for unit in units:
        size += len(unit.name) + 16
        if group and size > cp.MAX_ARGUMENTS:
            yield group
            group, size = [], len(unit.name) + 16
        group.append(unit)
    if group:
        yield group


def publish_unit(
    context: JobContext,
    batch: Batch,
    unit: Unit,
    staged_as: tuple[int, bytes, int],
    lost: Tally,
    outcome: Outcome,
    elsewhere: list[tuple[Batch, Unit]] | None = None,
) -> None:
    """Rename what is in the stage for unit to its name, and count it. staged_as: (stage, name in it, destination).

    elsewhere: gets what cannot be renamed from a stage in another directory: there may be a mount, or another project
    of a quota, between the two. Raises host.commands.Stopped.
    """
    stage, name, dest = staged_as
    if context.commands.stopped:
        raise Stopped  # another rank may have done it by now, and more
    try:
        if _is_link(unit) and lstat(unit.target, dest) is not None:
            with context.source(batch).handle(batch.source_dir) as source:
                if leads_to_its_place(source, unit.name, (stage, name), dest, unit.target):
                    _refuse(context, batch, [unit], LEADS_TO_ITS_PLACE, outcome)
                    return
        if context.options.content_only:
            keep_metadata(stage, name, dest, unit.target, context.hides_acls(DEST))
        publish(context, (stage, name), dest, unit.target, batch.dest_dir, own=batch.again)
    except OSError as error:
        if error.errno == errno.EXDEV and elsewhere is not None:
            elsewhere.append((batch, unit))
            return
        left = not _is_gone(name, stage)
        if lost and not left:
            return  # cp made nothing of it; that is a failure already
        if not left and passes(error):
            pass  # it was renamed, and only the answer was lost
        elif context.options.mirror and error.errno in FULL and not unit.tally.directories:
            outcome.after_mirror.append(replace(batch, kind=Kind.COPY, units=Units.of([unit]), equal=False, big=None))
            return
        elif error.errno in FULL and unit.tally.directories and not batch.again and is_directory(dest, unit.target):
            outcome.findings.append(_merging(batch, unit))
            return
        else:
            why = IN_THE_WAY if error.errno in FULL else reason_of(error)
            reason = f"cannot be put in place in {printable(context.dest_path(batch.dest_dir))}: {why}"
            _refuse(context, batch, [unit], reason, outcome)
            return
    outcome.copied = outcome.copied.plus(unit.tally.minus(lost))
    if context.options.verify:
        outcome.findings.append(WrittenUnit(batch, unit, bool(lost)))


def _merging(batch: Batch, unit: Unit) -> ScanFindings:
    """Return what has a subtree listed that was missing at the destination, and has been made there by others since.

    It is merged with what is there by now. What is in it was counted as found, and is found again.
    """
    source_dir, dest_dir = join(batch.source_dir, unit.name), join(batch.dest_dir, unit.target)
    units = Units.of([Unit(source_dir, NOTHING, unit.amount, dest_dir)])
    listing = Batch(Kind.LIST, batch.source, b"", b"", units)
    return ScanFindings(scanned=ONE_DIRECTORY.minus(unit.tally), lists=[listing])


def _is_gone(name: bytes, stage: int) -> bool:
    """Return whether an entry of a stage, which no other user may enter, is known not to be there."""
    try:
        return lstat(name, stage) is None
    except OSError:
        return False


def _together(batches: list[Batch], slots: int) -> list[list[Batch]]:
    """Return batches in groups of no more files than a process may well have open, in so many slots."""
    most = kept_open(_MAX_PINNED, 10 * slots)  # each with the directories it is in
    groups: list[list[Batch]] = [[]]
    files = 0
    for batch in batches:
        files += len(batch.units)
        if files > most:
            groups.append([])
            files = len(batch.units)
        groups[-1].append(batch)
    return groups


def _copy_together(context: JobContext, batches: list[Batch], outcome: Outcome) -> bool:
    """Copy few files each of several directories with one cp; return False if they have to be copied on their own.

    Every file is pinned and cp gets its descriptor: in the stage it is called by that number. A process per directory
    would cost more than the files. Whatever goes wrong is left to the slower way, which says what it is.
    """
    if context.options.strict_metadata:
        return False  # that way looks at the attributes of each
    with ExitStack() as stack:
        try:
            dests = [stack.enter_context(made(context, b.dest_dir, b.over)) for b in batches]
            files: dict[int, tuple[int, Unit]] = {}
            for index, batch in enumerate(batches):
                outcome.touched.add((batch.source, batch.source_dir, batch.dest_dir))
                source = stack.enter_context(context.listed(batch))
                close_late(context, batch.source, batch.dest_dir, os.fstat(source), dests[index])
                for unit in batch.units:
                    fd = stack.enter_context(pinned(source, unit.name))
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        return False
                    files[fd] = (index, unit)
            if not _interchangeable(dests, context.options.content_only):
                return False
            stage = stack.enter_context(staged(dests[0], context.run_id, outcome.warn, context.options.content_only))
            command = cp.command(context.options, stage, [path_of(fd) for fd in files], follow=True)
            code, stderr = context.commands.run(command, b"/", (stage, *files))
            if code or stderr:
                return False
            if context.options.itemize:
                found = Outcome()
                for batch in batches:
                    itemize_copies(context, batch, found)
                outcome.items += found.items
        except OSError:
            return False
        mends = not context.job.times.clamps
        elsewhere: list[tuple[Batch, Unit]] = []
        for fd, (index, unit) in files.items():
            if mends:
                set_nearest(context, batches[index], unit, partial(os.fstat, fd), (stage, b"%d" % fd), outcome)
            publish_unit(context, batches[index], unit, (stage, b"%d" % fd, dests[index]), NOTHING, outcome, elsewhere)
    for batch in batches:
        units = [unit for each, unit in elsewhere if each is batch]
        if units:
            _copy_batch(context, batch.with_units(Units.of(units)), outcome, last=True)
    return True


def _interchangeable(directories: list[int], inheriting: bool) -> bool:
    """Return whether a file made in one of the directories can be renamed into all others and is the same there.

    inheriting: it has nothing but what its directory gives it
    """
    if inheriting and len({default_acl(fd) for fd in directories}) > 1:
        return False
    statuses = [os.fstat(fd) for fd in directories]
    return len({(s.st_dev, s.st_gid if s.st_mode & stat.S_ISGID else -1) for s in statuses}) == 1
