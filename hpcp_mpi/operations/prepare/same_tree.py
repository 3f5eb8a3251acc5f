"""Is a source the destination itself, seen through another mount? Asked with a marker: what is made in one shows up in
the other.

Neither paths nor inode numbers tell: a bind mount has another path, FUSE and overlay file systems have numbers of their
own. A move would take its source for its copy, and remove the only one. A new name is cached nowhere.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.host.stage import staged
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import child_path, printable


def refuse_itself(
    landings: Sequence[Landing], roots: Sequence[bytes], root: bytes, token: str, excluded: Callable[[bytes], bool]
) -> None:
    """Refuse to move a source that is, holds, or lies in its place in the destination. Raises UsageError.

    roots: of the sources; root: of the destination; both exist. token: of markers. excluded: says whether a path is
    """
    for landing, source in zip(landings, roots, strict=True):
        if landing.name is not None:
            there = child_path(root, landing.dest_dir)
            if landing.name == os.path.basename(landing.target) and _is_same(source, there, token):
                raise UsageError(
                    f"{printable(landing.argument)} is, through another mount, its place in the destination"
                )
            continue
        place = child_path(root, landing.target)
        exists = os.path.isdir(place)
        place = place if exists else root
        what = f"{printable(landing.argument)} is, through another mount,"
        with _marker(source, token) as name:
            if name and _shows(place, name):
                raise UsageError(f"{what} the destination {printable(place)} itself: it would be removed")
            if name and not excluded(place) and any(_shows(above, name) for above in _above(place)):
                raise UsageError(f"{what} a directory that holds the destination {printable(place)}")
        with _marker(place if exists else b"", token) as name:
            if name and any(_shows(above, name) for above in (source, *_above(source))):
                raise UsageError(f"{what} in the destination {printable(place)}, or that itself: it would be removed")


def _is_same(one: bytes, other: bytes, token: str) -> bool:
    """Return whether what is made in one directory shows up in the other. An overlay shows that in one way only."""
    for here, there in ((one, other), (other, one)):
        with _marker(here, token) as name:
            if name and _shows(there, name):
                return True
    return False


@contextmanager
def marked(context: JobContext) -> Iterator[None]:
    """Mark the destination for the time of the block: where a source shows the marker, it is the destination."""
    root = context.job.destination_root
    if root is None:
        yield
        return
    with _marker(root.path, context.run_id):
        yield


@contextmanager
def _marker(directory: bytes, token: str) -> Iterator[bytes]:
    """Yield the name of a new directory in a directory, whose times stay; b"" where none can be made."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield b""
        return
    try:
        before = os.fstat(fd)
        made = staged(fd, token, lambda name, note: None)
        try:
            stage = made.__enter__()
        except OSError:
            yield b""
            return
        try:
            yield os.path.basename(os.readlink(path_of(stage)))
        finally:
            made.__exit__(None, None, None)
            with suppress(OSError):  # it may belong to another user
                os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)


def _shows(directory: bytes, name: bytes) -> bool:
    return os.path.lexists(child_path(directory, name))


def _above(path: bytes) -> Iterator[bytes]:
    """Yield the directories that path really lies in."""
    at = os.path.realpath(path)
    while at != b"/":
        at = os.path.dirname(at)
        yield at
