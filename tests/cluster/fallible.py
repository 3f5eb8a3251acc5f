"""A cluster of threads with a network that can fail and ranks that can be stopped, as processes and nodes are."""

from __future__ import annotations

import threading

from hpcp_mpi.cluster.threads import ThreadWire
from hpcp_mpi.scheduling.messages import Message


class FallibleWire(ThreadWire):
    """One rank's end of a network that can fail.

    cut:  ranks that nothing gets to from here
    held: cleared while this rank's loop is stopped
    """

    def __init__(self, rank: int, peers: list[ThreadWire], heartbeat: float) -> None:
        super().__init__(rank, peers)
        self.fallible = True
        self.heartbeat = heartbeat
        self.cut: set[int] = set()
        self.held = threading.Event()
        self.held.set()

    def send(self, rank: int, message: Message) -> None:
        if rank not in self.lost:
            self.dismiss(rank, message)

    def send_farewell(self, rank: int, message: Message) -> None:
        if rank not in self.cut:
            super().send(rank, message)

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        self.held.wait()


def fallible_cluster(size: int, heartbeat: float) -> list[FallibleWire]:
    """Return the wires of a cluster of size ranks, by rank."""
    peers: list[ThreadWire] = []
    wires = [FallibleWire(rank, peers, heartbeat) for rank in range(size)]
    peers.extend(wires)
    return wires
