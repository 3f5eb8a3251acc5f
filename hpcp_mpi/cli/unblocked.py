"""Writing that does not wait: a paused terminal, or a pipe that nobody reads just now, must not stop the copying.

What is not taken at once is kept, and written by a thread as it is taken.
"""

import _socket  # not `socket`, whose import takes a millisecond of every run
import os
import select
import stat
import threading

_MOST = 1 << 20  # bytes that are kept; of what comes then, whole pieces are dropped and counted
_DONT_WAIT = _socket.MSG_DONTWAIT
_POLL = 500  # milliseconds


class Unblocked:
    """A way to write to a descriptor. The processes that share it keep one that waits: only our own way does not."""

    def __init__(self, fd: int) -> None:
        self._socket = _socket.socket(fileno=os.dup(fd)) if _is_socket(fd) else None
        self._to = _own_way(fd)
        self._lock = threading.RLock()  # a signal handler writes, too
        self._kept = bytearray()
        self._dropped = 0  # pieces
        self._thread: threading.Thread | None = None

    @property
    def behind(self) -> bool:
        """Whether something is kept that was not taken yet."""
        return bool(self._kept)

    def write(self, data: bytes) -> int:
        """Write or keep data; return its length. Raises OSError."""
        with self._lock:
            if self._kept:
                self._keep(data)
                return len(data)
            at = 0
            try:
                while at < len(data):
                    at += self._send(data[at:])
            except BlockingIOError:
                self._keep(data[at:])
            return len(data)

    def drain(self) -> None:
        """Wait until all that is kept is written, or cannot be."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _send(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, _DONT_WAIT)
        return os.write(self._to, data)

    def _keep(self, data: bytes) -> None:
        if len(self._kept) + len(data) > _MOST:
            self._dropped += 1
            return
        self._kept += data
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._write_kept, name="stderr", daemon=True)
            self._thread.start()

    def _write_kept(self) -> None:
        poll = select.poll()
        poll.register(self._to if self._socket is None else self._socket, select.POLLOUT)
        while True:
            poll.poll(_POLL)
            with self._lock:
                try:
                    del self._kept[: self._send(bytes(self._kept))]
                except BlockingIOError:
                    continue
                except (OSError, ValueError):
                    self._kept.clear()  # nobody will read it
                if not self._kept and self._dropped:
                    self._kept += b"hpcp-mpi: %d lines were not shown: nobody took them\n" % self._dropped
                    self._dropped = 0
                if not self._kept:
                    self._thread = None
                    return


def _own_way(fd: int) -> int:
    """Return a descriptor of our own for what is behind fd: one that does not wait for a terminal or pipe.

    The flag belongs to what was opened, which the shell and other programs share: so it is opened once more. A file
    does not wait, and a terminal of another user does. What is kept may be written when the caller has closed fd, and
    its number is that of a file that is being copied.
    """
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and os.isatty(fd)):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        pass
    try:
        return os.dup(fd)
    except OSError:  # no descriptor is left
        return fd


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
