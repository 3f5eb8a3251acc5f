"""Which extended attributes belong to a file and are copied with it, and which to the place where it is.

The one table of them, for all that compares, writes, digests or removes attributes. What belongs to a place is neither
a difference nor to be removed: removing `trusted.SGI_ACL_FILE`, as which XFS shows root a file's ACL,
removes the ACL. `cp -a` leaves such names too, as far as /etc/xattr.conf has them.
"""

import errno
from collections.abc import Iterable
from functools import lru_cache

ACL = b"system.posix_acl_"
ACCESS_ACL, DEFAULT_ACL = ACL + b"access", ACL + b"default"
CAPABILITY = b"security.capability"

# Names that begin like one of these belong to the place.
_OF_THE_PLACE = (
    # labels and signatures that the system gives to each file
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    # XFS shows root its ACLs, capabilities and labels a second time, in its own form
    b"trusted.SGI_",
    b"xfsroot.",
    # Lustre: layouts and identities
    b"lustre.",
    b"trusted.lov",
    b"trusted.lma",
    b"trusted.lmv",
    b"trusted.link",
    b"trusted.fid",
    b"trusted.hsm",
    b"trusted.som",
    b"trusted.dmv",
    # GlusterFS, as on its bricks
    b"trusted.glusterfs.",
    b"trusted.gfid",
    b"trusted.afr.",
    b"trusted.ec.",
    b"trusted.pgfid.",
    b"trusted.bit-rot.",
    # others
    b"trusted.overlay.",
    b"btrfs.",
    b"user.Beagle.",
    b"ceph.",
    b"gpfs.",
    b"afs.",
    b"system.ntfs_",
    # ACLs of other kinds than POSIX: they name users of their own server, and only its clients can set them
    b"system.nfs4",
    b"system.richacl",
    b"system.cifs_",
    b"system.smb3_",
)
# What a file system says that will not have an attribute, also the next time: none of this kind, not from this user,
# too big. A full disk is another matter (host/metadata).
REFUSALS = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EPERM,
        errno.EINVAL,
        errno.ENOSPC,
        errno.E2BIG,
        errno.ERANGE,
        errno.ENAMETOOLONG,
    }
)
_SHORTEST_ACL = 28  # bytes: owner, group and others, who are the mode


@lru_cache(maxsize=1024)
def is_carried(name: str | bytes) -> bool:
    """Return whether an attribute belongs to a file, and not to the place where that is."""
    return not (name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")).startswith(_OF_THE_PLACE)


def kind_of(name: bytes) -> str:
    """Return what an attribute is one of, in words."""
    if name.startswith(ACL):
        return "ACLs"
    space, _, _ = name.partition(b".")
    return "capabilities" if name == CAPABILITY else f"attributes {space.decode('ascii', 'replace')}.*"


def any_carried(names: Iterable[str]) -> bool:
    """Return whether one of the attributes that a file system lists belongs to the file."""
    return any(map(is_carried, names))


def any_privileged(names: Iterable[bytes]) -> bool:
    """Return whether one of the attributes of a file gives it rights, or only root may give it."""
    return any(name.startswith((b"security.", b"trusted.")) for name in names)


def says_more_than_mode(name: bytes, value: bytes) -> bool:
    """Return whether an ACL says anything that a mode does not: most file systems show none that does not."""
    return name != ACCESS_ACL or len(value) > _SHORTEST_ACL
