"""What the file system of a destination can store and do, as far as it was found out.

Rank 0 finds it out once (host/abilities) and every rank gets it with the job. None is: not known.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hpcp_mpi.vocab.attributes import ACL, CAPABILITY

SECOND_NS = 10**9
ENDLESS_NS = 1 << 80  # later than any time
# Where the times of known file systems begin and end, in seconds: 32 bits with and without a sign, the 34 bits of ext4,
# XFS with bigtime. Of those where nothing could be tried, one that ends at such a time is taken to end there.
_EARLIEST = (-(1 << 31), 0)
_LATEST = ((1 << 31) - 1, (1 << 32) - 1, (1 << 34) - (1 << 31) - 1, 16_299_260_424)


@dataclass(frozen=True, slots=True)
class StoredTimes:
    """Which times a file system can store, and so which of them are equal."""

    step_ns: int = 1
    earliest_ns: int | None = None  # None: not known
    latest_ns: int | None = None
    clamps: bool = True  # what it cannot store becomes the nearest time by itself; else it becomes any time
    mtime_tolerance_ns: int = 0  # times no further apart are equal: what the user asked for
    exact: bool = False  # the nearest time that can be stored is another one

    @property
    def within_ns(self) -> int:
        """How far (ns) times may be apart that are equal."""
        return max(self.mtime_tolerance_ns, self.step_ns - 1)

    def same(self, source_ns: int, dest_ns: int) -> bool:
        """Return whether a time of a copy is that of its source, or the nearest to it that can be stored."""
        if source_ns == dest_ns:
            return True
        within = self.within_ns
        if abs(source_ns - dest_ns) <= within or self.exact:
            return abs(source_ns - dest_ns) <= within
        earliest = _EARLIEST_NS if self.earliest_ns is None else (self.earliest_ns,)
        latest = _LATEST_NS if self.latest_ns is None else (self.latest_ns,)
        return any(source_ns < first and abs(dest_ns - first) <= within for first in earliest) or any(
            source_ns > last and abs(dest_ns - last) <= within for last in latest
        )

    def goes_astray(self, time_ns: int) -> bool:
        """Return whether a time becomes one that has nothing to do with it, unless the nearest is set instead."""
        return not self.clamps and self.nearest(time_ns) != time_ns

    @property
    def seconds(self) -> tuple[int, int]:
        """The first and the last second of which all can be stored."""
        earliest = -ENDLESS_NS if self.earliest_ns is None else self.earliest_ns
        latest = ENDLESS_NS if self.latest_ns is None else self.latest_ns
        return -(-earliest // SECOND_NS), (latest + 1) // SECOND_NS - 1

    def nearest(self, time_ns: int) -> int:
        """Return the time nearest to one that is in the range of what can be stored."""
        earliest = -ENDLESS_NS if self.earliest_ns is None else self.earliest_ns
        latest = ENDLESS_NS if self.latest_ns is None else self.latest_ns
        return min(max(time_ns, earliest), latest)


_EARLIEST_NS = tuple(seconds * SECOND_NS for seconds in _EARLIEST)
_LATEST_NS = tuple(seconds * SECOND_NS for seconds in _LATEST)


class Acls(Enum):
    """How a file system has POSIX ACLs."""

    LISTED = "listed"  # among the attributes, as usual
    HIDDEN = "hidden"  # not listed: they have to be asked for by name
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a file system can do."""

    kind: str = ""  # its type, as the kernel calls it; "": not known
    tried: bool = False  # found out by trying; else it is what its type implies, and the times that are there
    times: StoredTimes = field(default_factory=StoredTimes)
    acls: Acls | None = None
    user_attributes: bool | None = None
    trusted_attributes: bool | None = None  # only root can try
    capabilities: bool | None = None  # this user can give files capabilities, and they are kept
    holes: bool | None = None  # it shows where they are
    nameless: bool | None = None  # files without a name can be made (O_TMPFILE)
    locks: bool | None = None  # flock
    case: bool | None = None  # names that differ only in case are two
    left: tuple[tuple[bytes, str], ...] = ()  # what trying left behind: (name, why)
    owner: int | None = None  # uid that a file belongs to which this user makes; -1: another one than this user's

    @property
    def lost_attributes(self) -> tuple[bytes, ...]:
        """Return how attributes begin that no copy can have: `cp -a` leaves them out without a word."""
        kept = {
            ACL: self.acls is not Acls.NONE,
            b"user.": self.user_attributes is not False,
            b"trusted.": self.trusted_attributes is not False,
            CAPABILITY: self.capabilities is not False,
        }
        return tuple(prefix for prefix, stored in kept.items() if not stored)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it. null: not known."""
        times = self.times
        return {
            "type": self.kind,
            "tried": self.tried,
            "time_step_ns": times.step_ns,
            "earliest_time": _in_seconds(times.earliest_ns),
            "latest_time": _in_seconds(times.latest_ns),
            "nearest_time_by_itself": times.clamps,
            "acls": None if self.acls is None else self.acls.value,
            "user_attributes": self.user_attributes,
            "trusted_attributes": self.trusted_attributes,
            "capabilities": self.capabilities,
            "holes": self.holes,
            "nameless_files": self.nameless,
            "locks": self.locks,
            "case_sensitive": self.case,
        }


def _in_seconds(time_ns: int | None) -> int | None:
    """Return whole seconds since 1970; None where it is not known, or there is no end."""
    return None if time_ns is None or abs(time_ns) >= ENDLESS_NS else time_ns // SECOND_NS
