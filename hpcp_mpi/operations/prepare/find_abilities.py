"""What the file systems of a job can do: of the destination by trying once, of the sources by what they are."""

import os
from collections.abc import Iterable
from dataclasses import replace

from hpcp_mpi.host.abilities import deduced, hides_acls, probed
from hpcp_mpi.host.mounts import type_of
from hpcp_mpi.host.roots import pin_of
from hpcp_mpi.vocab.abilities import Abilities, Acls, StoredTimes
from hpcp_mpi.vocab.job import Root
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.units import DEST

_ANY_TIME = 1 << 62  # ns: a window in which all times are equal


def abilities_of(root: Root, options: Options, token: str) -> Abilities:
    """Return what the file system of an existing destination can do.

    A dry run and a compare make nothing at all: then some of it is only deduced.
    token: of a stage that may be made
    """
    found = _found(root, options, token)
    if options.content_only:
        return replace(found, times=StoredTimes(mtime_tolerance_ns=_ANY_TIME))
    exact = options.strict_metadata and options.compare
    return replace(
        found, times=replace(found.times, mtime_tolerance_ns=round(options.modify_window * 1e9), exact=exact)
    )


def _found(root: Root, options: Options, token: str) -> Abilities:
    kind = ""
    try:
        pin = pin_of(root)
        kind = type_of(pin.fd)
    except OSError:
        pass
    try:
        fd = _readable(root)
    except OSError:
        return Abilities(kind)  # not readable at its root; if that matters, the copy says so
    try:
        if not (options.compare or options.dry_run):
            try:
                return probed(fd, kind, f"{token}.0")
            except PermissionError as refusal:
                if os.geteuid() == 0 and refusal.strerror and "uid" in refusal.strerror:
                    return Abilities(kind, owner=-1)
            except OSError:
                pass  # not writable at its root, or not to be written to; if that matters, the copy says so
        return deduced(fd, kind)
    except OSError:
        return Abilities(kind)
    finally:
        os.close(fd)


def _readable(root: Root) -> int:
    """Return a new descriptor of a root that can be listed. Raises OSError."""
    pin = pin_of(root)
    return os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=pin.fd)


def hiding(sources: Iterable[Root], destination: Root | None, found: Abilities) -> frozenset[int]:
    """Return which source roots, or DEST, may have ACLs that are not listed.

    found: what the destination can do; that holds for sources of the same file system too, if it was tried.
    """
    known: dict[int, bool] = {}
    hidden: set[int] = set()
    if destination is not None:
        if found.acls is Acls.HIDDEN:
            hidden.add(DEST)
        if found.acls is not None and found.tried:
            known[destination.device] = found.acls is Acls.HIDDEN
    for index, root in enumerate(sources):
        device = root.device
        if device not in known:
            known[device] = _hides(root)
        if known[device]:
            hidden.add(index)
    return frozenset(hidden)


def _hides(root: Root) -> bool:
    try:
        pin = pin_of(root)
        kind = type_of(pin.fd)
        fd = _readable(root)
    except OSError:
        return True  # then it is asked for
    try:
        return hides_acls(fd, kind)
    finally:
        os.close(fd)
