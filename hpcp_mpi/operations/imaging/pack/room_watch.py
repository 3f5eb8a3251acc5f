"""Two rooms that are watched while an image is filled: that in the image, which grows, and that of the image itself.

A sparse image on a full file system is a broken one: what was written to it ends in the page cache, and fails when
nobody hears of it. So the run ends before that is full, and counts what the kernel has not written down yet.
"""

import os
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.host.block import mounts
from hpcp_mpi.host.block.making import Room, room_of
from hpcp_mpi.host.free_space import rooms
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume, grow_mounted
from hpcp_mpi.operations.imaging.rules.sizes import grown
from hpcp_mpi.vocab.errors import EXIT_FATAL, FatalError
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import printable

RESERVE = 64 * MIB  # bytes of the image's own file system that always stay free
FULL = "the file system of the image is nearly full"
_GROUP = 128 * MIB  # bytes of an ext that get inodes together
_PAUSE = 0.1  # seconds between two looks
_LOW = 32  # a part of a file system's size that is little room
_LEAST_LOW = 8 * MIB
_FLUSHED = 4  # a part of what is free, after which xfs has to write down what it has
_LEAST_FLUSHED = 2 * MIB
_FEW_INODES = 64
_SPARE = 64  # a part of what is expected that may be used beyond it: the kernel sets aside more than it writes


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected to be written to a file system. What is more shows that a source has grown."""

    bytes: int = 0
    inodes: int = 0


class Taken(NamedTuple):
    """What is used inside of an image, and what its file takes, in bytes."""

    used: int
    allocated: int


def free_outside(fd: int) -> int | None:
    """Return how many bytes the file system of an open file can still take; None: nobody knows. Raises OSError.

    A block device has all its room.
    """
    if stat.S_ISBLK(os.fstat(fd).st_mode):
        return None
    known = [room.bytes for room in rooms(fd, os.geteuid(), os.getegid()) if room.bytes is not None]
    return min(known, default=None)


class RoomWatch:
    """Watches from another thread, as long as it is entered. full: the run was ended, as there is no room left."""

    def __init__(
        self, volume: WritableVolume, expected: Expected, may_grow: bool, stop: StopRequest, base: Taken
    ) -> None:
        """expected: what will be written. base: what was taken before anything was."""
        self.full = False
        self.growths = 0
        self.refused = ""  # why it could not grow
        self._volume = volume
        self._expected = expected
        self._may_grow = may_grow and volume.grows_mounted
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="room", daemon=True)
        self._begin = room_of(volume.mount, volume.type)
        self._base = base
        self._flush_at = self._begin.bytes - self._begin.bytes // _FLUSHED
        self._flushing: threading.Thread | None = None

    def __enter__(self) -> "RoomWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        flushing = self._flushing
        if flushing is not None:
            flushing.join()

    def look(self) -> None:
        """Look at both rooms once. Raises OSError."""
        outside = free_outside(self._volume.fd)
        if outside is not None and outside - pending(self._volume, self._base, outside) < RESERVE:
            self.full = True
            self._stop.note(EXIT_FATAL, FULL, 0.0)
            return
        room = room_of(self._volume.mount, self._volume.type)
        if self._volume.type == "xfs" and room.bytes < self._flush_at and self._flushing is None:
            self._flushing = threading.Thread(target=self._flush, name="flush", daemon=True)
            self._flushing.start()
        if self._flushing is not None:
            return  # it is not known what is free
        if self._may_grow and self._is_low(room):
            try:
                grow_mounted(self._volume, bigger_size(self._volume, self._base))
            except FatalError as error:
                self.refused, self._may_grow = error.message, False
                return
            self.growths += 1
            now, begin = room_of(self._volume.mount, self._volume.type), self._begin
            more = now.bytes - room.bytes, now.inodes - room.inodes
            self._begin = Room(begin.bytes + more[0], begin.inodes + more[1])

    def _flush(self) -> None:
        """Have xfs write down what it sets blocks aside for: five and more for a file of one that is not written yet.

        It would have no room for another name, although most is free.
        """
        with suppress(OSError):
            mounts.flush(self._volume.mount)
            free = room_of(self._volume.mount, self._volume.type).bytes
            self._flush_at = free - max(_LEAST_FLUSHED, free // _FLUSHED)
        self._flushing = None

    def _is_low(self, room: Room) -> bool:
        """Return whether more was written than was expected, and little room is left."""
        used, inodes = self._begin.bytes - room.bytes, self._begin.inodes - room.inodes
        more = used > self._expected.bytes + self._expected.bytes // _SPARE + _LEAST_LOW
        low = room.bytes < max(self._volume.size // _LOW, _LEAST_LOW)
        few = self._volume.type != "btrfs" and inodes > self._expected.inodes and room.inodes < _FEW_INODES
        return (more and low) or few

    def _watch(self) -> None:
        while not self._ended.wait(_PAUSE) and not self.full:
            with suppress(OSError):  # the copy will say it
                self.look()

    def refuse_full(self) -> None:
        """Raise FatalError if the run was ended as there is no room left."""
        if self.full:
            raise FatalError(
                f"the file system of {printable(self._volume.called)} has less than {RESERVE // MIB} MiB left: "
                "an image on a full one would be damaged",
                "Make room there, or name another place.",
            )


def taken_by(volume: WritableVolume) -> Taken:
    """Return what is taken by now. Raises OSError."""
    inside = os.statvfs(volume.mount)
    return Taken((inside.f_blocks - inside.f_bfree) * inside.f_frsize, os.fstat(volume.fd).st_blocks * 512)


def pending(volume: WritableVolume, base: Taken, outside: int | None = None) -> int:
    """Return the bytes that were written inside, and that the image's own file system does not know of yet.

    outside: what that has left, if it is known.
    """
    now = taken_by(volume)
    found = max(0, now.used - base.used - (now.allocated - base.allocated))
    if found and (outside is None or outside - found < RESERVE):
        found = min(found, _dirty())  # where the image is compressed it takes less than is used in it
    return found


def bigger_size(volume: WritableVolume, base: Taken, lacks: int = 0, inodes: int = 0) -> int:
    """Return the size to which a volume is to grow: by an eighth at least. Raises FatalError if there is no room.

    lacks, inodes: what is missing, as far as is known
    """
    if inodes and volume.type in ("ext2", "ext3", "ext4"):
        groups = -(-volume.size // _GROUP)
        each = max(1, os.statvfs(volume.mount).f_files // groups)
        lacks = max(lacks, max(groups, -(-inodes // each)) * _GROUP)
    wanted = grown(volume.type, volume.size, lacks)
    outside = free_outside(volume.fd)
    if outside is not None:
        wanted = min(wanted, volume.size + max(0, outside - pending(volume, base) - RESERVE) // MIB * MIB)
    if wanted <= volume.size:
        raise FatalError(FULL)
    return wanted


def _dirty() -> int:
    """Return the bytes that the kernel has to write down, of all files."""
    with open("/proc/meminfo", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file)
    return sum(int(lines[name].split()[0]) for name in (b"Dirty", b"Writeback")) * 1024
