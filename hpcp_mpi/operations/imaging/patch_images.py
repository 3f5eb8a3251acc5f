"""The images that patches have to do with: those that are compared, that hold a patch, that one is applied to."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hpcp_mpi.host.block import making
from hpcp_mpi.host.block.loops import Loop, attach
from hpcp_mpi.host.block.staging import Stage, Target, stage_of, target_at
from hpcp_mpi.operations.imaging.opening import mounted, opened
from hpcp_mpi.operations.imaging.rules.sizes import bigger, missing, smallest
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need
from hpcp_mpi.vocab.paths import printable

TYPE = "ext4"  # of a patch: hpcp reads it on any machine
_TRIES = 3
_LEFT = 64 << 20  # bytes that stay free beside a new image


@dataclass(frozen=True, slots=True)
class Side:
    """One of two trees that are compared. path: of its root; name: for people; image: it is a mounted image"""

    path: bytes
    name: bytes
    image: bool


def side_of(run: Imaging, image: bytes, directory: bytes) -> Side:
    """Return a tree, mounted read-only if it is in an image. Raises FatalError."""
    if image:
        return Side(mounted(run, opened(run, image)), image, True)
    if not os.path.isdir(directory):
        raise FatalError(f"{printable(directory)} is no directory: a patch is made of two directories or images")
    return Side(os.path.realpath(directory), directory, False)


def mounted_patches(run: Imaging) -> list[tuple[bytes, bytes]]:
    """Return where the patches are mounted, and their names. Raises FatalError."""
    return [(mounted(run, opened(run, patch)), patch) for patch in run.images.patches]


@contextmanager
def new_image(run: Imaging, output: Target, replaced: os.stat_result | None, need: Need) -> Iterator[bytes]:
    """Yield where a new image is mounted for writing; it gets its name at the end of the block, if nothing was raised.

    replaced: the file that it takes the place of. Raises FatalError, Stopped.
    """
    stage = stage_of(output)
    try:
        loop, place = _made(run, stage, need)
        with loop:
            try:
                yield place
            except BaseException:
                _leave(run, place)
                raise
            run.room.unmount(place)
        run.refuse_if_stopped()
        wrong = making.check(stage.path, TYPE, stop=lambda: run.stopping) if run.images.check else ""
        if wrong:
            raise FatalError(f"the file system of {printable(output.given)} is damaged: {wrong}", "It was not made.")
        stage.publish(replaced)
    finally:
        stage.remove()


def _leave(run: Imaging, place: bytes) -> None:
    try:
        run.room.unmount(place)
    except FatalError:
        pass  # another error ended the run, and is the one to be said


def _made(run: Imaging, stage: Stage, need: Need) -> tuple[Loop, bytes]:
    """Return a loop device over a new file system that a tree fits into, and where that is mounted. Raises FatalError.

    What statvfs says decides: if it has too little room it is made anew.
    """
    what = smallest(TYPE, need, options=run.images.mkfs_options)
    for _ in range(_TRIES):
        _refuse_without_room(stage, what)
        stage.empty(what.bytes)
        loop = attach(stage.fd, writable=True, name=stage.path)
        try:
            making.make(loop.path, what, stop=lambda: run.stopping, zeros=True)
            place = run.room.mount(loop.path, TYPE, read_only=False)
            lacks = missing(what, need, *making.room_of(place, TYPE))
            if lacks == (0, 0):
                run.shown.names[place] = stage.target.given + b":"
                return loop, place
            run.room.unmount(place)
        except BaseException:
            loop.close()
            raise
        loop.close()
        what = bigger(what, lacks)
    raise FatalError(f"no {TYPE} was made that has room for the patch {printable(stage.target.given)}")


def _refuse_without_room(stage: Stage, what: MakeFileSystem) -> None:
    """Raise FatalError where an image that is filled would fill its own file system: it would be broken."""
    status = os.fstatvfs(stage.fd)
    free = status.f_bavail * status.f_frsize - _LEFT
    if free < what.bytes:
        raise FatalError(
            f"there is no room for {printable(stage.target.given)}: it may take {what.bytes:,} bytes, and "
            f"{max(0, free):,} are free (64 MiB stay)",
            "Make the patch on another file system.",
        )


def output_of(given: bytes, replace: bool) -> tuple[Target, os.stat_result | None]:
    """Return the place of a new patch, and the file that it takes the place of. Raises FatalError, UsageError."""
    output = target_at(given)
    if output.status is not None and not (replace and stat.S_ISREG(output.status.st_mode)):
        output.close()
        raise UsageError(f"{printable(given)} is there already", "Name another file, or give --yes to replace it.")
    return output, output.status


@contextmanager
def target_of(run: Imaging) -> Iterator[bytes]:
    """Yield the directory that patches are applied to; of an image, where it is mounted. Raises FatalError.

    An image is checked when it was unmounted.
    """
    if not run.images.image:
        yield os.path.abspath(run.request.destinations[0])
        return
    raise FatalError(
        "this version applies patches to directories, not to images (-di)",
        "Mount the image, and name the directory with -d.",
    )
