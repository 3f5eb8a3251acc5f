"""Copying content alone: the destination's metadata stays as it is.

A new entry gets what its directory gives: owner, group and ACL as inherited, its permissions through the umask, as with
plain `cp`. A file that is replaced hands its own metadata on, as if it had been written to in place. Times are not set.
So its setuid and setgid bits and its capabilities end, as the kernel ends them when somebody writes to a file: they
were given to the old content.
"""

import os
import stat
from contextlib import suppress

from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.metadata import write, xattrs_of
from hpcp_mpi.vocab.attributes import CAPABILITY, DEFAULT_ACL


def keep_metadata(stage: int, name: bytes, dest: int, target: bytes, hidden: bool) -> None:
    """Give a file in the stage the metadata of the file that it is to replace, if there is one. Raises OSError.

    hidden: the destination does not list ACLs
    """
    new, old = lstat(name, stage), lstat(target, dest)
    if new is None or old is None or not (stat.S_ISREG(new.st_mode) and stat.S_ISREG(old.st_mode)):
        return
    owner = old.st_uid, old.st_gid
    kept = {key: value for key, value in xattrs_of(dest, target, hidden).items() if key != CAPABILITY}
    xattrs = kept, xattrs_of(stage, name, hidden)
    times = new.st_atime_ns, new.st_mtime_ns
    mode = stat.S_IMODE(old.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
    try:
        write(stage, name, new, owner, mode, xattrs, times)
    except PermissionError:
        # It was another user's, and cannot be given to them.
        group = owner[1] if owner[1] in (os.getegid(), *os.getgroups()) else new.st_gid
        now = lstat(name, stage)
        if now is not None:
            xattrs = xattrs[0], xattrs_of(stage, name, hidden)
            write(stage, name, now, (new.st_uid, group), mode, xattrs, times)


def default_acl(directory: int) -> bytes:
    """Return the ACL that a directory gives to what is made in it; b"" for none."""
    with suppress(OSError):
        return os.getxattr(path_of(directory), DEFAULT_ACL)
    return b""


def new_mode(source: os.stat_result) -> int:
    """Return the mode to make a copy with that other ranks will write into."""
    return source.st_mode & 0o777 | 0o600


def drop_writing(stage: int, name: bytes, source: os.stat_result) -> None:
    """Take from a copy that is complete what `new_mode` gave its owner. Raises OSError."""
    surplus = 0o600 & ~source.st_mode
    there = lstat(name, stage)
    if surplus and there is not None and stat.S_ISREG(there.st_mode):
        os.chmod(name, stat.S_IMODE(there.st_mode) & ~surplus, dir_fd=stage)
