"""A copy's directories: making them, and giving them their metadata when all in them is done."""

import os
from contextlib import ExitStack

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import made
from hpcp_mpi.engine.itemize import itemize_replaced
from hpcp_mpi.engine.unstorable_times import note_time
from hpcp_mpi.host import metadata
from hpcp_mpi.host.entries import names_in
from hpcp_mpi.host.stage import stages_among, sweep
from hpcp_mpi.operations.copy.check import write_metadata
from hpcp_mpi.rules.equality import NEW, change_letters, metadata_changes
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import ONE_DIRECTORY
from hpcp_mpi.vocab.units import Batch, Unit

ALIVE = "staging directory of another run that may be alive; kept"


def settle(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Give directories the metadata of their sources: nothing in them changes any more.

    A unit with a tally is a directory that this run made.
    """
    for unit in batch.units:
        path = context.source_path(batch, unit.name)
        try:
            _settle(context, batch, unit, outcome)
        except OSError as error:
            if context.job.resumed and not os.path.lexists(path):
                outcome.warn(path, VANISHED)
                continue
            reason = f"cannot give its copy the directory's metadata: {reason_of(error)}"
            outcome.failures.append(Failure(path, reason))


def _settle(context: JobContext, batch: Batch, unit: Unit, outcome: Outcome) -> None:
    options = context.options
    with ExitStack() as stack:
        source = stack.enter_context(context.source(batch).handle(unit.name))
        wanted = os.fstat(source)
        changes = NEW
        if not options.dry_run:
            if options.directory_sync:
                dest = stack.enter_context(context.dest.made(unit.target))
                if context.job.resumed:
                    sweep_stages(context, stack.enter_context(context.dest.at(unit.target)), unit.target, outcome)
                changes = _settle_one(context, batch, source, dest, wanted)
                note_time(context, batch, unit, wanted, changes, outcome)
        elif not unit.tally:
            dest = stack.enter_context(context.dest.at(unit.target))
            changes = _directory_changes(context, batch, source, dest, wanted)[0]
        elif options.compare:
            itemize_replaced(context, unit.target, wanted.st_mode, outcome)
        if batch.restore:
            return  # only what the run itself did to it was undone
        if unit.tally:
            outcome.copied = outcome.copied.plus(unit.tally)
        elif changes and changes != NEW:
            outcome.updated = outcome.updated.plus(ONE_DIRECTORY)
        if options.itemize and changes:
            update, letters = ("c", NEW) if unit.tally else (".", changes)
            line = change_letters(update, wanted.st_mode, letters)
            outcome.items.append((line, (unit.target or b".") + b"/", b""))


def sweep_stages(context: JobContext, dest: int, path: bytes, outcome: Outcome) -> None:
    """Remove what killed runs left in a directory. Raises OSError."""
    for name in stages_among(dest, names_in(dest)):
        if not context.in_use(name) and not sweep(dest, name):
            outcome.warn(context.dest_path(join(path, name)), ALIVE)


def _directory_changes(
    context: JobContext, batch: Batch, source: int, dest: int, wanted: os.stat_result
) -> tuple[str, os.stat_result, tuple[metadata.Xattrs, metadata.Xattrs]]:
    found = os.fstat(dest)
    xattrs = context.xattrs_of((source, b"."), (dest, b"."), batch.source)
    letters = metadata.xattr_letters(*xattrs)
    return metadata_changes(wanted, found, context.job.times, context.rights, letters), found, xattrs


def _settle_one(context: JobContext, batch: Batch, source: int, dest: int, wanted: os.stat_result) -> str:
    """Write a directory's metadata; return in what it seemed to differ.

    Written also where nothing seems to differ, if this run wrote in it: maybe by another node, and for a while this one
    may still be shown the times from before.
    """
    changes, found, xattrs = _directory_changes(context, batch, source, dest, wanted)
    if changes or batch.again:
        write_metadata(context, wanted, (dest, b"."), found, xattrs)
    return changes


def make(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Make directories that nothing is copied to."""
    if context.options.dry_run:
        return
    for unit in batch.units:
        try:
            with made(context, unit.target, batch.over):
                pass
        except OSError as error:
            path = context.source_path(batch, unit.name)
            outcome.failures.append(Failure(path, f"its copy cannot be made: {reason_of(error)}"))


def sweep_left_behind(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Remove stages that killed runs left."""
    if context.options.dry_run:
        return
    for unit in batch.units:
        path = context.dest_path(join(batch.dest_dir, unit.name))
        try:
            with context.dest.at(batch.dest_dir) as dest:
                outcome.touched.add((batch.source, batch.source_dir, batch.dest_dir))
                if not sweep(dest, unit.name, lost=context.own(unit.name)):
                    outcome.warn(path, ALIVE)
        except OSError as error:
            outcome.warn(path, f"staging directory of a killed run, cannot be removed: {reason_of(error)}")
