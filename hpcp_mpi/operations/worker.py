"""A worker's side of a copy. What only rank 0 needs is not imported here: a thousand workers import this."""

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.context import Workplace
from hpcp_mpi.host.commands import Commands, Stopped
from hpcp_mpi.host.machine import allow_open_files, cpus, slots
from hpcp_mpi.operations.copy.big_files.worker import abandon
from hpcp_mpi.operations.working import work
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.job import CopyJob
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import shown
from hpcp_mpi.vocab.units import Batch


class CopyWorkshop:
    """A worker's: does bites of a copy."""

    def __init__(self, job: CopyJob, wire: Wire) -> None:
        allow_open_files()
        self._commands = Commands(job.options.command_timeout)
        self._place = Workplace(job, self._commands, wire.rank)
        self._place.pin_roots(wire.rank, wire.node)
        if job.stored:
            _store(self._place, wire)
        self.slots = 1 if job.options.single else slots(job.options.slots, cpus(), wire.mates)
        self.bite_weight = job.options.bite_weight
        self.file_cost = job.options.file_cost

    def work(self, batches: list[Batch]) -> Outcome | None:
        try:
            return work(self._place, batches)
        except Stopped:
            return None

    def release(self) -> None:
        self._place.release()

    def stop(self) -> None:
        self._commands.stop()

    def wind_up(self) -> None:
        self._place.ending.set()

    def expire(self, moment: float) -> None:
        self._commands.expires = moment

    def close(self) -> None:
        """Leave nothing behind, but for what a run that goes on with this one will use."""
        if not (self._place.ending.is_set() and self._place.options.durable):
            abandon(self._place, Outcome())
        self._place.stages.close()


def _store(place: Workplace, wire: Wire) -> None:
    """Have all be stored that this node wrote to the destination. Raises FatalError."""
    from hpcp_mpi.host.uncached_read import write_out

    problem = ""
    try:
        with place.dest.at(b"") as dest:
            stored = write_out(dest)
    except OSError as error:
        stored, problem = False, f": {reason_of(error)}"
    place.release()
    if not stored:
        where = shown(place.job.destination)
        raise FatalError(
            f"rank {wire.rank} on {wire.node}: what was copied to {where} could not be stored{problem}",
            "Nothing was removed from the sources. Look for errors of that file system in the system log.",
        )
