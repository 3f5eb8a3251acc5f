"""What goes into an image, and where in it: each source at its own absolute path, or as in a copy to a directory."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from hpcp_mpi.host.block.staging import Target, identity
from hpcp_mpi.operations.imaging.image_sources import ImageSources, image_sources
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.prepare.arguments import absolute, expanded
from hpcp_mpi.operations.prepare.copy_job import type_of_source
from hpcp_mpi.rules.excludes import literal, matcher
from hpcp_mpi.rules.landing import Landing, Type, own_name, place_at, place_sources
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import child_path, printable, relative_to
from hpcp_mpi.vocab.report import Report


@dataclass(frozen=True, slots=True)
class Packed:
    """What goes into an image. sources, places: as of a copy with Options.places."""

    sources: tuple[bytes, ...]
    places: tuple[bytes, ...]
    options: Options  # of the copies
    parents: tuple[bytes, ...] = ()  # directories above the places, the upper ones first; b"" is the image's root
    notes: tuple[tuple[bytes, str], ...] = ()
    images: ImageSources | None = None  # the sources, where these are images

    def fill(self, report: Report) -> None:
        """Name what was read in a report."""
        report.outcome.notes += self.notes
        if self.images is not None:
            self.images.fill(report)

    def without(self, files: frozenset[tuple[int, int]]) -> "Packed":
        """Return the same with more files, known by device and inode, that are not copied."""
        return replace(self, options=replace(self.options, left_out=self.options.left_out | files))


def packed(run: Imaging, target: Target) -> Packed:
    """Return what a run puts into its image. Raises FatalError, UsageError for what cannot be copied."""
    options = replace(
        run.options,
        verify=False,  # the whole image is compared, when it is unmounted
        grows=True,
        left_out=frozenset(_own(target)),
    )
    if run.images.images:
        return _of_images(run, target, options)
    arguments = [name for pattern in run.request.sources for name in expanded(pattern)]
    if not arguments:
        raise UsageError("no source was given", "hpcp-mpi SRC... -di IMG")
    typed = [(name, type_of_source(name, "Nothing was made.")) for name in arguments]
    if target.status is not None:
        for name in arguments:
            if identity(os.lstat(name)) == identity(target.status):
                raise UsageError(f"{printable(name)} is the source and the image to copy into", "Name two.")
    options = replace(options, optional_excludes=(*options.optional_excludes, *_own_mounts(run, arguments)))
    return _in_root(typed, options) if run.images.image_root else _at_their_paths(typed, options)


def _own(target: Target) -> Iterator[tuple[int, int]]:
    """Yield what shows the image, and the directory that it is in."""
    yield identity(os.fstat(target.directory))
    if target.status is not None:
        yield identity(target.status)


def _own_mounts(run: Imaging, arguments: Sequence[bytes]) -> Iterator[bytes]:
    """Yield exclude patterns for the directory with the run's own mounts, where it lies in a source."""
    for argument in arguments:
        below = relative_to(os.path.realpath(run.room.path), os.path.realpath(argument))
        if below is not None:
            yield literal(child_path(absolute(argument), below))


# --- images as sources


def _of_images(run: Imaging, target: Target, options: Options) -> Packed:
    """Return the contents of images, which land in the root."""
    if run.request.sources:
        raise UsageError("images are copied alone, without other sources", "Copy the others by a second command.")
    images = image_sources(run)
    for image in images.images:
        if target.status is not None and identity(os.fstat(image.fd)) == identity(target.status):
            raise UsageError(f"{printable(image.path)} is the source and the image to copy into", "Name two images.")
    options = replace(options, excludes=images.options.excludes, optional_excludes=images.options.optional_excludes)
    return Packed(images.mounts, images.places, options, images=images)


# --- files and directories


def _in_root(typed: list[tuple[bytes, Type]], options: Options) -> Packed:
    """Return sources that land as in a copy to a directory that is there."""
    _, landings = place_sources(typed, b"/image", True)
    sources = tuple(_followed(each) for each in landings)
    return Packed(sources, tuple(each.target for each in landings), options)


def _followed(landing: Landing) -> bytes:
    """Return a source so that it is a directory for everybody if its contents land."""
    argument = landing.argument
    return argument + b"/" if landing.name is None and own_name(argument) and os.path.islink(argument) else argument


def _at_their_paths(typed: list[tuple[bytes, Type]], options: Options) -> Packed:
    """Return sources that land where they are on this machine."""
    found: list[tuple[bytes, Type, bytes]] = []
    for name, kind in typed:
        path = absolute(name)
        if kind is not Type.DIRECTORY and not (kind is Type.DIRECTORY_LINK and not own_name(name)):
            path = child_path(absolute(os.path.dirname(name) or b"."), own_name(name))
        found.append((name, kind, path.lstrip(b"/")))
    place_at(typed, [place for _, _, place in found])  # refuses what is there twice
    notes: list[tuple[bytes, str]] = []
    kept = []
    for each in found:
        above = next((other for other in found if other is not each and _covers(other, each, options)), None)
        if above is None:
            kept.append(each)
        else:
            notes.append((each[0], f"lies in {printable(above[0])}, which is copied with all that is in it"))
    places = tuple(place for _, _, place in kept)
    return Packed(tuple(name for name, _, _ in kept), places, options, _parents(places), tuple(notes))


def _covers(upper: tuple[bytes, Type, bytes], lower: tuple[bytes, Type, bytes], options: Options) -> bool:
    """Return whether a source is a part of another one. Raises UsageError if it is none, and would land in it."""
    if upper[1] is Type.OTHER or (upper[1] is Type.DIRECTORY_LINK and own_name(upper[0])):
        return False
    below = relative_to(lower[2], upper[2]) if upper[2] else lower[2]
    if not below:
        return False
    excluded = matcher(options.all_excludes)
    path = absolute(upper[0])
    for name in below.split(b"/"):
        path = child_path(path, name)
        with suppress(OSError):
            if excluded is not None and excluded(path, stat.S_ISDIR(os.lstat(path).st_mode)):
                return False
    real = child_path(os.path.realpath(upper[0]), below)
    parent = real if lower[1] is Type.DIRECTORY else os.path.dirname(real)
    if os.path.realpath(parent) == parent:
        return True
    raise UsageError(
        f"{printable(lower[0])} would land in {printable(upper[0])}, where there is a symlink of that name",
        "Copy them one after the other, or name what the link leads to.",
    )


def _parents(places: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the directories above places, the upper ones first. What is a place itself is settled with the copy."""
    found = set()
    for place in places:
        while place:
            place = os.path.dirname(place)
            found.add(place)
    return tuple(sorted(found - set(places), key=lambda path: (path.count(b"/") + bool(path), path)))
