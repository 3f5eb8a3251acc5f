"""A session: one run on all ranks, those of MPI when a launcher started this process, else two threads.

Rank 0 leads, the others follow until it lets them go; it always does, also when it fails. A rank that breaks down shows
its traceback and reports to rank 0; without an answer it ends the job by force.
"""

import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcp_mpi.cluster import launcher
from hpcp_mpi.cluster.heartbeat import HeartbeatSender
from hpcp_mpi.cluster.signals import StopRequest, noted
from hpcp_mpi.cluster.threads import ThreadWire, thread_cluster
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.cluster.worker_loop import CutOff, follow
from hpcp_mpi.host.dirfd import keep_directory
from hpcp_mpi.host.machine import cpus
from hpcp_mpi.host.roots import Pin
from hpcp_mpi.operations.worker import JobWorker
from hpcp_mpi.scheduling.messages import Shutdown, WorkerFailed
from hpcp_mpi.vocab.errors import EXIT_FATAL, EXIT_RESUMABLE, FatalError
from hpcp_mpi.vocab.request import Request

if TYPE_CHECKING:
    from hpcp_mpi.cluster.joining import Meeting
    from hpcp_mpi.vocab.report import Report

_LEAVING = 10.0  # seconds that others have to end well after one broke down


class Abandoned(FatalError):
    """Rank 0 is gone, or took this rank for lost. The same command resumes the run."""

    exit_code = EXIT_RESUMABLE


@dataclass(frozen=True, slots=True)
class Raised:
    """What rank 0's program raised, for the other ranks: as it is if it can be sent, else in words."""

    pickled: bytes
    words: str

    @classmethod
    def of(cls, error: BaseException) -> "Raised":
        words = f"{type(error).__name__}: {error}"
        try:
            pickled = pickle.dumps(error)
            pickle.loads(pickled)
        except Exception:  # whatever its class does
            pickled = b""
        return cls(pickled, words)

    def again(self) -> BaseException:
        """Return what is to be raised."""
        try:
            error = pickle.loads(self.pickled)
        except Exception:  # another rank may not have its class
            error = None
        return error if isinstance(error, BaseException) else FatalError(f"rank 0 raised {self.words}")


def connect(environment: Mapping[str, str], meeting: "Meeting | None" = None) -> Wire | None:
    """Return this process's end of the job's MPI world; None where it is alone. Raises FatalError.

    MPI is not even loaded when no launcher is there: that costs a second with some libraries.
    meeting: for a call that a program may have made on some ranks only; KeyboardInterrupt is raised if that ends it
    """
    if not launcher.launched(environment):
        return None
    try:
        from hpcp_mpi.cluster.mpi import MpiWire, initialise, join

        initialise(launcher.speaks_pmix(environment))
    except (ImportError, RuntimeError) as error:
        refusal = launcher.no_mpi(environment, error)
        if refusal is not None:
            raise refusal from None
        return None
    if meeting is not None:
        join(meeting)
    wire = MpiWire()
    launcher.refuse_lonely_tasks(environment, wire.size)
    return wire if wire.size > 1 else None


@dataclass(slots=True)
class Ranks:
    """All ranks, as rank 0 leads them."""

    wire: Wire
    result: Any = None  # what the others get when they are let go


@contextmanager
def lead(wire: Wire | None, stop: StopRequest, forks: bool = False) -> Iterator[Ranks]:
    """Lead all ranks, as rank 0. The others are let go at the end of the block. Without a wire, threads are the ranks.

    forks: this process is the command's own, so that workers of a run that lasts may be forked

    What ends the block is what the others get: a FatalError as it is, anything else as Raised.
    """
    keep_directory()
    with ExitStack() as stack:
        if wire is not None:
            own = wire
            stack.callback(own.close)
        else:
            own, other = _threads(forks)
            stack.callback(own.close)
            worker = threading.Thread(target=serve, args=(other, StopRequest()), name="worker")
            worker.start()
            stack.callback(worker.join)
        ranks = Ranks(own)
        stop.notify(own.wake)
        heart = HeartbeatSender(own, lambda: [rank for rank in range(1, own.size) if rank not in own.lost | own.quiet])
        try:
            yield ranks
        except BaseException as error:
            ranks.result = error if isinstance(error, FatalError) else Raised.of(error)
            raise
        finally:
            heart.end()
            for rank in range(1, own.size):
                # After a run that was completed nothing is left to stop.
                own.send(rank, Shutdown(ranks.result, stop=True, alone=bool(own.lost)))


def _threads(forks: bool) -> list[ThreadWire]:
    """Return the wires of a rank 0 and a worker that are threads."""
    if not forks or "mpi4py.MPI" in sys.modules:  # MPI libraries do not survive a fork
        return thread_cluster(2)
    from hpcp_mpi.cluster.processes import growing_cluster

    return growing_cluster(_work, cpus, Pin)


def _work(wire: Wire) -> None:
    """Be a worker of a process of its own."""
    stop = StopRequest()
    with noted(stop):
        serve(wire, stop)
        wire.close()


@contextmanager
def team_of_threads(stop: StopRequest) -> Iterator[Wire]:
    """Lead a team of this process's own beside the run's: a worker that sees what this thread sees, as its mounts."""
    with lead(None, stop) as ranks:
        yield ranks.wire


def serve(wire: Wire, stop: StopRequest) -> Any:
    """Be a worker until rank 0 lets go; return what it sends then: a Report, a FatalError, or None."""
    stop.notify(wire.wake)
    try:
        return follow(wire, JobWorker, stop)
    except CutOff as cut:
        wire.lose(0)
        return Abandoned(f"rank {wire.rank} on {wire.node} exits: {cut}")
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        what = f"{type(error).__name__}: {error}"
        wire.send(0, WorkerFailed(f"rank {wire.rank} on {wire.node} broke down: {what}", EXIT_FATAL))
        _await_leave(wire)
        return FatalError(what)


def _await_leave(wire: Wire) -> None:
    """Wait for rank 0 to let go; end the job by force if it does not."""
    deadline = time.monotonic() + _LEAVING
    while time.monotonic() < deadline:
        received = wire.receive()
        if received is not None and isinstance(received[1], Shutdown):
            return
        if received is None:
            wire.wait(0.01)
    wire.abort(EXIT_FATAL)


def on_all_ranks(wire: Wire | None, stop: StopRequest, do: Callable[[Wire], "Report"]) -> "Report":
    """Do something with all ranks, as rank 0, or follow as another one; the report, on every rank.

    What rank 0 raises is raised on every rank.
    """
    if wire is None or wire.rank == 0:
        with lead(wire, stop) as ranks:
            ranks.result = report = do(ranks.wire)
        return report
    try:
        result = serve(wire, stop)
    finally:
        wire.close()
    from hpcp_mpi.vocab.report import Report

    if isinstance(result, Report):
        return result
    if isinstance(result, Raised):
        raise result.again()
    raise result if isinstance(result, FatalError) else FatalError("rank 0 broke down")


def run(request: Request, environment: Mapping[str, str]) -> "Report":
    """Do what is asked, with nobody watching; the report, on every rank. Raises FatalError, on every rank."""
    from hpcp_mpi.engine.frontend import Frontend, answer_no
    from hpcp_mpi.operations.dispatch import lead_operation

    stop = StopRequest()
    frontend = Frontend(
        stop,
        confirm=(lambda question: True) if request.force else answer_no,
        certain=request.force,
        team=partial(team_of_threads, stop),
    )
    return on_all_ranks(connect(environment), stop, lambda wire: lead_operation(wire, request, frontend))
