"""The transport between ranks that are threads of one process, for runs without MPI and for tests."""

from collections import deque

from hpcp_mpi.cluster.transport import LocalWire, Waker
from hpcp_mpi.scheduling.messages import Message


class ThreadWire(LocalWire):
    """One rank's end of a cluster of threads."""

    def __init__(self, rank: int, peers: "list[ThreadWire]") -> None:
        super().__init__(rank)
        self._peers = peers
        self._inbox: deque[tuple[int, Message]] = deque()
        self._waker = Waker()

    @property
    def size(self) -> int:
        return len(self._peers)

    def send(self, rank: int, message: Message) -> None:
        peer = self._peers[rank]
        peer._inbox.append((self.rank, message))
        peer.wake()

    def receive(self) -> tuple[int, Message] | None:
        return self._inbox.popleft() if self._inbox else None

    def wait(self, seconds: float) -> None:
        self._waker.wait(seconds)

    def wake(self) -> None:
        self._waker.wake()

    def send_farewell(self, rank: int, message: Message) -> None:
        self.send(rank, message)

    def close(self) -> None:
        """Do nothing: there is no network to leave."""


def thread_cluster(size: int) -> list[ThreadWire]:
    """Return the wires of a cluster of size ranks, by rank."""
    peers: list[ThreadWire] = []
    peers.extend(ThreadWire(rank, peers) for rank in range(size))
    return peers
