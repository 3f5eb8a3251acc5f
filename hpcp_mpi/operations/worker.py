"""Any job, on a worker. What only rank 0 needs is not imported here: a thousand workers import this."""

import time
from collections.abc import Sequence

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.broken_work import persistently, surviving
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.itemize import take_replaced
from hpcp_mpi.host.commands import Commands, Stopped
from hpcp_mpi.host.machine import allow_open_files, cpus, slots
from hpcp_mpi.operations.copy.big_files.rules import divided
from hpcp_mpi.operations.copy.big_files.worker import abandon
from hpcp_mpi.operations.dispatch import ONE_BY_ONE, REPEATED, TOGETHER, undone
from hpcp_mpi.operations.verify.records import gathered
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.units import Batch, Kind


class JobWorker:
    """The JobRunner of any operation: it does bites of work."""

    def __init__(self, job: Job, wire: Wire) -> None:
        allow_open_files()
        self._commands = Commands(job.options.command_timeout)
        self._context = JobContext(job, self._commands, wire.rank)
        self._context.workers = max(1, wire.size - 1)
        self._context.pin_roots(wire.rank, wire.node)
        if job.stored:
            _store(self._context, wire)
        part, parts = wire.part
        wanted = slots(job.options.slots, cpus(), wire.mates)
        self.slots = 1 if job.options.single else max(1, (wanted + parts - 1 - part) // parts)
        self._context.slots = self.slots
        self.bite_weight = job.options.bite_weight
        self.file_cost = job.options.file_cost

    def work(self, batches: list[Batch]) -> Outcome | None:
        try:
            return work(self._context, batches)
        except Stopped:
            return None

    def moved(self) -> int:
        return self._commands.moved.total

    def counted(self) -> None:
        self._commands.moved.end()

    def release(self) -> None:
        self._context.release()

    def stop(self) -> None:
        self._commands.stop()

    def drain(self) -> None:
        self._context.ending.set()

    def set_deadline(self, moment: float) -> None:
        self._commands.expires = moment

    def close(self) -> None:
        """Leave nothing behind, but for what a run that resumes this one will use."""
        if not (self._context.ending.is_set() and self._context.options.sync_ranges):
            abandon(self._context, Outcome())
        self._context.stages.close()


def work(context: JobContext, batches: list[Batch]) -> Outcome:
    """Do batches of one kind; return their outcome. Raises host.commands.Stopped when the run is ending."""
    outcome = Outcome()
    began = time.monotonic()
    kind = batches[0].kind
    context.commands.moved.begin(sum(batch.amount for batch in batches))
    context.looks.begin((kind, batches[0].again))
    if kind in REPEATED:
        persistently(context, batches, outcome, lambda some, mine, last: _do(context, some, mine))
    else:
        _do(context, batches, outcome)
    found = [each for batch in outcome.new_work for each in divided(batch, context.options.split_size)]
    outcome.new_work = [batch for batch in found if batch.kind is not Kind.START_FILE]
    outcome.findings += [batch for batch in found if batch.kind is Kind.START_FILE]  # rank 0 has few begun at a time
    if context.options.verify:
        outcome.findings = gathered(outcome.findings, context.rank)
    outcome.made += context.made_here()
    context.made_here().clear()
    take_replaced(context, outcome)
    if context.excluded is not None:
        outcome.excluding = context.excluded.matched
    outcome.seconds = time.monotonic() - began
    return outcome


def _do(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
    """Do batches of one kind, whatever becomes of them."""
    kind = batches[0].kind
    if kind in TOGETHER:
        TOGETHER[kind](context, batches, outcome)
        return
    for batch in batches:
        surviving(context, batch, outcome, ONE_BY_ONE[kind], undone)


def _store(context: JobContext, wire: Wire) -> None:
    """Have all be stored that this node wrote to the destination. Raises FatalError."""
    from hpcp_mpi.host.uncached_read import write_out

    problem = ""
    try:
        with context.dest.at(b"") as dest:
            stored = write_out(dest)
    except OSError as error:
        stored, problem = False, f": {reason_of(error)}"
    context.release()
    if not stored:
        where = printable(context.job.destination)
        raise FatalError(
            f"rank {wire.rank} on {wire.node}: what was copied to {where} could not be stored{problem}",
            "Nothing was removed from the sources. Look for errors of that file system in the system log.",
        )
