"""The transport over MPI, on every rank; the only importer of mpi4py.

A blocking receive spins and burns the core that `cp` needs (an idle rank in recv takes 33-46 % of one), so everything
polls, with sleeps between. One thread at a time calls MPI: the rank's main thread, or the one that sends heartbeats.

Errors are returned, not fatal: a lost rank must not take the others with it.
"""

import os
import threading
import time
from typing import cast

import mpi4py

# Set before the next import. initialise() starts MPI, in a way that survives a launcher of the wrong flavour.
mpi4py.rc.initialize = False
mpi4py.rc.finalize = True
mpi4py.rc.recv_mprobe = False

from mpi4py import MPI  # noqa: E402

from hpcp_mpi.cluster.heartbeat import DEFAULT  # noqa: E402
from hpcp_mpi.cluster.joining import Meeting, meet  # noqa: E402
from hpcp_mpi.cluster.launcher import on_one_node  # noqa: E402
from hpcp_mpi.cluster.transport import Waker, complain  # noqa: E402
from hpcp_mpi.scheduling.messages import Message  # noqa: E402
from hpcp_mpi.vocab.errors import FatalError  # noqa: E402

_TAG = 7
_GONE = (getattr(MPI, "ERR_PROC_FAILED", None),)  # the error for a lost rank, in libraries that report it
_CLOSING = 60.0  # seconds to wait for all ranks at the end
_LEAVING = 12.0  # the same with heartbeats, on top of their timeout: a rank has 10 to end its slots
_FLUSHING = 0.5  # seconds more, when all is sent
_FAREWELL = 3.0  # seconds for the last messages when some ranks are lost
_SENDING = 0.0001  # seconds between polls while a message is under way


def initialise(pmix: bool) -> None:
    """Start MPI, unless it runs already. pmix: the launcher speaks PMIx. Raises RuntimeError if the library does not.

    MPICH without PMIx ends the process when it is started under it; with a session's handler it returns an error.
    """
    if MPI.Is_initialized():
        return
    if "ucx ofi" in MPI.Get_library_version() and on_one_node(os.environ):
        # MPICH with both: ranks of one node talk through memory, and without UCX they start 35 ms sooner. Between nodes
        # libfabric's sockets hang at the start, once in twenty times, and its tcp when it sends to a rank that was
        # killed. UCX does neither, but then ends the others with a segmentation fault.
        os.environ.setdefault("MPIR_CVAR_CH4_NETMOD", "ofi")
    session = None
    if pmix and MPI.get_vendor()[0] != "Open MPI":
        try:
            session = MPI.Session.Init(MPI.INFO_NULL, MPI.ERRORS_RETURN)
        except MPI.Exception as error:
            words = str(error).strip().splitlines()[-1].strip()
            raise RuntimeError(f"{MPI.get_vendor()[0]} cannot be used with this launcher ({words})") from None
        except (AttributeError, NotImplementedError):
            pass  # too old for sessions
    MPI.Init_thread(MPI.THREAD_SERIALIZED)
    if session is not None:
        session.Finalize()


def join(meeting: Meeting) -> None:
    """Have all ranks of the world meet, for a call that a program may have made on some only. Raises FatalError."""
    if MPI.Is_finalized():
        raise FatalError(
            f"MPI has been finalized in this process: {meeting.called}() is too late",
            "Call it before MPI.Finalize().",
        )
    if MPI.Query_thread() < MPI.THREAD_SERIALIZED and not MPI.Is_thread_main():
        raise FatalError(
            f"MPI was initialised for one thread only, and {meeting.called}() is called by another one",
            "Call it in the thread that initialised MPI, or ask for MPI.THREAD_SERIALIZED or more.",
        )
    if MPI.COMM_WORLD.Get_size() > 1:
        meet(MPI.COMM_WORLD, meeting)


class MpiWire:
    """This process as a rank of the world."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()  # our own communicator, also inside another MPI program
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.node = os.uname().nodename
        self.mates = self._count_mates() if self.size > 1 else 1
        self.part = (0, 1)
        self.united = False
        self.stand_in = 0
        # A thread sends heartbeats; where the library allows no second thread, no rank expects them.
        self.fallible = MPI.Query_thread() >= MPI.THREAD_SERIALIZED
        self.heartbeat = DEFAULT
        self.quiet: frozenset[int] = frozenset()
        self.suspects: set[int] = set()
        self.lost: set[int] = set()
        self._guard = threading.Lock()  # around every call of MPI
        self._sending: list[tuple[int, MPI.Request]] = []
        self._coming: dict[int, MPI.Request] = {}  # by sender: the message being received, one of each
        self._undead: list[tuple[int, MPI.Request]] = []  # to and from lost ranks: MPI may still use their memory
        self._waker = Waker()
        self._status = MPI.Status()

    def _count_mates(self) -> int:
        """Return the number of ranks of this node that are bound to the same CPUs, this one included."""
        node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        try:
            mine = frozenset(os.sched_getaffinity(0))
            return sum(other == mine for other in node.allgather(mine))
        finally:
            node.Free()

    def send(self, rank: int, message: Message) -> None:
        if rank not in self.lost:
            self._send(rank, message)

    def _send(self, rank: int, message: Message) -> None:
        with self._guard:
            self._on_its_way()
            try:
                self._sending.append((rank, self._comm.isend(message, dest=rank, tag=_TAG)))
            except MPI.Exception:
                self.suspects.add(rank)

    def _on_its_way(self) -> bool:
        """Drop what has been sent, and what was for lost ranks; return whether anything is still under way."""
        left: list[tuple[int, MPI.Request]] = []
        for rank, request in self._sending:
            try:
                sent = request.Test()
            except MPI.Exception as error:
                # The error may be about another rank's failure.
                sent = error.Get_error_class() in _GONE
                if sent:
                    self.suspects.add(rank)
            if not sent:
                (self._undead if rank in self.lost else left).append((rank, request))
        self._sending = left
        return bool(left)

    def receive(self) -> tuple[int, Message] | None:
        with self._guard:
            try:
                return self._receive()
            except MPI.Exception:
                self._find_failed()
                return None

    def _receive(self) -> tuple[int, Message] | None:
        # Not recv: it would wait, holding the guard, for the rest of a big message from a rank that is gone.
        for source in list(self._coming):
            if (message := self._complete(source)) is not None:
                return source, message
        # Not from a sender of a message that is being received: a probe may report that one again.
        others = (rank for rank in range(self.size) if rank not in self._coming)
        for asked in others if self._coming else (MPI.ANY_SOURCE,):
            if self._comm.Iprobe(asked, _TAG, self._status):
                source, size = self._status.Get_source(), self._status.Get_count(MPI.BYTE)
                self._coming[source] = self._comm.irecv(bytearray(size), source, _TAG)
                message = self._complete(source)
                return None if message is None else (source, message)
        return None

    def _complete(self, source: int) -> Message | None:
        """Return the message being received from a rank once it is complete; None before."""
        request = self._coming[source]
        try:
            complete, message = cast(tuple[bool, Message | None], request.test())
        except MPI.Exception as error:
            if error.Get_error_class() not in _GONE:
                return None  # the error may be about another rank's failure
            complete, message = True, None
        if complete:
            del self._coming[source]
            if message is None:  # the rest of it will never come
                self.suspects.add(source)
                self._undead.append((source, request))
        return message

    def _find_failed(self) -> None:
        """Record the lost ranks that the library reports (ULFM): it repeats the error until it is acknowledged."""
        try:
            self._comm.Ack_failed(self.size)
            failed, world = self._comm.Get_failed(), self._comm.Get_group()
            self.suspects.update(failed.Translate_ranks(list(range(failed.Get_size())), world))
        except (MPI.Exception, NotImplementedError, AttributeError):
            pass  # without ULFM lost ranks are found by their silence

    def lose(self, rank: int) -> None:
        self.lost.add(rank)
        with self._guard:
            if rank in self._coming:
                self._undead.append((rank, self._coming.pop(rank)))

    def send_farewell(self, rank: int, message: Message) -> None:
        self._send(rank, message)

    def wait(self, seconds: float) -> None:
        # A big message moves only while both ends poll, a block at a time, where no process may read another one's
        # memory (in containers), and between nodes.
        with self._guard:
            if self._coming or (self._sending and self._on_its_way()):
                seconds = min(seconds, _SENDING)
        self._waker.wait(seconds)

    def wake(self) -> None:
        self._waker.wake()

    def recruit(self, slots: int) -> None:
        """Do nothing: there are all from the start."""

    def abort(self, code: int) -> None:
        MPI.COMM_WORLD.Abort(code)

    def close(self) -> None:
        """Finish sending and leave together. Polls: a blocking barrier would spin while other ranks still copy.

        With lost ranks this one does not wait: it sends its last messages, and MPI, which would wait for all, must not
        be finalized. A rank that never comes is lost, too: that happened when it had nothing left to do. Where ranks
        are never taken for lost, the job is aborted instead.
        """
        if not self.lost:
            self._leave_together()
        if self.lost:
            deadline = time.monotonic() + _FAREWELL
            while (self._drain() or self._is_sending()) and time.monotonic() < deadline:
                self._waker.wait(0.002)
            # What MPI calls sent may still lie in buffers of the network library, which end with this process.
            deadline = time.monotonic() + _FLUSHING
            while time.monotonic() < deadline:
                self._drain()
                self._waker.wait(0.01)

    def _leave_together(self) -> None:
        """Wait for all ranks; add those that did not come to lost."""
        others = set(range(self.size)) - {self.rank}
        patience = min(_CLOSING, _LEAVING + self.heartbeat) if self.fallible and self.heartbeat else _CLOSING
        deadline = time.monotonic() + patience
        try:
            with self._guard:
                barrier = self._comm.Ibarrier()
            # Both, not one after the other: a rank's last messages may arrive when all have come to the barrier.
            while self._drain() or not (self._has_come(barrier) and not self._is_sending()):
                if self.suspects:
                    self.lost |= self.suspects
                    return
                if time.monotonic() > deadline:
                    complain(f"hpcp-mpi: rank {self.rank} on {self.node}: other ranks did not end")
                    if not (self.fallible and self.heartbeat):
                        self.abort(1)
                    self.lost |= others
                    return
                self._waker.wait(0.002)
            while self._drain():
                pass
            self._comm.Free()
        except MPI.Exception:  # some libraries know which ranks failed
            self.lost |= self.suspects or others

    def _has_come(self, barrier: MPI.Request) -> bool:
        with self._guard:
            return bool(barrier.Test())

    def _is_sending(self) -> bool:
        with self._guard:
            return self._on_its_way()

    def _drain(self) -> bool:
        """Drop a message that is no longer needed, as after an early stop; return whether there was one."""
        return self.receive() is not None


def library_version() -> str:
    """Return the name and version of the MPI library."""
    return MPI.Get_library_version().strip().splitlines()[0].strip("\x00 ")
