"""The rule for differences between an entry and its copy, and the letters in which they are printed; on every rank.

`itemize` speaks the language of `rsync --itemize-changes`, because everyone reads it already.
"""

import os
import stat

from hpcp_mpi.vocab.abilities import StoredTimes

NEW = "+++++++++"
_LETTERS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "L",
    stat.S_IFCHR: "D",
    stat.S_IFBLK: "D",
    stat.S_IFIFO: "S",
    stat.S_IFSOCK: "S",
}
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def maybe_identical(source: os.stat_result, dest: os.stat_result, times: StoredTimes) -> bool:
    """Return whether dest may be a true copy of source, as far as `lstat` shows: content is not read.

    False: it needs a copy. Symlinks are compared by target elsewhere; their times are metadata.
    times: the times that the file system of dest can store
    """
    kind = stat.S_IFMT(source.st_mode)
    if kind != stat.S_IFMT(dest.st_mode):
        return False
    if kind == stat.S_IFREG:
        return source.st_size == dest.st_size and times.same(source.st_mtime_ns, dest.st_mtime_ns)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return source.st_rdev == dest.st_rdev
    return True


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether an entry is what an overlay file system puts in the place of one that was removed."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Rights:
    """The owners and modes that this user may set, so which of them can be equal at all.

    `cp -a` drops setuid, setgid and a file's sticky bits where it cannot set the owner: they would mean another user.
    """

    def __init__(self, uid: int, groups: frozenset[int]) -> None:
        self.uid = uid
        self.groups = groups

    def owner(self, source: os.stat_result, dest: os.stat_result) -> tuple[int, int]:
        """Return the (uid, gid) that dest should have."""
        if self.uid == 0:
            return source.st_uid, source.st_gid
        may_set = source.st_gid in self.groups and dest.st_uid == self.uid
        return dest.st_uid, source.st_gid if may_set else dest.st_gid

    def mode(self, source: os.stat_result, dest: os.stat_result) -> int:
        """Return the permission bits that dest should have."""
        mode = stat.S_IMODE(source.st_mode)
        if self.owner(source, dest) != (source.st_uid, source.st_gid):
            # A directory stays sticky, as with cp: without the bit all users could remove each other's files there.
            mode &= ~SPECIAL_BITS | (stat.S_ISVTX if stat.S_ISDIR(dest.st_mode) else 0)
        if self.uid and stat.S_ISDIR(dest.st_mode):
            # Inherited from its parent: it keeps a project's files in the project's group.
            mode |= dest.st_mode & stat.S_ISGID
        return mode


def metadata_changes(
    source: os.stat_result, dest: os.stat_result, times: StoredTimes, rights: Rights, xattrs: str = ""
) -> str:
    """Return the attributes in which dest differs from source, in rsync's letters `tpogax`; "" when equal.

    xattrs: the letters `a` (ACL) and `x` (other attributes) where the caller found those to differ.
    """
    changes = ""
    if not times.same(source.st_mtime_ns, dest.st_mtime_ns):
        changes += "t"
    if not stat.S_ISLNK(source.st_mode) and rights.mode(source, dest) != stat.S_IMODE(dest.st_mode):
        changes += "p"
    uid, gid = rights.owner(source, dest)
    if uid != dest.st_uid:
        changes += "o"
    if gid != dest.st_gid:
        changes += "g"
    return changes + xattrs


def letter(mode: int) -> str:
    """Return rsync's letter for the type of an entry. Raises KeyError for a mode without a type."""
    return _LETTERS[stat.S_IFMT(mode)]


def change_letters(update: str, mode: int, changes: str) -> str:
    """Return rsync's eleven characters: update (`>`, `c`, `h`, `.`), type, then `cstpoguax` or `+++++++++`."""
    if changes != NEW:
        changes = "".join(which if which in changes else "." for which in "cstpoguax")
    return update + letter(mode) + changes
