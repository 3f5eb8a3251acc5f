"""START_FILE: each big file gets a stage that outlives this, with an empty copy of the full size in it.

It is found out where the file has data, as that is what ranges divide. One with so little of it that no other rank
would get a part is left to `cp`, which skips holes at its own speed. So is what cannot be begun: `cp` copies whatever
is there now, or says what is wrong in its own words.
"""

import os
from contextlib import ExitStack
from dataclasses import replace

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import close_late, made
from hpcp_mpi.host.data_map import extents_of
from hpcp_mpi.host.range_copy import identity, opened, share_blocks
from hpcp_mpi.operations.copy.big_files.rules import ALIGNMENT, FileStarted, NearlyEmpty
from hpcp_mpi.operations.copy.big_files.worker import finish_begun
from hpcp_mpi.operations.copy.content_only import new_mode
from hpcp_mpi.operations.copy.worker import copy
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units

_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def begin(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Begin the files of a START_FILE batch; those whose blocks can be shared are finished at once."""
    options = context.options
    if options.dry_run:
        copy(context, [replace(batch, kind=Kind.COPY)], outcome)
        return
    left: list[Unit] = []
    with ExitStack() as stack:
        try:
            source = stack.enter_context(context.listed(batch))
            dest = stack.enter_context(made(context, batch.dest_dir, batch.over))
            close_late(context, batch.source, batch.dest_dir, os.fstat(source), dest)
        except OSError:
            left = list(batch.units)
        else:
            outcome.touched.add((batch.source, batch.source_dir, batch.dest_dir))
            for unit in batch.units:
                by_cp = _begin(context, batch, unit, source, dest, outcome)
                if by_cp is not None:
                    left.append(by_cp)
    if not left:
        return
    rest = replace(batch, kind=Kind.COPY, units=Units.of(left))
    holes = sum(unit.tally.bytes - unit.amount for unit in left if unit.amount)
    if holes:
        outcome.findings.append(NearlyEmpty(holes))
    if rest.amount > options.bite_weight or (rest.amount and (options.rate_bytes or options.rate_files)):
        outcome.new_work.append(rest)  # others should help, or rank 0 says when
    else:
        copy(context, [rest], outcome)


def _begin(context: JobContext, batch: Batch, unit: Unit, source: int, dest: int, outcome: Outcome) -> Unit | None:
    """Make the stage of a file and an empty copy in it; return the unit for `cp` where that cannot be, or is too much.

    That unit has the amount of data of a file that is full of holes.
    """
    options = context.options
    with ExitStack() as stack:
        try:
            file, status = stack.enter_context(opened(source, unit.name))
            data = None if options.sparse == "never" else extents_of(file, status, ALIGNMENT)
            amount = -1 if data is None else sum(extent[2] for extent in data)
            if 0 <= amount < options.split_size:
                return unit._replace(amount=max(1, amount))
            name, stage = context.stages.make(dest, batch.dest_dir)
        except OSError:
            return unit
        removal = stack.enter_context(ExitStack())
        removal.callback(context.stages.remove, dest, name, stage, outcome.warn)
        seen = identity(status)
        big = BigFile(unit.name, unit.target, status.st_size, name, seen, status.st_atime_ns, data=amount)
        try:
            mode = new_mode(status) if options.content_only else 0o600
            copied = os.open(name, _NEW, mode, dir_fd=stage)
            try:
                shared = share_blocks(file, copied, options)
                if not shared:
                    os.ftruncate(copied, status.st_size)
                block = os.fstat(copied).st_blksize
            finally:
                os.close(copied)
        except OSError:
            return unit
        alone = replace(batch, units=Units.of([unit]), big=big)
        if shared:
            finish_begun(context, alone, big, unit, (source, stage, dest), outcome)
        else:
            outcome.findings.append(FileStarted(alone, block, None if data is None else tuple(data)))
            removal.pop_all()
            os.close(stage)
    return None
