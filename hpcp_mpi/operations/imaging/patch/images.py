"""The images that patches have to do with: those that are compared, that hold a patch, that one is applied to."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import tools
from hpcp_mpi.host.block.making import room_of
from hpcp_mpi.host.block.staging import Stage, Target, stage_of, target_at
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.operations.imaging.image_sources import only_volume
from hpcp_mpi.operations.imaging.opening import mounted_volume, opened
from hpcp_mpi.operations.imaging.pack import volume as volumes
from hpcp_mpi.operations.imaging.pack.new_image import result_of
from hpcp_mpi.operations.imaging.pack.room_watch import RESERVE, Expected, RoomWatch, free_outside, taken_by
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume
from hpcp_mpi.operations.imaging.rules.file_systems import EXT
from hpcp_mpi.operations.imaging.rules.sizes import bigger, missing, smallest
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.prepare.arguments import absolute
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import child_path, printable
from hpcp_mpi.vocab.report import Report

TYPE = "ext4"  # of a patch: any machine mounts it
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Side:
    """One of two trees that are compared.

    path: of its root; name: for people; prefix: its path below what a patch of it is applied to
    """

    path: bytes
    name: bytes
    image: bool = False  # it is a mounted image
    ext: bool = False  # of a type that has a lost+found of its own
    prefix: bytes = b""


def side_of(run: Imaging, image: bytes, directory: bytes) -> Side:
    """Return a tree, mounted read-only if it is in an image. Raises FatalError."""
    if image:
        volume = only_volume(run, opened(run, image))
        return Side(mounted_volume(run, volume), image, True, volume.content.type in EXT)
    if not os.path.isdir(directory):
        raise FatalError(f"{printable(directory)} is no directory: a patch is made of two directories or images")
    return Side(absolute(directory), directory)


def place_in(run: Imaging, image: Side, directory: Side) -> Side:
    """Return the tree that a copy of a directory into an image has made there. Raises FatalError.

    It lies at the directory's absolute path, unless it was copied into the image's root (--image-root).
    """
    below = directory.path.strip(b"/")
    if run.images.image_root or not below:
        return image
    tree = Tree(image.path)
    try:
        with tree.at(below):  # no symlink of an image is followed
            return Side(child_path(image.path, below), child_path(image.name + b":", below), True, False, below)
    except OSError as error:
        raise FatalError(
            f"{printable(image.name)} has no {printable(directory.path)} to compare with: {reason_of(error)}",
            "-di puts a directory at its absolute path. Give --image-root if it is in the image's root.",
        ) from None
    finally:
        tree.close()


def mounted_patches(run: Imaging) -> list[tuple[bytes, bytes]]:
    """Return where the patches are mounted, and their names. Raises FatalError."""
    return [(side_of(run, patch, b"").path, patch) for patch in run.images.patches]


@contextmanager
def new_image(
    run: Imaging, output: Target, replaced: os.stat_result | None, need: Need, report: Report
) -> Iterator[bytes]:
    """Yield where a new image is mounted for writing; it gets its name at the end of the block, if nothing was raised.

    replaced: the file that it takes the place of. report: is told of it. Raises FatalError, Stopped, StoppedEarly.
    """
    began = time.monotonic()
    tools.need([tools.Use("make", TYPE), *([tools.Use("check", TYPE)] if run.images.check else [])])
    stage = stage_of(output)
    try:
        volume = _made(run, stage, need)
        with _given_up(run, volume), RoomWatch(volume, Expected(), False, run.frontend.stop, taken_by(volume)) as watch:
            try:
                yield volume.mount
            except StoppedEarly:
                watch.refuse_full()
                raise
        watch.refuse_full()
        volumes.trimmed(volume)
        volumes.close(run, volume)
        run.refuse_if_stopped()
        wrong = volumes.checked(run, stage.fd, TYPE, output.given) if run.images.check else ""
        if wrong:
            raise FatalError(
                f"{printable(output.given)} was not made: its check found errors: {wrong}", "Is its disk good?"
            )
        stage.publish(replaced)
    finally:
        stage.remove()
    report.images.append(result_of(output, "made", began))


@contextmanager
def _given_up(run: Imaging, volume: WritableVolume) -> Iterator[None]:
    """Unmount a volume where an error ends the block; that error is the one to be said."""
    try:
        yield
    except BaseException:
        with suppress(FatalError):
            volumes.close(run, volume)
        raise


def _made(run: Imaging, stage: Stage, need: Need) -> WritableVolume:
    """Return a new file system in a stage that a tree fits into. Raises FatalError, Stopped.

    What statvfs says decides: if it has too little room it is made anew.
    """
    what = smallest(TYPE, need, options=run.images.mkfs_options)
    for _ in range(_TRIES):
        _refuse_without_room(stage, what)
        stage.empty(what.bytes)
        volume = volumes.new_volume(run, stage.fd, what, stage.target.given)
        lacks = missing(what, need, *room_of(volume.mount, TYPE))
        if not any(lacks):
            return volume
        volumes.close(run, volume)
        what = bigger(what, lacks)
    raise FatalError(f"no {TYPE} was made that has room for the patch {printable(stage.target.given)}")


def _refuse_without_room(stage: Stage, what: MakeFileSystem) -> None:
    """Raise FatalError where an image that is filled would fill its own file system: it would be broken."""
    free = free_outside(stage.fd)
    if free is not None and free < what.bytes + RESERVE:
        raise FatalError(
            f"there is no room for {printable(stage.target.given)}: it may take {what.bytes:,} bytes, and {free:,} are "
            f"free, of which {RESERVE // MIB} MiB have to stay so",
            "Make the patch on another file system.",
        )


def output_of(given: bytes, replace: bool) -> tuple[Target, os.stat_result | None]:
    """Return the place of a new patch, and the file that it takes the place of. Raises FatalError, UsageError."""
    output = target_at(given)
    if output.status is not None and not (replace and stat.S_ISREG(output.status.st_mode)):
        output.close()
        raise UsageError(f"{printable(given)} is there already", "Name another file, or give --yes to replace it.")
    return output, output.status


def refuse_small_room(volume: WritableVolume, need: Need) -> None:
    """Refuse to apply what an image, or its own file system, has no room for. Raises FatalError."""
    name, free = printable(volume.called), free_outside(volume.fd)
    lacks, inodes = missing(volume.type, need, *room_of(volume.mount, volume.type))
    if lacks or inodes:
        raise FatalError(
            f"{name} is too small for the patch: {lacks:,} bytes and {inodes:,} inodes are missing",
            "Nothing was changed. Make it bigger first: truncate, e2fsck -f, resize2fs.",
        )
    if free is not None and free < need.blocks + RESERVE:
        raise FatalError(
            f"{name} would take {need.blocks:,} bytes more, and its file system has {free:,} left, of which "
            f"{RESERVE // MIB} MiB have to stay free",
            "Nothing was changed. Make room there.",
        )
