"""What a rank needs of a network. `mpi` and `threads` provide it."""

from typing import Protocol

from hpcp_mpi.stealing.messages import Message


class Wire(Protocol):
    """A rank's end. Only wake() may be called by another thread than the rank's own."""

    rank: int
    node: str
    mates: int  # ranks that share this rank's CPUs, itself included

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

    def close(self) -> None:
        """Leave, together with all ranks."""
