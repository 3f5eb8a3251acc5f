"""MPI: the only importer of mpi4py.

A blocking receive spins and burns the core that `cp` needs (an idle rank in recv takes 33-46 % of one), so everything
polls, with sleeps between. Only the rank's main thread calls MPI.
"""

import os
import sys
import threading
import time

import mpi4py

# Set before the next import. initialise() starts MPI, in a way that survives a launcher of the wrong flavour.
mpi4py.rc.initialize = False
mpi4py.rc.finalize = True
mpi4py.rc.recv_mprobe = False

from mpi4py import MPI  # noqa: E402

from hpcp_mpi.stealing.messages import Message  # noqa: E402

_TAG = 7
_CLOSING = 60.0  # seconds
_SENDING = 0.0001  # seconds between polls while something is on its way out


def initialise(pmix: bool) -> None:
    """Start MPI, unless somebody has. pmix: the launcher speaks PMIx. Raises RuntimeError if the library does not.

    MPICH without PMIx ends the process when it is started under it; a session's error handler has it say so instead.
    """
    if MPI.Is_initialized():
        return
    session = None
    if pmix and MPI.get_vendor()[0] != "Open MPI":
        try:
            session = MPI.Session.Init(MPI.INFO_NULL, MPI.ERRORS_RETURN)
        except MPI.Exception as error:
            words = str(error).strip().splitlines()[-1].strip()
            raise RuntimeError(f"{MPI.get_vendor()[0]} cannot be used with this launcher ({words})") from None
        except (AttributeError, NotImplementedError):
            pass  # too old for sessions
    MPI.Init_thread(MPI.THREAD_FUNNELED)
    if session is not None:
        session.Finalize()


class MpiWire:
    """This process as a rank of the world."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()  # a world of our own, also inside somebody's MPI program
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.node = os.uname().nodename
        self.mates = self._count_mates() if self.size > 1 else 1
        self._sending: list[MPI.Request] = []
        self._woken = threading.Event()
        self._status = MPI.Status()

    def _count_mates(self) -> int:
        """Count the ranks of this node that are bound to the same CPUs as this one."""
        node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        try:
            mine = frozenset(os.sched_getaffinity(0))
            return sum(other == mine for other in node.allgather(mine))
        finally:
            node.Free()

    def send(self, rank: int, message: Message) -> None:
        self._sending = [request for request in self._sending if not request.Test()]
        self._sending.append(self._comm.isend(message, dest=rank, tag=_TAG))

    def receive(self) -> tuple[int, Message] | None:
        if not self._comm.Iprobe(MPI.ANY_SOURCE, _TAG, self._status):
            return None
        source = self._status.Get_source()
        message: Message = self._comm.recv(source=source, tag=_TAG)
        return source, message

    def wait(self, seconds: float) -> None:
        # A big message moves only while both ends poll, a block at a time: where nobody may read another process's
        # memory (in containers), and between nodes.
        if self._sending and not all(request.Test() for request in self._sending):
            seconds = min(seconds, _SENDING)
        self._woken.wait(seconds)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def abort(self, code: int) -> None:
        MPI.COMM_WORLD.Abort(code)

    def close(self) -> None:
        """Finish sending and leave together. Polls: a blocking barrier would spin while others still copy.

        A rank that never comes is lost, and the job is ended by force.
        """
        barrier = self._comm.Ibarrier()
        deadline = time.monotonic() + _CLOSING
        # Both, not one after the other: a rank's last messages may arrive when all have come to the barrier.
        while self._drain() or not (barrier.Test() and all(request.Test() for request in self._sending)):
            if time.monotonic() > deadline:
                print(f"hpcp-mpi: rank {self.rank} on {self.node}: other ranks do not end", file=sys.stderr)
                self.abort(1)
            self._woken.wait(0.002)
        while self._drain():
            pass
        self._comm.Free()

    def _drain(self) -> bool:
        """Drop a message that nobody reads any more, as after an early stop; tell whether there was one."""
        return self.receive() is not None


def library_version() -> str:
    """Return the name and version of the MPI library."""
    return MPI.Get_library_version().strip().splitlines()[0].strip("\x00 ")
