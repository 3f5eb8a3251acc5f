"""Before anything starts: what was meant, and is it safe? Everything is refused here that would be wrong later."""

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from hpcp_mpi.host.mounts import is_called, stale_seconds, type_of
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.host.roots import PATH, Pin, asked, chain_of, real_path
from hpcp_mpi.operations.prepare.arguments import Openings, absolute, expanded
from hpcp_mpi.operations.prepare.effective_options import tuned
from hpcp_mpi.operations.prepare.find_abilities import abilities_of, hiding
from hpcp_mpi.operations.prepare.removal_checks import backup_path, refuse_backup, refuse_removal, with_removal
from hpcp_mpi.operations.prepare.same_tree import refuse_itself
from hpcp_mpi.operations.prepare.tools import find
from hpcp_mpi.rules import excludes
from hpcp_mpi.rules.landing import Landing, Type, own_name, place_at, place_sources
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.job import Job, Root
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
    # With places they are names already.
    named = options.places is not None
    arguments = list(sources) if named else [name for pattern in sources for name in expanded(pattern)]
    if not arguments:
        raise UsageError("no source was given")
    types = {name: type_of_source(name) for name in arguments}
    typed = [(name, types[name]) for name in arguments]
    if options.places is not None:
        root, landings = destination, place_at(typed, options.places)
    else:
        root, landings = place_sources(typed, destination, os.path.isdir(destination))
    root = absolute(root)
    # From here on it is descriptors that count: what was put under a name since then is not what was checked.
    openings = Openings()
    nearest, missing = _nearest(openings, root)
    if not options.make_destination:
        for place in (root, *(child_path(root, each.target) for each in landings if each.name is None)):
            if missing or not os.path.isdir(place):
                raise NoDestination(f"the destination {printable(place)} does not exist", "Make it, or leave out -ncd.")
    _refuse_other_file_systems(nearest.fd, root, options.file_system)
    source_paths = [absolute(landing.source_root) for landing in landings]
    source_roots = [
        _source(openings, landing, path, types) for landing, path in zip(landings, source_paths, strict=True)
    ]
    real_root = child_path(real_path(nearest.fd), join(*missing))
    real_sources = [asked(source, real_path) for source in source_roots]
    for landing, source in zip(landings, source_roots, strict=True):
        _refuse_nesting(landing, source, child_path(root, landing.target), (nearest.fd, missing), options, listed)
    merged = _merged(landings, source_paths)
    refuse_removal(landings, real_sources, real_root, options)
    backup = backup_path(real_root, options)
    in_root = refuse_backup(backup, landings, real_sources, real_root) if backup else b""
    with openings.undone_if_refused():
        # Here, as what its file system can do is found out in it.
        settled = not listed and any(landing.name is None and not landing.dest_dir for landing in landings)
        private = settled and options.directory_sync
        destination_root = None if missing and options.dry_run else _made(openings, root, private)
        token = os.urandom(4).hex()
        if options.move and not options.dry_run:
            refuse_itself(landings, source_paths, root, token, lambda path: _is_excluded(path, options))
        abilities = abilities_of(destination_root, options, token) if destination_root else Abilities()
        job = Job(
            options=options,
            sources=tuple(source_roots),
            destination=root,
            destination_root=destination_root,
            merged=merged,
            abilities=abilities,
            run_id=token,
            landed=tuple(landing.dest_dir if landing.name is None else None for landing in landings),
            targets=frozenset(landing.target for landing in landings) - {b""},
            stale_seconds=asked(destination_root, stale_seconds) if destination_root else 0.0,
            hides_acls=hiding(source_roots, destination_root, abilities),
        )
        job = with_removal(job, openings, backup, in_root)
    return Prepared(job, landings, bool(missing) and not options.dry_run)


def _nearest(openings: Openings, root: bytes) -> tuple[Pin, list[bytes]]:
    """Return the last directory on the way to the destination that is there, and the names below it. Raises OSError."""
    try:
        return openings.nearest(root)
    except NotADirectoryError:
        raise FatalError(f"the destination {printable(root)} is not a directory") from None


def _source(openings: Openings, landing: Landing, path: bytes, types: dict[bytes, Type]) -> Root:
    """Return a source root. Raises FatalError."""
    # What was a directory a moment ago, and no symlink, must still be.
    itself = landing.name is None and types[landing.argument] is Type.DIRECTORY and own_name(landing.argument) != b""
    try:
        return openings.open(path, itself)
    except OSError as error:
        raise FatalError(
            f"cannot use the source {printable(landing.argument)}: {reason_of(error)}", "Nothing was copied."
        ) from None


def type_of_source(argument: bytes, undone: str = "Nothing was copied.") -> Type:
    """Return what a source argument is. Raises FatalError. undone: says that nothing was done"""
    try:
        own = os.lstat(argument)
    except OSError as error:
        raise FatalError(f"cannot use the source {printable(argument)}: {reason_of(error)}", undone) from None
    if stat.S_ISDIR(own.st_mode):
        return Type.DIRECTORY
    return Type.DIRECTORY_LINK if stat.S_ISLNK(own.st_mode) and os.path.isdir(argument) else Type.OTHER


def _refuse_nesting(
    landing: Landing,
    source_root: Root,
    target: bytes,
    below: tuple[int, list[bytes]],
    options: Options,
    listed: bool,
) -> None:
    """Refuse a copy of something into itself or over what it lies in.

    target: the path that it gets. below: a directory that is open, and what of the destination root is missing in it
    """
    own = asked(source_root, chain_of)
    source = source_root.path if landing.name is None else child_path(source_root.path, landing.name)
    if landing.name is not None:
        there = _chain_below(*below, os.path.dirname(landing.target))
        same_parent = there is not None and there[0] == own[0]
        if same_parent and os.path.basename(source) == os.path.basename(target):
            raise UsageError(f"{printable(source)} is the source and the destination")
        return
    there = _chain_below(*below, landing.target)
    if there is not None and there[0] == own[0]:
        raise UsageError(f"{printable(source)} is the source and the destination")
    if options.compare:
        return
    above = there[1:] if there is not None else chain_of(below[0])
    if own[0] in above and not _is_excluded(target, options) and not listed:
        raise UsageError(
            f"the destination {printable(target)} lies inside the source {printable(source)}: a copy would copy itself",
            f"Exclude it with -e {printable(target)}, or copy to another place.",
        )
    # With places the source is a mount of this run's own, which a copy to `/` leaves alone.
    if there is not None and there[0] in own[1:] and options.places is None:
        raise UsageError(
            f"the source {printable(source)} lies inside the destination {printable(target)}: it could be overwritten",
            "Copy to another place.",
        )


def _chain_below(fd: int, missing: list[bytes], path: bytes) -> list[tuple[int, int]] | None:
    """Return (device, inode) of a directory below the destination root and of those it lies in; None if it is missing.

    A symlink there is followed here only: what it leads to is not copied over itself.
    """
    if missing:
        return None
    with ExitStack() as stack:
        for name in path.split(b"/") if path else ():
            try:
                fd = os.open(name, PATH, dir_fd=fd)
            except OSError:
                return None
            stack.callback(os.close, fd)
        return chain_of(fd)


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


def _refuse_other_file_systems(nearest: int, root: bytes, wanted: str) -> None:
    """Refuse a destination that is not, or would not be, on the type of file system that was asked for.

    nearest: a descriptor of it, or of the directory in which it would be made
    """
    if not wanted:
        return
    try:
        found = type_of(nearest)
    except OSError as error:
        raise FatalError(
            f"cannot tell the file system of {printable(root)}: {reason_of(error)}", "Leave out -tfs."
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


def _made(openings: Openings, root: bytes, private: bool) -> Root:
    """Make the destination root and what is missing above it; return it. Raises FatalError.

    private: it is for no other user until it is settled
    """
    try:
        return openings.make(root, 0o700 if private else 0o777)
    except OSError as error:
        raise FatalError(f"cannot make the destination {printable(root)}: {reason_of(error)}") from None
