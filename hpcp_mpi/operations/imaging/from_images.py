"""Images as sources of what is done with directories (-si): they are copied, compared, listed."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations.compare.rank0 import lead_compare
from hpcp_mpi.operations.copy.destinations.rank0 import lead_destinations
from hpcp_mpi.operations.copy.rank0 import lead_copy
from hpcp_mpi.operations.imaging.image_sources import ImageSources, image_sources
from hpcp_mpi.operations.imaging.run import Imaging, led
from hpcp_mpi.operations.list_files.rank0 import lead_list
from hpcp_mpi.rules.excludes import matcher
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.job import OwnFile
from hpcp_mpi.vocab.paths import child_path, join, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb


def copy_from_images(run: Imaging) -> Report:
    """Do with what images hold what is asked: a copy, a compare, a list. Raises FatalError."""
    _refuse_others(run)
    sources = image_sources(run)
    for destination in run.request.destinations if run.request.verb is Verb.COPY else ():
        refuse_overwriting(run, sources, destination)
    run.frontend = replace(run.frontend, own=run.frontend.own | images_of(sources))
    options = replace(sources.options, places=sources.places)
    request = replace(run.request, sources=sources.mounts, options=options, images=None)
    report = led(run, request, leader_of(request))
    sources.fill(report)
    return report


def _refuse_others(run: Imaging) -> None:
    request = run.request
    if request.sources:
        raise UsageError(
            "images are copied alone, without other sources", "Copy the others with a command of their own."
        )
    if request.source_list is not None:
        raise UsageError("-si with a list of names (-sfl) is not built", "Take all, without what -e excludes.")
    if request.options.move:
        raise UsageError("-si with -rm: nothing is ever removed from an image", "Leave out -rm.")


def leader_of(request: Request) -> Callable[[Wire, Request, Frontend], Report]:
    """Return what does with directories what is asked of images."""
    if request.verb is Verb.LIST:
        return lead_list
    if request.verb is Verb.COMPARE:
        return lead_compare
    return lead_destinations if len(request.destinations) > 1 or request.options.sequential else lead_copy


def images_of(sources: ImageSources) -> frozenset[OwnFile]:
    """Return what shows a worker that a file is one of the images that are read."""
    found = set()
    for image in sources.images:
        name = os.path.basename(os.path.realpath(image.path))
        found.add(OwnFile(name, name, os.fstat(image.fd).st_ino))
    return frozenset(found)


def refuse_overwriting(run: Imaging, sources: ImageSources, destination: bytes) -> None:
    """Refuse a copy in which something lands on an image that is read. Raises UsageError."""
    excluded = matcher(sources.options.all_excludes)
    for image in sources.images:
        for mount, place in zip(sources.mounts, sources.places, strict=True):
            for below in _below(os.path.realpath(image.path), child_path(os.path.abspath(destination), place)):
                path = child_path(mount, below)
                if excluded is not None and any(excluded(above, above != path) for above in _and_above(path, mount)):
                    continue
                if _is_there(mount, below):
                    raise UsageError(
                        f"{printable(run.shown.path(path))} would land on the image that it is copied from, "
                        f"{printable(image.path)}",
                        "Copy to another place, or exclude it (-e).",
                    )


def _below(path: bytes, directory: bytes) -> list[bytes]:
    """Return the path below a directory that something has, by inode; [] if it does not lie there."""
    try:
        wanted = os.stat(directory)
    except OSError:
        return []
    below = b""
    while path != b"/":
        path, name = os.path.split(path)
        below = join(name, below)
        with suppress(OSError):
            found = os.stat(path)
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return [below]
    return []


def _and_above(path: bytes, mount: bytes) -> list[bytes]:
    found = []
    while path != mount:
        found.append(path)
        path = os.path.dirname(path)
    return found


def _is_there(mount: bytes, below: bytes) -> bool:
    """Return whether a mount has an entry. A symlink on the way to it is not followed: it leads out of the image."""
    parts = below.split(b"/")
    for count in range(1, len(parts)):
        if os.path.islink(child_path(mount, join(*parts[:count]))):
            return False
    return os.path.lexists(child_path(mount, below))
