"""Giving what was copied its name: renames out of a stage."""

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import repeat

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import FULL, IN_THE_WAY, publish
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.entries import is_directory, lstat
from hpcp_mpi.host.retrying import passes
from hpcp_mpi.operations.copy.content_only import keep_metadata
from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.operations.verify.records import WrittenUnit
from hpcp_mpi.vocab.errors import Failure, reason_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join, printable
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, Tally, total_of
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Unit, Units

LEADS_TO_ITS_PLACE = (
    "a symlink to what it would replace in the destination, or through that: it would lead to itself; not copied. "
    "Remove the link, or exclude it"
)
_LINK = ONE_LINK[:4]  # whatever it has of bytes
Misplaced = list[tuple[Batch, Unit]]  # what cannot be renamed from a stage in another directory


def is_link(tally: Tally) -> bool:
    """Return whether a unit that holds this is a symlink."""
    return tally[:4] == _LINK


def leads_to_its_place(source: int, name: bytes, link: tuple[int, bytes], dest: int, target: bytes) -> bool:
    """Return whether a symlink would replace what it leads to. Arguments are as for host.link_path.

    What replaces nothing, as nearly all links, costs one lstat. Raises OSError.
    """
    if lstat(target, dest) is None:
        return False
    from hpcp_mpi.host.link_path import replaces_its_target  # few links replace anything

    return replaces_its_target(source, name, link, dest, target)


def publish_units(
    context: JobContext,
    batch: Batch,
    units: Units,
    names: Sequence[bytes],
    dirs: tuple[int, int],
    outcome: Outcome,
    elsewhere: Misplaced | None = None,
) -> None:
    """Rename the whole copies of units to their names, and count them. Raises host.commands.Stopped.

    Nearly all need no more than a rename, of which there may be hundreds of millions. The others, and what cannot be
    renamed, are left to `publish_unit`, one by one.
    names: what they are called in the stage. dirs: (stage, destination)
    """
    if context.options.content_only or (context.job.backup is not None and not batch.again):
        left = list(range(len(names)))
    else:
        left = _renamed(context, units, names, *dirs)
    late = set(left)
    rest = [pair for index, pair in enumerate(zip(names, units, strict=True)) if index in late] if late else []
    if len(rest) < len(names):
        outcome.copied = outcome.copied.plus(units.tally).minus(total_of(unit.tally for _, unit in rest))
        if context.options.verify:
            outcome.findings += (WrittenUnit(batch, unit) for index, unit in enumerate(units) if index not in late)
    for name, unit in rest:
        publish_unit(context, batch, unit, (dirs[0], name, dirs[1]), NOTHING, outcome, elsewhere)


def _renamed(context: JobContext, units: Units, names: Sequence[bytes], stage: int, dest: int) -> list[int]:
    """Rename what needs nothing else; return the numbers of the other units. Raises host.commands.Stopped."""
    left: list[int] = []
    commands, rename = context.commands, os.rename
    links = repeat(False) if units.more is None else [is_link(tally) for tally, _ in units.more]
    for index, (name, target, link) in enumerate(zip(names, units.targets, links, strict=False)):
        if commands.stopped:
            raise Stopped  # another rank may have done it by now, and more
        try:
            if link and lstat(target, dest) is not None:
                left.append(index)
            else:
                rename(name, target, src_dir_fd=stage, dst_dir_fd=dest)
        except OSError as error:
            if not (passes(error) and _is_gone(name, stage)):  # else only the answer was lost
                left.append(index)
    return left


def publish_unit(
    context: JobContext,
    batch: Batch,
    unit: Unit,
    staged_as: tuple[int, bytes, int],
    lost: Tally,
    outcome: Outcome,
    elsewhere: Misplaced | None = None,
) -> None:
    """Rename what is in the stage for unit to its name, and count it. staged_as: (stage, name in it, destination).

    elsewhere: gets what cannot be renamed from a stage in another directory: there may be a mount, or another project
    of a quota, between the two. Raises host.commands.Stopped.
    """
    stage, name, dest = staged_as
    if context.commands.stopped:
        raise Stopped  # another rank may have done it by now, and more
    try:
        if is_link(unit.tally) and lstat(unit.target, dest) is not None:
            with context.source(batch).handle(batch.source_dir) as source:
                if leads_to_its_place(source, unit.name, (stage, name), dest, unit.target):
                    refuse(context, batch, [unit], LEADS_TO_ITS_PLACE, outcome)
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
            refuse(context, batch, [unit], reason, outcome)
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


def refuse(context: JobContext, batch: Batch, units: Iterable[Unit], reason: str, outcome: Outcome) -> None:
    """Record that units have failed, all for one reason."""
    outcome.failures += [Failure(context.source_path(batch, u.name), reason, attempted=u.tally) for u in units]
