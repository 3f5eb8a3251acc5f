"""Copying units: `cp` into a stage, then renames into place."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from itertools import islice

from hpcp_mpi.engine.broken_work import persistently, surviving
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import close_late, made
from hpcp_mpi.engine.itemize import itemize_copies
from hpcp_mpi.engine.unstorable_times import set_nearest
from hpcp_mpi.host import cp
from hpcp_mpi.host.dirfd import path_of, pinned
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.machine import kept_open
from hpcp_mpi.host.retrying import names_passing
from hpcp_mpi.host.stage import staged
from hpcp_mpi.operations.copy.check import check_all
from hpcp_mpi.operations.copy.content_only import default_acl
from hpcp_mpi.operations.copy.cp_failures import CpDamage, CpFailures
from hpcp_mpi.operations.copy.publishing import (
    LEADS_TO_ITS_PLACE,
    is_link,
    leads_to_its_place,
    publish_unit,
    publish_units,
    refuse,
)
from hpcp_mpi.vocab.errors import failure_of, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.tally import NOTHING
from hpcp_mpi.vocab.units import Batch, Unit, Units

_MAX_PINNED = 200  # files that one cp is given as descriptors
_NONE = Units([], [])
FEW = 16  # files in a directory for which a cp of their own costs more than pinning each


def copy(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Copy the units of COPY batches. What fails is a Failure in outcome."""
    if context.options.dry_run:
        for batch in batches:
            _pretend(context, batch, outcome)
        return
    persistently(context, united(batches), outcome, partial(_copy, context))


def united(batches: Sequence[Batch]) -> Sequence[Batch]:
    """Return batches, those of them as one that differ in nothing but their units: a bite may end one of two."""
    if len(batches) < 2:
        return batches
    alike: dict[Batch, list[Units]] = {}
    for batch in batches:
        alike.setdefault(batch.with_units(_NONE), []).append(batch.units)
    return [batch.with_units(Units.joined(some)) for batch, some in alike.items()]


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
        outcome.failures.append(failure_of(context.source_path(batch), error, "", batch.units.tally))
        return
    for unit in batch.units:
        if is_link(unit.tally) and not context.options.compare:
            with suppress(OSError), context.source(batch).at(batch.source_dir) as source:
                with context.dest.at(batch.dest_dir) as dest:
                    if leads_to_its_place(source, unit.name, (source, unit.name), dest, unit.target):
                        refuse(context, batch, [unit], LEADS_TO_ITS_PLACE, outcome)
                        continue
        outcome.copied = outcome.copied.plus(unit.tally)


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
            refuse(context, batch, batch.units, f"cannot write to {to}: {reason_of(error)}", outcome)
            return
        mends = not context.job.times.clamps
        other = _Lazily(lambda: staged(dest, context.run_id, outcome.warn, context.options.content_only), stack)
        for units in _calls(batch.units):
            try:
                damage, apart = _into_stage(context, batch, units, source, stage, other)
            except OSError as error:
                refuse(context, batch, units, f"cannot be copied to {to}: {reason_of(error)}", outcome)
                continue
            outcome.failures += damage.failures
            if damage.said or damage.refused or context.options.strict_metadata:
                note_losses(context, batch, _placed(units, stage, apart), damage, outcome)
            if not (mends or apart or damage.lost or damage.unknown or damage.failures):
                publish_units(context, batch, units, units.names, (stage, dest), outcome)
                continue
            placed = _placed(units, stage, apart)
            staying = damage.unknown if last else damage.unknown | _passing(context, batch, damage)
            for unit in units:
                if unit.name in staying:
                    continue
                if mends:
                    look = partial(lstat, unit.name, source)
                    set_nearest(context, batch, unit, look, placed[unit.name], outcome)
                lost = damage.lost.get(unit.name, NOTHING)
                publish_unit(context, batch, unit, (*placed[unit.name], dest), lost, outcome)


def _placed(units: Units, stage: int, apart: dict[bytes, tuple[int, bytes]]) -> dict[bytes, tuple[int, bytes]]:
    """Return where copies are (stage, name in it), by the name of their unit. apart: those that are not in stage"""
    return {name: (stage, name) for name in units.names} | apart


def _into_stage(
    context: JobContext, batch: Batch, units: Units, source: int, stage: int, other: Callable[[], int]
) -> tuple[CpDamage, dict[bytes, tuple[int, bytes]]]:
    """Copy units into a stage; return what is not good, and which are elsewhere: (stage, name in it) of each.

    other: returns another stage. Raises OSError, host.commands.Stopped.
    """
    if units.more is not None and any(is_link(tally) for tally, _ in units.more):
        from hpcp_mpi.operations.copy.symlinks import make_links  # not every rank gets any

        left = make_links(context, batch, units, source, stage)
        if not left:
            return CpDamage(), {}
        if len(left) < len(units):
            names = set(left)
            units = Units.of(unit for unit in units if unit.name in names)
    if not batch.ours:
        from hpcp_mpi.operations.copy.guarded_cp import copy_into  # not needed in root's own trees

        return copy_into(context, batch, units, source, stage, other)
    command = cp.command(context.options, stage, units.names)
    code, stderr = context.commands.run(command, path_of(source), (stage,))
    damage = CpFailures(context, batch, stage, code, stderr).take(units.names) if code else CpDamage()
    damage.said += stderr
    return damage, {}


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


def _calls(units: Units) -> Iterator[Units]:
    """Yield units in groups whose names fit in a command line."""
    names = units.names
    if sum(map(len, names)) + 16 * len(names) <= cp.MAX_ARGUMENTS:
        yield units
        return
    begin = size = 0
    for end, name in enumerate(names):
        size += len(name) + 16
        if size > cp.MAX_ARGUMENTS and end > begin:
            yield units[begin:end]
            begin, size = end, len(name) + 16
    yield units[begin:]


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
        if not context.job.times.clamps:
            for fd, (index, unit) in files.items():
                set_nearest(context, batches[index], unit, partial(os.fstat, fd), (stage, b"%d" % fd), outcome)
        elsewhere: list[tuple[Batch, Unit]] = []
        names = iter([b"%d" % fd for fd in files])
        for batch, dest in zip(batches, dests, strict=True):
            mine = list(islice(names, len(batch.units)))
            publish_units(context, batch, batch.units, mine, (stage, dest), outcome, elsewhere)
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
