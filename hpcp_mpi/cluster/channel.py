"""Messages between two processes of one machine over a socket: pickled, in order, of any size, with open files.

Neither end ever waits for the other: what a socket does not take yet is kept here. So two ends that send much at once
do not wait for each other for ever.
"""

# Not `socket`, whose import takes a millisecond of every run.
import _socket
import io
import os
import pickle
import struct
from collections import deque
from typing import Any, NamedTuple

_HEAD = struct.Struct("<QH")  # bytes of the message, open files that come with it
_MOST_FILES = 250  # that the kernel passes on at once; more are not passed on
_READ = 1 << 18  # bytes at once
_FILES = struct.Struct("<i")
_ROOM = _socket.CMSG_SPACE(_MOST_FILES * _FILES.size)


class _Part(NamedTuple):
    """Something to be sent, with the open files that go with its first byte."""

    data: memoryview
    files: tuple[Any, ...] = ()  # each has `fd`; held until they are sent


class _FilePickler(pickle.Pickler):
    """A pickler that passes open files on, as far as the kernel takes so many."""

    def __init__(self, to: io.BytesIO, kind: type) -> None:
        super().__init__(to, pickle.HIGHEST_PROTOCOL)
        self._kind = kind
        self.files: list[Any] = []

    def persistent_id(self, found: Any) -> int | None:
        if type(found) is not self._kind or len(self.files) == _MOST_FILES:
            return None
        self.files.append(found)
        return len(self.files) - 1


class _FileUnpickler(pickle.Unpickler):
    """Its counterpart."""

    def __init__(self, data: memoryview, files: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._files = files

    def persistent_load(self, pid: int) -> Any:
        return self._files[pid]


class Channel:
    """One end of a connection. `ended`: the other end is closed, and all that it had sent was returned."""

    def __init__(self, end: _socket.socket, kind: type) -> None:
        """end: of a pair of sockets. kind: of the objects that hold an open file, `fd`; made from its number"""
        end.setblocking(False)
        self._end = end
        self._kind = kind
        self._out: deque[_Part] = deque()
        self._in = bytearray()
        self._files: deque[int] = deque()  # that came, and whose message did not
        self._broken = False  # nothing can be sent
        self.ended = False

    def fileno(self) -> int:
        return self._end.fileno()

    @property
    def sending(self) -> bool:
        """Whether something waits until the other end takes it."""
        return bool(self._out)

    def send(self, message: Any, with_files: bool = False) -> None:
        """Send a message, now or in flush(). with_files: the objects in it that hold open files keep them."""
        files: list[Any] = []
        if with_files:
            stored = io.BytesIO()
            pickler = _FilePickler(stored, self._kind)
            pickler.dump(message)
            data, files = stored.getvalue(), pickler.files
        else:
            data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._out.append(_Part(memoryview(_HEAD.pack(len(data), len(files)) + data), tuple(files)))
        if len(self._out) == 1:
            self.flush()

    def flush(self) -> None:
        """Send what the socket takes."""
        while self._out and not self._broken:
            data, files = self._out[0]
            rights = []
            if files:
                numbers = b"".join(_FILES.pack(each.fd) for each in files)
                rights.append((_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers))
            try:
                sent = self._end.sendmsg([data], rights, _socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._broken = True  # what the other end had sent before can still be received
                break
            if sent < len(data):
                self._out[0] = _Part(data[sent:])
            else:
                self._out.popleft()
        if self._broken:
            self._out.clear()

    def receive(self) -> list[Any]:
        """Return the messages that have come."""
        found: list[Any] = []
        while not self.ended:
            try:
                data, rights, _, _ = self._end.recvmsg(_READ, _ROOM, _socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data, rights = b"", []
            for _, _, numbers in rights:
                whole = len(numbers) - len(numbers) % _FILES.size
                self._files.extend(number for (number,) in _FILES.iter_unpack(numbers[:whole]))
            self._in += data
            found += self._complete()
            self.ended = not data
            if len(data) < _READ:
                break
        return found

    def _complete(self) -> list[Any]:
        """Return the messages that are complete, and forget them."""
        found = []
        at, have = 0, len(self._in)
        with memoryview(self._in) as come:
            while have - at >= _HEAD.size:
                length, count = _HEAD.unpack_from(come, at)
                if have - at - _HEAD.size < length:
                    break
                with come[at + _HEAD.size : at + _HEAD.size + length] as data:
                    files = [self._kind(self._files.popleft()) for _ in range(count)]
                    found.append(_FileUnpickler(data, files).load() if files else pickle.loads(data))
                at += _HEAD.size + length
        del self._in[:at]
        return found

    def close(self) -> None:
        self._end.close()
        while self._files:
            os.close(self._files.popleft())
        self.ended = self._broken = True


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return two connected sockets. Raises OSError."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
