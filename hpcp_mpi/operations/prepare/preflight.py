"""What will go wrong is said before hours are spent, not after: once, with what will happen and what to do.

Beforehand some system calls tell whether the destination can be written to and can keep what the sources have. Then,
while the scan goes on, rank 0 adds up what it knows already to be copied, and compares that with the room there was.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.free_space import APPEND_ONLY, CASE_FOLDING, IMMUTABLE, FreeSpace, flags_of, rooms
from hpcp_mpi.host.mounts import WITHOUT_CASE
from hpcp_mpi.vocab.abilities import Acls
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import child_path, printable
from hpcp_mpi.vocab.tally import Tally

_PAUSE = 0.2  # seconds between looks at how much there is to copy
# Bytes that were copied over an older copy before it is known how much of that was room that got free again.
_ENOUGH = 64 * MIB
_ACL = "system.posix_acl_access"
_XATTR = "user.hpcp-mpi"
_CAPABILITY = "security.capability"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

Say = Callable[[bytes, str], None]


class _Work(NamedTuple):
    """How much there is to do, as rank 0 knows by now."""

    found: Tally
    copied: Tally
    waiting: int  # bytes that are known to wait to be copied


class _Short(NamedTuple):
    """Too little room, in words."""

    free: str
    need: str
    but: str  # what may make the need smaller


class Preflight:
    """Rank 0's. say: takes (path, what a reader should know)."""

    def __init__(self, context: JobContext, say: Say) -> None:
        self._context = context
        self._options = context.options
        self._abilities = context.job.abilities
        self._say = say
        self._fresh = False  # the destination is empty: nothing in it is replaced, and nothing is identical
        self._rooms: list[FreeSpace] = []
        self._most: int | None = None  # bytes that the sources can be at most
        self._next = 0.0
        self._saw_all = False
        self._told = False

    # --- before anything is done

    def check(self) -> None:
        """Look at the destination. Raises FatalError if nothing could be copied to it."""
        if self._context.job.destination_root is None:
            return  # a dry run
        try:
            self._look()
        except OSError as error:
            self._tell(f"cannot be checked in advance: {reason_of(error)}")

    def _look(self) -> None:
        for name, note in self._abilities.left:
            self._say(child_path(self._context.job.destination, name), note)
        with self._context.dest.at(b"") as dest:
            self._rooms = rooms(dest, os.geteuid(), os.getegid())
            with suppress(OSError), os.scandir(dest) as entries:
                self._fresh = next(entries, None) is None
            self._most = self._used_by_sources()
            self._refuse_read_only(dest)
            self._writable(dest)
            self._names(dest)
            if not self._options.content_only:
                self._owners(dest)
            self._refuse_squashed()
            if not self._options.content_only:
                self._losses(dest)

    def _tell(self, note: str) -> None:
        self._say(self._context.job.destination, note)

    def _refuse_read_only(self, dest: int) -> None:
        if not os.fstatvfs(dest).f_flag & os.ST_RDONLY:
            return
        if not self._options.dry_run:
            raise FatalError(
                f"the destination {printable(self._context.job.destination)} is mounted read-only; nothing was copied",
                "Mount it for writing (mount -o remount,rw ...), or copy to another place.",
            )
        self._tell("it is mounted read-only: a real run will refuse to start")

    def _writable(self, dest: int) -> None:
        flags = flags_of(dest)
        if flags & IMMUTABLE:
            self._tell("it is immutable: nothing can be made in it, only in directories below it; see chattr -i")
        elif flags & APPEND_ONLY:
            self._tell("it is append-only: nothing in it can get its name, and copies into it will fail; see chattr -a")
        elif os.fstat(dest).st_uid != os.geteuid() and not _may_write(dest):
            self._tell(
                "this user may not write in it: what is to be made in it will fail, in directories below it perhaps "
                "not; get write permission, or run as its owner"
            )

    def _names(self, dest: int) -> None:
        kind = self._abilities.kind
        if kind in WITHOUT_CASE:
            self._tell(
                f"it is on {kind}: names that differ only in case will be one entry, names with one of "
                '\\ : * ? " < > | cannot be made, and owners, modes and links will be lost; consider a tar file'
            )
        elif flags_of(dest) & CASE_FOLDING:
            self._tell("it ignores case (chattr +F): names that differ only in case will be one entry")
        elif self._abilities.case is False:
            self._tell("it ignores case: names that differ only in case will be one entry")

    def _owners(self, dest: int) -> None:
        """Say which owners and groups cannot be kept by a user who is not root."""
        if os.geteuid() == 0:
            return
        rights, there = self._context.rights, os.fstat(dest)
        for index, root in enumerate(self._context.job.sources):
            with self._context.source_tree(index).at(b"") as fd:
                here = os.fstat(fd)
            if here.st_uid != rights.uid:
                whose = f"it belongs to user {here.st_uid}, and its copy will belong to user {rights.uid}"
                self._say(root.path, f"{whose}: only root keeps owners")
            if here.st_gid not in rights.groups:
                imposed = bool(there.st_mode & stat.S_ISGID)
                group = there.st_gid if imposed else os.getegid()
                why = f"that of {printable(self._context.job.destination)} (setgid)" if imposed else "this user's"
                if group != here.st_gid:
                    note = f"this user is not in its group {here.st_gid}: copies will have group {group}, {why}"
                    self._say(root.path, note)

    # --- what was found out by trying

    def _refuse_squashed(self) -> None:
        owner = self._abilities.owner
        if os.geteuid() or not owner:
            return
        whose = "another user" if owner < 0 else f"user {owner}"
        raise FatalError(
            f"what root makes in {printable(self._context.job.destination)} belongs to {whose}: the server does not "
            "let root "
            "be root (root_squash), so no owner could be kept and no copy would be safe; nothing was copied",
            "Run as the owner of the files, or have it exported with no_root_squash.",
        )

    def _losses(self, dest: int) -> None:
        """Say what sources may have that the destination cannot have."""
        found = self._abilities
        acls = _stores(dest, _ACL) if found.acls is None else found.acls is not Acls.NONE
        attributes = _stores(dest, _XATTR) if found.user_attributes is None else found.user_attributes
        capabilities = found.capabilities is not False or os.geteuid() != 0
        lost = []
        for name, attribute, stored in (
            ("ACLs", _ACL, acls),
            ("extended attributes", _XATTR, attributes),
            ("capabilities of files (setcap)", _CAPABILITY, capabilities),
        ):
            if not stored and any(self._stores(index, attribute) for index in range(len(self._context.job.sources))):
                lost.append(name)
        if lost:
            self._tell(
                f"its file system does not store {' and '.join(lost)}: where the sources have some they will be lost; "
                "copy to another place, or keep them in a tar file (tar --acls --xattrs)"
            )

    def _stores(self, index: int, attribute: str) -> bool:
        with self._context.source_tree(index).at(b"") as fd:
            return _stores(fd, attribute)

    # --- while the scan goes on

    def look(self, found: Tally, copied: Tally, waiting: Callable[[], int], done: bool) -> None:
        """Compare what is to be copied with the room there was. Called often. Raises FatalError if that was asked for.

        found: what the sources hold, as far as it was scanned; done: that is all. waiting: how many bytes are known to
        wait to be copied; it takes a moment to tell.
        """
        now = time.monotonic()
        if self._told or not self._rooms or not (now >= self._next or (done and not self._saw_all)):
            return
        self._next, self._saw_all = now + _PAUSE, done
        if not self._fresh and copied.bytes < _ENOUGH:
            return  # for all that is known, what is copied replaces as much
        work = _Work(found, copied, 0 if self._fresh else waiting())
        for room in self._rooms:
            short = self._short_of_bytes(room, work) or self._short_of_inodes(room, work)
            if short:
                self._warn(room, short)
                return

    def _short_of_bytes(self, room: FreeSpace, work: _Work) -> _Short | None:
        if room.bytes is None:
            return None
        need = work.found.bytes if self._fresh else work.copied.bytes + work.waiting
        if self._most is not None:
            need = min(need, self._most)
        if need <= room.bytes or not (self._fresh or self._really_takes(room, work)):
            return None
        return _Short(
            f"{_amount(room.bytes)} free", f"about {_amount(need)}", "if files are sparse or are compressed there"
        )

    def _short_of_inodes(self, room: FreeSpace, work: _Work) -> _Short | None:
        if not self._fresh or room.inodes is None or work.found.entries <= room.inodes:
            return None
        return _Short(
            f"{room.inodes:,} inodes free", f"{work.found.entries:,} entries", "if many are names of one file"
        )

    def _really_takes(self, room: FreeSpace, work: _Work) -> bool:
        """Return whether what waits needs more than there is now, if it takes as much as what was copied did.

        What replaces an older copy takes no room in the end.
        """
        assert room.bytes is not None
        try:
            with self._context.dest.at(b"") as dest:
                now = next((each for each in rooms(dest, os.geteuid(), os.getegid()) if each.whose == room.whose), room)
        except OSError:
            return False  # whoever copies says what is wrong
        left = room.bytes if now.bytes is None else now.bytes
        taken = min(1.0, max(0.0, (room.bytes - left) / work.copied.bytes))
        return work.waiting * taken > left

    def _warn(self, room: FreeSpace, short: _Short) -> None:
        self._told = True
        whose = "the destination" if not room.whose else f"{room.whose} at the destination"
        ends = "No space left on device" if not room.whose else "Disk quota exceeded"
        facts = f"{whose} had {short.free} when it began, and {short.need}, or more, are to be copied"
        if self._options.require_space and not self._options.dry_run:
            raise FatalError(
                f"{facts} to {printable(self._context.job.destination)} (-enes)",
                "What was copied stays. Make room, or copy less (-e), and run it again; it may need less than is said "
                f"here {short.but}: without -enes it is only a warning.",
            )
        self._tell(
            f"{facts}: it will end with '{ends}', unless it needs less {short.but}; make room meanwhile, or copy less "
            "(-e)"
        )

    def _used_by_sources(self) -> int | None:
        """Return how much the file systems of the sources hold: sparse files only look bigger. None: unknown."""
        used: dict[int, int] = {}
        with suppress(OSError):
            for index in range(len(self._context.job.sources)):
                with self._context.source_tree(index).at(b"") as fd:
                    status = os.fstatvfs(fd)
                    used[os.fstat(fd).st_dev] = (status.f_blocks - status.f_bfree) * status.f_frsize
            # 0 is what file systems say that do not know.
            return sum(used.values()) if all(used.values()) else None
        return None


def _may_write(directory: int) -> bool:
    return os.access(b"/proc/self/fd/%d" % directory, os.W_OK | os.X_OK, effective_ids=True)


def _stores(fd: int, attribute: str) -> bool:
    """Return whether an open file or directory may have an attribute."""
    try:
        os.getxattr(fd, attribute)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS)
    return True


def _amount(count: float) -> str:
    """Return bytes as `1.23 GiB`."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.2f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.2f} {_UNITS[-1]}"
