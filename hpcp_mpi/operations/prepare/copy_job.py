"""Before anything starts: what was meant, and is it safe? Everything is refused here that would be wrong later."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from hpcp_mpi.host.mounts import is_called, stale_seconds, type_of
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.operations.prepare.arguments import absolute, expanded, removed_if_refused, root_of
from hpcp_mpi.operations.prepare.effective_options import tuned
from hpcp_mpi.operations.prepare.find_abilities import abilities_of, hiding
from hpcp_mpi.operations.prepare.removal_checks import backup_path, refuse_backup, refuse_removal, with_removal
from hpcp_mpi.operations.prepare.tools import find
from hpcp_mpi.rules import excludes
from hpcp_mpi.rules.landing import Landing, Type, place_sources
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import child_path, join, printable


@dataclass(frozen=True, slots=True)
class Prepared:
    """A copy that may start."""

    job: Job
    landings: list[Landing]
    made_root: bool  # the destination root was made just now


class NoDestination(FatalError):
    """The destination does not exist, and it was asked not to make it."""


def prepare(sources: Iterable[bytes], destination: bytes, options: Options, listed: bool = False) -> Prepared:
    """Check and place the sources; make the destination. Raises FatalError, and nothing was done then.

    listed: only what a list names is copied from a source.
    Where the destination does not exist and is not to be made: NoDestination.
    """
    sources = list(sources)
    try:
        return retried(lambda: _prepare(sources, destination, options, listed))
    except OSError as error:
        raise FatalError(
            f"cannot check the copy to {printable(destination)}: {reason_of(error)}",
            "Nothing was copied.",
        ) from None


def _prepare(sources: Iterable[bytes], destination: bytes, options: Options, listed: bool) -> Prepared:
    """Return what prepare() does. Raises OSError, too."""
    options = tuned(options)
    if find("cp") is None:
        raise FatalError("there is no cp on this machine", "Install GNU coreutils.")
    arguments = [name for pattern in sources for name in expanded(pattern)]
    if not arguments:
        raise UsageError("no source was given")
    root, landings = place_sources([(name, _type(name)) for name in arguments], destination, os.path.isdir(destination))
    root = absolute(root)
    if os.path.lexists(root) and not os.path.isdir(root):
        raise FatalError(f"the destination {printable(root)} is not a directory")
    if not options.make_destination:
        for place in (root, *(child_path(root, each.target) for each in landings if each.name is None)):
            if not os.path.isdir(place):
                raise NoDestination(f"the destination {printable(place)} does not exist", "Make it, or leave out -ncd.")
    _refuse_other_file_systems(root, options.file_system)
    source_roots = [absolute(landing.source_root) for landing in landings]
    for landing, source in zip(landings, source_roots, strict=True):
        _refuse_nesting(landing, source, child_path(root, landing.target), options, listed)
    merged = _merged(landings, source_roots)
    refuse_removal(landings, source_roots, root, options)
    backup = backup_path(root, options)
    in_root = refuse_backup(backup, landings, source_roots, root) if backup else b""
    with removed_if_refused(*() if options.dry_run else (root, backup)):
        made = not options.dry_run and _make(root)  # here, as what its file system can do is found out in it
        token = os.urandom(4).hex()
        exists = os.path.isdir(root)
        abilities = abilities_of(root, options, token) if exists else Abilities()
        job = Job(
            options=options,
            sources=tuple(root_of(path) for path in source_roots),
            destination=root,
            destination_root=root_of(root) if exists else None,
            merged=merged,
            abilities=abilities,
            run_id=token,
            landed=tuple(landing.dest_dir if landing.name is None else None for landing in landings),
            targets=frozenset(landing.target for landing in landings) - {b""},
            stale_seconds=stale_seconds(root) if exists else 0.0,
            hides_acls=hiding(source_roots, root if exists else None, abilities),
        )
        job = with_removal(job, backup, in_root)
    return Prepared(job, landings, made)


def _type(argument: bytes) -> Type:
    try:
        own = os.lstat(argument)
    except OSError as error:
        raise FatalError(
            f"cannot use the source {printable(argument)}: {reason_of(error)}", "Nothing was copied."
        ) from None
    if stat.S_ISDIR(own.st_mode):
        return Type.DIRECTORY
    return Type.DIRECTORY_LINK if stat.S_ISLNK(own.st_mode) and os.path.isdir(argument) else Type.OTHER


def _refuse_nesting(landing: Landing, source_root: bytes, target: bytes, options: Options, listed: bool) -> None:
    """Refuse a copy of something into itself or over what it lies in."""
    source = source_root if landing.name is None else child_path(source_root, landing.name)
    if landing.name is not None:
        same_parent = _inode(source_root) == _inode(os.path.dirname(target))
        if same_parent and os.path.basename(source) == os.path.basename(target):
            raise UsageError(f"{printable(source)} is the source and the destination")
        return
    own = _inode(source)
    if own == _inode(target):
        raise UsageError(f"{printable(source)} is the source and the destination")
    if options.compare:
        return
    if own in _ancestors(target) and not _is_excluded(target, options) and not listed:
        raise UsageError(
            f"the destination {printable(target)} lies inside the source {printable(source)}: a copy would copy itself",
            f"Exclude it with -e {printable(target)}, or copy to another place.",
        )
    if _inode(target) in _ancestors(source):
        raise UsageError(
            f"the source {printable(source)} lies inside the destination {printable(target)}: it could be overwritten",
            "Copy to another place.",
        )


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _ancestors(path: bytes) -> set[tuple[int, int] | None]:
    """Return the inodes of the directories that path lies in, as far as they exist. Symlinks are resolved."""
    at = os.path.realpath(path)
    found = set()
    while at != b"/":
        at = os.path.dirname(at)
        found.add(_inode(at))
    return found - {None}


def _is_excluded(path: bytes, options: Options) -> bool:
    excluded = excludes.matcher(options.all_excludes)
    while excluded is not None and path != b"/":
        if excluded(path, True):
            return True
        path = os.path.dirname(path)
    return False


def _merged(landings: list[Landing], source_roots: list[bytes]) -> frozenset[bytes]:
    """Return the directories that several sources have. Raises UsageError where they have the same file."""
    contents = [root for landing, root in zip(landings, source_roots, strict=True) if not landing.target]
    named = {landing.target: landing.argument for landing in landings if landing.target}
    merged: set[bytes] = set()
    waiting = [(b"", contents)] if len(landings) > 1 else []
    while waiting:
        directory, sources = waiting.pop()
        merged.add(directory)
        places: dict[bytes, list[bytes]] = {}
        for source in sources:
            for name in _names(source):
                places.setdefault(name, []).append(child_path(source, name))
        for name, paths in places.items():
            if not directory and name in named:
                paths = [*paths, named[name]]
            if len(paths) == 1:
                continue
            if named.get(name) in paths or not all(_is_directory(path) for path in paths):
                raise UsageError(
                    f"{printable(paths[0])} and {printable(paths[1])} would both land on "
                    f"{printable(join(directory, name))} "
                    "in the destination",
                    "Copy them one after the other, or into different directories.",
                )
            waiting.append((join(directory, name), paths))
    return frozenset(merged)


def _refuse_other_file_systems(root: bytes, wanted: str) -> None:
    """Refuse a destination that is not, or would not be, on the type of file system that was asked for."""
    if not wanted:
        return
    there = root
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    try:
        found = type_of(there)
    except OSError as error:
        raise FatalError(
            f"cannot tell the file system of {printable(there)}: {reason_of(error)}", "Leave out -tfs."
        ) from None
    if not is_called(found, wanted):
        raise FatalError(
            f"the destination {printable(root)} is on {found}, not on {wanted} (-tfs)",
            "Is the file system mounted that it is meant for?",
        )


def _names(directory: bytes) -> list[bytes]:
    with suppress(OSError):  # the scan will say why
        return os.listdir(directory)
    return []


def _is_directory(path: bytes) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def _make(root: bytes) -> bool:
    """Make the destination root and what is missing above it; return whether it was missing."""
    if os.path.isdir(root):
        return False
    try:
        os.makedirs(root, exist_ok=True)
    except OSError as error:
        raise FatalError(f"cannot make the destination {printable(root)}: {reason_of(error)}") from None
    return True
