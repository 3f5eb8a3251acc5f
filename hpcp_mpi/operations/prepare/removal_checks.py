"""Before anything starts: what a run that removes, moves or keeps backups must not be asked for."""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.host.roots import pin_of
from hpcp_mpi.host.timestamps import ticked
from hpcp_mpi.operations.prepare.arguments import Openings, absolute
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.job import Job, Root
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import child_path, is_within, printable, relative_to


def refuse_removal(landings: Sequence[Landing], roots: Sequence[bytes], root: bytes, options: Options) -> None:
    """Refuse what would remove what it must not. roots: of the sources; root: of the destination. Raises UsageError."""
    if options.compare:
        return
    if options.move and options.directory_only:
        raise UsageError("-do copies no files, so nothing can be moved", "Leave out -do or -rm.")
    if options.move and options.mirror:
        raise UsageError(
            "-rme with -rm: what a run has moved would be extra to the next one, which would remove the only copy",
            "Mirror without -rm, and remove the sources when that is done; or move without -rme.",
        )
    if options.move:
        _refuse_to_move(landings, roots)
    if not options.mirror:
        if options.delete_excluded:
            raise UsageError("--delete-excluded says what -rme removes, and there is no -rme")
        if options.max_delete is not None and not options.move:
            raise UsageError("--max-delete limits what is removed, and nothing is to be")
        return
    if len(landings) == 1 and landings[0].name is not None:
        raise UsageError(
            f"-rme with {printable(landings[0].argument)}, which is no directory: "
            f"all else in {printable(root)} would be extra",
            "Mirror a directory, or leave out -rme.",
        )
    for landing in landings:
        if landing.name is not None:
            continue
        target = child_path(root, landing.target)
        for other, source_root in zip(landings, roots, strict=True):
            source = os.path.realpath(source_root) if other.name is None else child_path(source_root, other.name)
            if _lies_in(source, target):
                raise UsageError(
                    f"the source {printable(source)} lies inside {printable(target)}, which is made a mirror of "
                    f"{printable(landing.argument)}: it could be removed",
                    "Leave out -rme, or copy to another place.",
                )


def _refuse_to_move(landings: Sequence[Landing], roots: Sequence[bytes]) -> None:
    """Refuse sources that cannot go, and those of which it is not clear what is to go. Raises FatalError."""
    for landing, path in zip(landings, roots, strict=True):
        what = printable(landing.argument)
        if landing.name is None and os.path.islink(absolute(landing.argument)):
            raise UsageError(
                f"{what} is a symlink to a directory: is the link to be moved, or what it points to?",
                f"Name the directory {printable(os.path.realpath(path))}; or, to move the link, name it without a "
                "slash, and a destination with one at its end.",
            )
        problem = _unremovable(path)
        if problem:
            raise FatalError(
                f"{what} cannot be moved, as nothing can be removed from {printable(path)}: {problem}",
                "Nothing was copied. Copy without -rm, or see to it that this user may remove there.",
            )


def _unremovable(path: bytes) -> str:
    """Return why this user can remove nothing from a directory, "" if they may. Raises OSError."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS)
    user = os.geteuid()
    if os.access(path, os.W_OK | os.X_OK, effective_ids=True) or (user and os.stat(path).st_uid == user):
        return ""  # an owner can have the rights
    return os.strerror(errno.EPERM if user == 0 else errno.EACCES)


def _lies_in(path: bytes, directory: bytes) -> bool:
    """Return whether path is directory or below it. Symlinks are resolved, but for the last component of path."""
    parent, name = os.path.split(path.rstrip(b"/") or b"/")
    return is_within(child_path(os.path.realpath(parent or b"."), name), os.path.realpath(directory))


def backup_path(root: bytes, options: Options) -> bytes:
    """Return the absolute path of the backup directory, symlinks resolved; b"" without one. Raises UsageError."""
    if not options.backup_dir:
        return b""
    path = os.path.realpath(os.path.join(root, options.backup_dir))
    if _lies_in(root, path):
        raise UsageError(
            f"the destination {printable(root)} lies inside the backup directory {printable(path)}",
            "Keep backups in a directory below the destination, or beside it.",
        )
    return path


def refuse_backup(path: bytes, landings: Sequence[Landing], roots: Sequence[bytes], root: bytes) -> bytes:
    """Return the backup directory relative to the destination root, b"" where it is not below it.

    roots: of the sources. Raises UsageError, FatalError.
    """
    relative = relative_to(path, os.path.realpath(root)) or b""
    for landing, source_root in zip(landings, roots, strict=True):
        contents = landing.name is None
        source = os.path.realpath(source_root) if contents else child_path(source_root, landing.name or b"")
        own = relative_to(relative, landing.dest_dir) if contents and relative else None
        if (own is not None and os.path.lexists(child_path(source, own))) or (relative and relative == landing.target):
            raise UsageError(
                f"{printable(landing.argument)} has what would land in the backup directory {printable(path)}",
                "Keep backups under another name.",
            )
        if _lies_in(path, source) or _lies_in(source, path):
            raise UsageError(
                f"the source {printable(source)} and the backup directory {printable(path)} lie in each other"
            )
    existing = path
    while not os.path.isdir(existing):
        if os.path.lexists(existing):
            raise UsageError(f"{printable(existing)} is no directory, so no backups can be kept there")
        existing = os.path.dirname(existing)
    if os.path.isdir(root) and os.stat(existing).st_dev != os.stat(root).st_dev:
        raise _elsewhere(path)
    return relative


def _elsewhere(path: bytes) -> FatalError:
    return FatalError(
        f"the backup directory {printable(path)} is on another file system than the destination",
        "Backups are made without copying anything, so they have to be on the same one.",
    )


def make_backup(openings: Openings, path: bytes, relative: bytes, root: Root) -> Root:
    """Make the backup directory; return it. root: of the destination. Raises FatalError."""
    try:
        if not relative:
            return openings.make(path)
        return openings.make_below(pin_of(root), path, relative.split(b"/"))
    except OSError as error:
        raise FatalError(f"cannot make the backup directory {printable(path)}: {reason_of(error)}") from None


def with_removal(job: Job, openings: Openings, backup: bytes, relative: bytes) -> Job:
    """Return the job with what removing, moving and backups need. backup: absolute path, b"": none; relative: the same
    below the destination root.

    Raises FatalError.
    """
    if job.options.dry_run or job.destination_root is None or not (backup or job.options.move):
        return replace(job, backup_path=relative)
    made = make_backup(openings, backup, relative, job.destination_root) if backup else None
    if made is not None and made.device != job.destination_root.device:
        raise _elsewhere(backup)
    return replace(job, backup=made, backup_path=relative, start_ctime_ns=_began_ns(job, job.destination_root))


def _began_ns(job: Job, destination: Root) -> tuple[int, ...]:
    """Return what the clocks of the file systems say, of each source and last of the destination."""
    known: dict[bytes, int] = {}
    began: list[int] = []
    for root in (*job.sources, destination):
        if root is not destination and not job.options.move:
            began.append(0)
            continue
        if root.path not in known:
            known[root.path] = _began(root, job.run_id)
        began.append(known[root.path])
    return tuple(began)


def _began(root: Root, token: str) -> int:
    with suppress(OSError):
        pin = pin_of(root)
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=pin.fd)
        try:
            return ticked(fd, f"{token}.0")
        finally:
            os.close(fd)
    return 0  # listing it reports the error; until then everything there was changed since
