"""What a rank needs of a network. `mpi` and `threads` provide it."""

from typing import Protocol

from hpcp_mpi.scheduling.messages import Message


class Wire(Protocol):
    """A rank's end. Only wake() and send() may be called by another thread than the rank's own."""

    rank: int
    node: str
    mates: int  # ranks that share this rank's CPUs, itself included
    fallible: bool  # other ranks may be lost, and send() may be called by any thread
    heartbeat: float  # seconds of silence after which a rank is taken for lost; 0: none ever is
    quiet: frozenset[int]  # ranks that need not be told that this one lives: to call one that is gone takes long
    suspects: set[int]  # ranks that the network says are gone
    lost: set[int]  # ranks that lose() was told of: nothing is sent to them, and close() does not wait for anybody

    @property
    def size(self) -> int: ...

    def send(self, rank: int, message: Message) -> None:
        """Send without waiting."""

    def receive(self) -> tuple[int, Message] | None:
        """Return (sender, message), or None when nothing has come."""

    def wait(self, seconds: float) -> None:
        """Sleep until wake() is called, or something may have come, or the time is over."""

    def wake(self) -> None:
        """End a wait."""

    def abort(self, code: int) -> None:
        """End the whole job now, all ranks. Returns only where there are no other processes."""

    def lose(self, rank: int) -> None:
        """Take a rank for lost."""

    def send_farewell(self, rank: int, message: Message) -> None:
        """Send a last word to a rank that was taken for lost, and was heard of."""

    def close(self) -> None:
        """Leave: together with all ranks, or alone when some are lost."""


FIRST_PAUSE = 0.0002  # seconds


LAST_PAUSE = 0.005
