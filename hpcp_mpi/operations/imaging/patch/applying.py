"""Applying patches (-siff): to a directory or to what is in an image. What was done already is found done.

Nothing is changed before every row of all patches was looked at, and all that they need is there.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block.staging import Target, target_at
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.pack.existing_image import (
    ExistingImage,
    check_before,
    existing_image,
    opened_volume,
    read_only,
)
from hpcp_mpi.operations.imaging.pack.new_image import result_of
from hpcp_mpi.operations.imaging.pack.room_watch import Expected, RoomWatch, taken_by
from hpcp_mpi.operations.imaging.pack.volume import checked, close
from hpcp_mpi.operations.imaging.patch.application import Application
from hpcp_mpi.operations.imaging.patch.files import Volume, open_volumes
from hpcp_mpi.operations.imaging.patch.images import mounted_patches, refuse_small_room
from hpcp_mpi.operations.imaging.patch.plan import root_of
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Need
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report


def apply(run: Imaging) -> Report:
    """Apply patches to a directory, or to what is in an image. Raises FatalError; a signal is said in the report."""
    try:
        with open_volumes(mounted_patches(run)) as volumes:
            if not run.images.image:
                return apply_to(run, volumes, os.path.abspath(run.request.destinations[0]))
            with target_at(run.images.image) as place:
                if place.status is None:
                    raise FatalError(f"there is no image {printable(place.given)} that a patch could be applied to")
                with existing_image(run, place, writable=not run.options.dry_run) as image:
                    return _to_image(run, volumes, place, image)
    except StoppedEarly as early:
        return Report(stopped=early.code)


def apply_to(run: Imaging, volumes: Sequence[Volume], target: bytes, agreed: bool = False) -> Report:
    """Apply the patches that volumes are of to a directory. Raises FatalError, StoppedEarly.

    agreed: conflicts were asked about already
    """
    with _application(run, volumes, target, agreed) as application:
        application.look()
        return application.do()


@contextmanager
def _application(run: Imaging, volumes: Sequence[Volume], target: bytes, agreed: bool = False) -> Iterator[Application]:
    root = root_of(target)
    try:
        yield Application(run, volumes, target, root, agreed)
    except FatalError as error:
        raise run.shown.renamed(error) from None
    except Stopped:
        raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None
    finally:
        os.close(root)


def _to_image(run: Imaging, volumes: Sequence[Volume], place: Target, image: ExistingImage) -> Report:
    """Apply patches to what is in an image, which is mounted for writing when it is known that they fit."""
    began = time.monotonic()
    if not run.options.dry_run:
        run.frontend.say(f"hpcp-mpi: checking {printable(image.called)}")
        check_before(run, image)
    need: Need | None = None
    with read_only(run, image) as mount, _application(run, volumes, mount) as application:
        application.look()
        need = application.need()
        if run.options.dry_run or need is None:
            return application.do()
    volume = opened_volume(run, image)
    refuse_small_room(volume, need)
    with RoomWatch(volume, Expected(), False, run.frontend.stop, taken_by(volume)) as watch:
        report = apply_to(run, volumes, volume.mount, agreed=True)
    watch.refuse_full()
    close(run, volume)
    if run.images.check and not report.ended_early:
        wrong = checked(run, image.fd, image.content.type, image.called, image.offset, image.size)
        if wrong:
            raise FatalError(
                f"{printable(image.called)} was written to, and its check found errors: {wrong}",
                "Is its disk good? Have it repaired (e2fsck -f, xfs_repair), and run this again.",
            )
    report.images.append(result_of(place, "updated", began, image.content))
    return report
