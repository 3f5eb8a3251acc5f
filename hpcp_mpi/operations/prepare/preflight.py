"""What will go wrong is said before hours are spent, not after: once, with what will happen and what to do.

Some system calls show whether the destination can be written to and can keep what the sources have. How much room
there is, is compared with what the scan finds, during it: `space_watch`.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.free_space import APPEND_ONLY, CASE_FOLDING, IMMUTABLE, flags_of, rooms
from hpcp_mpi.host.mounts import WITHOUT_CASE
from hpcp_mpi.operations.prepare.space_watch import SpaceWatch
from hpcp_mpi.vocab.abilities import Acls
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import child_path, printable

_ACL = "system.posix_acl_access"
_XATTR = "user.hpcp-mpi"
_CAPABILITY = "security.capability"

Say = Callable[[bytes, str], None]


class Preflight:
    """Rank 0's. say: takes (path, what a reader should know)."""

    def __init__(self, context: JobContext, say: Say) -> None:
        self._context = context
        self._options = context.options
        self._abilities = context.job.abilities
        self._say = say
        self._space: SpaceWatch | None = None

    def check(self) -> SpaceWatch | None:
        """Look at the destination; return what watches the room there, if there is any to watch.

        Raises FatalError if nothing could be copied to it.
        """
        if self._context.job.destination_root is None:
            return None  # a dry run
        try:
            self._look()
        except OSError as error:
            self._warn(f"cannot be checked in advance: {reason_of(error)}")
        return self._space

    def _look(self) -> None:
        for name, note in self._abilities.left:
            self._say(child_path(self._context.job.destination, name), note)
        with self._context.dest.at(b"") as dest:
            free = rooms(dest, os.geteuid(), os.getegid())
            fresh = False
            with suppress(OSError), os.scandir(dest) as entries:
                fresh = next(entries, None) is None
            if not self._options.grows:
                self._space = SpaceWatch(self._context, self._warn, free, fresh, self._used_by_sources())
            self._refuse_read_only(dest)
            self._writable(dest)
            self._names(dest)
            if not self._options.content_only:
                self._owners(dest)
            self._refuse_squashed()
            if not self._options.content_only:
                self._losses(dest)

    def _warn(self, note: str) -> None:
        self._say(self._context.job.destination, note)

    def _refuse_read_only(self, dest: int) -> None:
        if not os.fstatvfs(dest).f_flag & os.ST_RDONLY:
            return
        if self._options.grows and self._options.dry_run:
            return  # an image, which is mounted for writing by a real run
        if not self._options.dry_run:
            raise FatalError(
                f"the destination {printable(self._context.job.destination)} is mounted read-only; nothing was copied",
                "Mount it for writing (mount -o remount,rw ...), or copy to another place.",
            )
        self._warn("it is mounted read-only: a real run will refuse to start")

    def _writable(self, dest: int) -> None:
        flags = flags_of(dest)
        if flags & IMMUTABLE:
            self._warn("it is immutable: nothing can be made in it, only in directories below it; see chattr -i")
        elif flags & APPEND_ONLY:
            self._warn("it is append-only: nothing in it can get its name, and copies into it will fail; see chattr -a")
        elif os.fstat(dest).st_uid != os.geteuid() and not _may_write(dest):
            self._warn(
                "this user may not write in it: what is to be made in it will fail, in directories below it perhaps "
                "not; get write permission, or run as its owner"
            )

    def _names(self, dest: int) -> None:
        kind = self._abilities.kind
        if kind in WITHOUT_CASE:
            self._warn(
                f"it is on {kind}: names that differ only in case will be one entry, names with one of "
                '\\ : * ? " < > | cannot be made, and owners, modes and links will be lost; consider a tar file'
            )
        elif flags_of(dest) & CASE_FOLDING:
            self._warn("it ignores case (chattr +F): names that differ only in case will be one entry")
        elif self._abilities.case is False:
            self._warn("it ignores case: names that differ only in case will be one entry")

    def _owners(self, dest: int) -> None:
        """Warn of owners and groups that a user who is not root cannot keep."""
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
        """Warn of attributes that sources have and the destination cannot store."""
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
            self._warn(
                f"its file system does not store {' and '.join(lost)}: where the sources have some they will be lost; "
                "copy to another place, or keep them in a tar file (tar --acls --xattrs)"
            )

    def _stores(self, index: int, attribute: str) -> bool:
        with self._context.source_tree(index).at(b"") as fd:
            return _stores(fd, attribute)

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
