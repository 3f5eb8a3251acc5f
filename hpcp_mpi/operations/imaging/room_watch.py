"""Two rooms that are watched while an image is filled: that in the image, which grows, and that of the image itself.

A sparse image on a full file system is a broken one: what was written to it ends in the page cache, and fails when
nobody hears of it. So the run ends before that is full, and counts what the kernel has not written down yet.
"""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.host.block.making import Room, room_of
from hpcp_mpi.host.free_space import rooms
from hpcp_mpi.operations.imaging.rules.sizes import grown
from hpcp_mpi.operations.imaging.volume import Volume, grow
from hpcp_mpi.vocab.errors import EXIT_FATAL, FatalError
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import printable

RESERVE = 64 * MIB  # bytes of the image's own file system that always stay free
FULL = "the file system of the image is nearly full"
_PAUSE = 0.1  # seconds between two looks
_LOW = 32  # a part of a file system's size that is little room
_LEAST_LOW = 8 * MIB
_FEW_INODES = 64
_GROUP = 128 * MIB  # bytes of an ext that get inodes together


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected to be written to a file system. What is more shows that a source has grown."""

    bytes: int = 0
    inodes: int = 0


def free_outside(fd: int) -> int | None:
    """Return how many bytes the file system of an open file can still take; None: nobody knows. Raises OSError."""
    known = [room.bytes for room in rooms(fd, os.geteuid(), os.getegid()) if room.bytes is not None]
    return min(known, default=None)


class RoomWatch:
    """Watches from another thread, as long as it is entered. full: the run was ended, as there is no room left."""

    def __init__(self, volume: Volume, expected: Expected, may_grow: bool, stop: StopRequest) -> None:
        self.full = False
        self.growths = 0
        self.refused = ""  # why it could not grow
        self._volume = volume
        self._expected = expected
        self._may_grow = may_grow
        self._stop = stop
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="room", daemon=True)
        self._begin = room_of(volume.mount, volume.type)
        self._base = self._taken()

    def __enter__(self) -> "RoomWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def grow(self, bytes: int = 0, inodes: bool = False) -> bool:
        """Make the file system bigger by an eighth at least; return whether that was possible.

        bytes: that are missing, as far as is known. inodes: these are
        """
        with self._lock:
            if not self._may_grow or self.full:
                return False
            volume = self._volume
            wanted = grown(volume.type, volume.size, max(bytes, _GROUP if inodes and volume.type != "xfs" else 0))
            outside = free_outside(volume.fd)
            if outside is not None:
                wanted = min(wanted, volume.size + max(0, outside - self._pending() - RESERVE) // MIB * MIB)
            if wanted <= volume.size:
                self.refused = FULL
                return False
            try:
                grow(volume, wanted)
            except FatalError as error:
                self.refused = error.message
                self._may_grow = False
                return False
            self.growths += 1
            return True

    def look(self) -> None:
        """Look at both rooms once. Raises OSError."""
        outside = free_outside(self._volume.fd)
        if outside is not None and outside - self._pending(outside) < RESERVE:
            self.full = True
            self._stop.note(EXIT_FATAL, FULL, 0.0)
            return
        room = room_of(self._volume.mount, self._volume.type)
        size = self._volume.size
        if self._may_grow and not self.refused:
            more = self._begin.bytes - room.bytes > self._expected.bytes
            more_inodes = self._begin.inodes - room.inodes > self._expected.inodes
            low = more and room.bytes < max(size // _LOW, _LEAST_LOW)
            few = more_inodes and self._volume.type != "btrfs" and room.inodes < _FEW_INODES
            if (low or few) and self.grow(inodes=few):
                now, begin = room_of(self._volume.mount, self._volume.type), self._begin
                more_room = now.bytes - room.bytes, now.inodes - room.inodes
                self._begin = Room(begin.bytes + more_room[0], begin.inodes + more_room[1])

    def _watch(self) -> None:
        while not self._ended.wait(_PAUSE) and not self.full:
            with suppress(OSError):  # the copy will say it
                self.look()

    def _taken(self) -> tuple[int, int]:
        """Return the bytes that are used inside, and those that the image file takes. Raises OSError."""
        inside = os.statvfs(self._volume.mount)
        used = (inside.f_blocks - inside.f_bfree) * inside.f_frsize
        return used, os.fstat(self._volume.fd).st_blocks * 512

    def _pending(self, outside: int | None = None) -> int:
        """Return the bytes that were written inside, and that the image's own file system does not know of yet."""
        used, allocated = self._taken()
        pending = max(0, used - self._base[0] - (allocated - self._base[1]))
        if pending and (outside is None or outside - pending < RESERVE):
            pending = min(pending, _dirty())  # where the image is compressed it takes less than is used in it
        return pending

    def refuse_full(self) -> None:
        """Raise FatalError if the run was ended as there is no room left."""
        if self.full:
            raise FatalError(
                f"the file system of {printable(self._volume.called)} has less than {RESERVE // MIB} MiB left: "
                "an image on a full one would be damaged",
                "Make room there, or name another place.",
            )


def _dirty() -> int:
    """Return the bytes that the kernel has to write down, of all files."""
    with open("/proc/meminfo", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file)
    return sum(int(lines[name].split()[0]) for name in (b"Dirty", b"Writeback")) * 1024
