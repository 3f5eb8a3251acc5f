"""A process that does nothing until worker processes are wanted, and then forks them: with all that they need imported.

It is forked when the program has one thread only, as no process can be forked well later. That takes a millisecond; a
run that is over soon asks for no workers.
"""

import _socket
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from hpcp_mpi.cluster.channel import pair

_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # a terminal sends them to all processes
MOST = 16  # workers of one server: rank 0 can hardly list for more
_NUMBER = 4  # bytes of a descriptor's number in a message


class ForkServer:
    """The server, for the process that started it. Raises OSError where it cannot be forked."""

    def __init__(self, work: Callable[[_socket.socket], None]) -> None:
        """work: what a worker does with its end of a connection; then it ends"""
        self._control, theirs = pair()
        try:
            self._process = os.fork()
        except OSError:
            self._control.close()
            theirs.close()
            raise
        if not self._process:
            _be_server(theirs, work)
        theirs.close()

    def fork(self, count: int) -> list[_socket.socket]:
        """Have so many workers forked, once; return our ends of their connections. One that is closed has no worker."""
        pairs: list[tuple[_socket.socket, _socket.socket]] = []
        with suppress(OSError):  # no more open files
            pairs.extend(pair() for _ in range(min(count, MOST)))
        numbers = b"".join(theirs.fileno().to_bytes(_NUMBER, "little") for _, theirs in pairs)
        with suppress(OSError):  # it was killed
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)] if pairs else []
            self._control.sendmsg([b"fork"], rights, _socket.MSG_NOSIGNAL)
        for _, theirs in pairs:
            theirs.close()
        return [ours for ours, _ in pairs]

    def end(self, wait: bool) -> None:
        """Have it end when its workers have; wait for that."""
        self._control.close()
        if wait:
            with suppress(OSError):
                os.waitpid(self._process, 0)


def alone() -> bool:
    """Return whether this process has one thread, of Python or not, so that it may fork."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _be_server(control: _socket.socket, work: Callable[[_socket.socket], None]) -> None:
    """Wait until workers are wanted, and until they have ended. Does not return."""
    try:
        # Before the handlers of rank 0 can run here: they would act for it.
        for number in _DEAF:
            signal.signal(number, signal.SIG_IGN)
        _let_go(control.fileno())
        _, rights, _, _ = control.recvmsg(16, _socket.CMSG_SPACE(MOST * _NUMBER), _socket.MSG_CMSG_CLOEXEC)
        control.close()
        numbers = b"".join(numbers for _, _, numbers in rights)
        ends = [int.from_bytes(numbers[at : at + _NUMBER], "little") for at in range(0, len(numbers), _NUMBER)]
        for at, end in enumerate(ends):
            try:
                process = os.fork()
            except OSError:
                process = -1  # as the other end of the connection shows
            if process == 0:
                for other in ends[at + 1 :]:
                    os.close(other)
                work(_socket.socket(fileno=end))
                return
            os.close(end)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
    finally:
        os._exit(0)


def _let_go(kept: int) -> None:
    """Close what this process has open and does not need: who reads a pipe waits until nobody has its other end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != kept:
            with suppress(OSError):
                os.close(number)
