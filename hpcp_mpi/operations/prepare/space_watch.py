"""Whether there is room for all that is to be copied: what rank 0 knows so far, compared with the room there was."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.free_space import FreeSpace, rooms
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.tally import Tally

_PAUSE = 0.2  # seconds between looks at how much there is to copy
# Bytes that were copied over an older copy before it is known how much of that was room that got free again.
_ENOUGH = 64 * MIB
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class _WorkLeft(NamedTuple):
    """The amount of work, as rank 0 knows by now."""

    found: Tally
    copied: Tally
    waiting: int  # bytes that are known to wait to be copied


class _Short(NamedTuple):
    """Too little room, in words."""

    free: str
    need: str
    but: str  # what may make the need smaller


class SpaceWatch:
    """A watch over the scan, on rank 0, that says once that the room at the destination will not do."""

    def __init__(
        self,
        context: JobContext,
        warn: Callable[[str], None],
        free: list[FreeSpace],
        fresh: bool,
        source_bytes: int | None,
    ) -> None:
        """free: the room there is before anything is copied. source_bytes: the sources can be no more; None: unknown

        fresh: the destination is empty: nothing in it is replaced, and nothing is identical
        """
        self._context = context
        self._options = context.options
        self._warn = warn
        self._rooms = free
        self._fresh = fresh
        self._source_bytes = source_bytes
        self._next = 0.0
        self._saw_all = False
        self._reported = False

    def look(self, found: Tally, copied: Tally, waiting: Callable[[], int], done: bool) -> None:
        """Compare what is to be copied with the room there was. Called often. Raises FatalError if that was asked for.

        found: what the sources hold, as far as it was scanned; done: that is all. waiting: how many bytes are known to
        wait to be copied; it takes a moment to find out.
        """
        now = time.monotonic()
        if self._reported or not self._rooms or not (now >= self._next or (done and not self._saw_all)):
            return
        self._next, self._saw_all = now + _PAUSE, done
        if not self._fresh and copied.bytes < _ENOUGH:
            return  # for all that is known, what is copied replaces as much
        work = _WorkLeft(found, copied, 0 if self._fresh else waiting())
        for room in self._rooms:
            short = self._short_of_bytes(room, work) or self._short_of_inodes(room, work)
            if short:
                self._report(room, short)
                return

    def _short_of_bytes(self, room: FreeSpace, work: _WorkLeft) -> _Short | None:
        if room.bytes is None:
            return None
        need = work.found.bytes if self._fresh else work.copied.bytes + work.waiting
        if self._source_bytes is not None:
            need = min(need, self._source_bytes)
        if need <= room.bytes or not (self._fresh or self._really_takes(room, work)):
            return None
        return _Short(
            f"{_amount(room.bytes)} free", f"about {_amount(need)}", "if files are sparse or are compressed there"
        )

    def _short_of_inodes(self, room: FreeSpace, work: _WorkLeft) -> _Short | None:
        if not self._fresh or room.inodes is None or work.found.entries <= room.inodes:
            return None
        return _Short(
            f"{room.inodes:,} inodes free", f"{work.found.entries:,} entries", "if many are names of one file"
        )

    def _really_takes(self, room: FreeSpace, work: _WorkLeft) -> bool:
        """Return whether what waits needs more than there is now, if it takes as much as what was copied did.

        What replaces an older copy takes no room in the end.
        """
        assert room.bytes is not None
        try:
            with self._context.dest.at(b"") as dest:
                now = next((each for each in rooms(dest, os.geteuid(), os.getegid()) if each.whose == room.whose), room)
        except OSError:
            return False  # copying reports the error
        left = room.bytes if now.bytes is None else now.bytes
        taken = min(1.0, max(0.0, (room.bytes - left) / work.copied.bytes))
        return work.waiting * taken > left

    def _report(self, room: FreeSpace, short: _Short) -> None:
        self._reported = True
        whose = "the destination" if not room.whose else f"{room.whose} at the destination"
        ends = "No space left on device" if not room.whose else "Disk quota exceeded"
        facts = f"{whose} had {short.free} when it began, and {short.need}, or more, are to be copied"
        if self._options.require_space and not self._options.dry_run:
            raise FatalError(
                f"{facts} to {printable(self._context.job.destination)} (-enes)",
                "What was copied stays. Make room, or copy less (-e), and run it again; it may need less than is said "
                f"here {short.but}: without -enes it is only a warning.",
            )
        self._warn(
            f"{facts}: it will end with '{ends}', unless it needs less {short.but}; make room meanwhile, or copy less "
            "(-e)"
        )


def _amount(count: float) -> str:
    """Return bytes as `1.23 GiB`."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.2f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.2f} {_UNITS[-1]}"
