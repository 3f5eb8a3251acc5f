"""The places that a command names, before they are looked at: patterns of destinations, other hosts' paths."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.request import Request, Verb


def placed(request: Request, files: Iterable[bytes] = ()) -> Request:
    """Return a request with the destinations that its patterns stand for. Twice is as good as once. Raises FatalError.

    files: others that the command reads and writes
    """
    refuse_lost_directory([*_paths(request), *files])
    for source in request.sources:
        if _is_remote(source) and not os.path.lexists(source) and not (glob.has_magic(source) and glob.glob(source)):
            raise _elsewhere(source)
    destinations = [each for name in request.destinations for each in _expanded(name, request.patterns)]
    if len(destinations) > 1 and (request.source_list is not None or request.verb is Verb.COMPARE):
        names = ", ".join(map(printable, destinations))
        raise UsageError(f"several destinations, where there can be one: {names}", "Name one of them.")
    for name in _image_files(request):
        if _is_remote(name) and not os.path.lexists(name):
            raise _elsewhere(name)
    backup = request.options.backup_dir
    if b"://" in backup or (_is_remote(backup) and b":/" in backup):  # backup-12:30 is one below the destination
        raise _elsewhere(backup)
    return replace(request, destinations=tuple(destinations))


def _expanded(name: bytes, patterns: bool) -> Iterator[bytes]:
    """Yield what a destination stands for: itself, or the matches of a pattern that is no entry's name."""
    if patterns and name.startswith(b"~") and not _begins_here(name):
        name = os.path.expanduser(name)
    if os.path.lexists(name):
        yield name
    elif _is_remote(name):
        raise _elsewhere(name)
    elif patterns and glob.has_magic(name):
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise FatalError(
                f"no destination matches {printable(name)}", "If a new directory is to be called so, make it first."
            )
        yield from found
    else:
        yield name


def _is_remote(name: bytes) -> bool:
    """Return whether a name looks like one on another host, as `host:x`, or a URL, and nothing here begins so."""
    return b":" in name.partition(b"/")[0] and not _begins_here(name)


def _begins_here(name: bytes) -> bool:
    return os.path.lexists(name.partition(b"/")[0])


def _elsewhere(name: bytes) -> UsageError:
    return UsageError(
        f"{printable(name)} looks like a place on another host or in an object store: only what is mounted is used",
        f"Mount it, or use rsync or rclone. If it is a name in the working directory: ./{printable(name)}",
    )


def refuse_lost_directory(paths: Iterable[bytes]) -> None:
    """Raise FatalError for a relative path if the working directory was removed."""
    try:
        os.getcwdb()
    except OSError:
        for path in paths:
            if not path.startswith(b"/"):
                raise FatalError(
                    f"the working directory was removed, and {printable(path)} is relative to it",
                    "Change to a directory that is there, or give absolute paths.",
                ) from None


def _image_files(request: Request) -> Iterator[bytes]:
    """Yield the images, devices and patches that a request names."""
    if request.images is not None:
        images = request.images
        named = (*images.images, images.image, images.patch or b"", *images.patches)
        yield from (name for name in named if name)


def _paths(request: Request) -> Iterator[bytes]:
    yield from request.sources
    if request.source_list is not None and not request.sources:
        yield b"."
    yield from request.destinations
    for listed in (request.source_list, request.file_list):
        if listed is not None and listed != b"-":
            yield listed
    yield from _image_files(request)
    if request.images is not None and request.images.patch == b"":
        yield b"the patch"
    if request.changes_file is not None:
        yield request.changes_file or b"the table of differences"
