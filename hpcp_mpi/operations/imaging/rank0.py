"""Images and clones, on rank 0: what leads to the verb that was asked for."""

import os
import time
from collections.abc import Callable

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.threads import ThreadWire
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.run import Imaging, drained, imaging, outside
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb


def lead_images(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Do what is asked of images, on rank 0 alone: mounts belong to one process. Raises FatalError.

    wire: that of all ranks. The others idle until the run ends.
    """
    if wire.size > 1 and not isinstance(wire, ThreadWire):
        frontend.say("hpcp-mpi: images are the work of one rank, the others wait: -n 1 is enough")
    leader = _without_mounts(request)
    if leader is not None:
        with drained(wire, frontend):
            return leader(wire, request, frontend)
    started = time.monotonic()
    with imaging(request, frontend, wire) as run:
        report = _led(run)
        report.seconds = time.monotonic() - started  # with what comes before and after a copy
        report.outcome.notes += [(run.shown.path(path), run.shown.text(note)) for path, note in run.notes]
        report.outcome.failures += [each._replace(path=run.shown.path(each.path)) for each in run.failures]
        report.unmatched = outside(report.unmatched, request.options, run.room)
    return report


def _led(run: Imaging) -> Report:
    """Return the report of the verb, one that says so if a signal has ended it. Raises FatalError."""
    try:
        return _leader(run)(run)
    except OSError as error:  # what lies below an image or a device fails: it may do so in every call
        where = f"{printable(os.fsencode(error.filename))}: " if error.filename is not None else ""
        failed = FatalError(
            f"the run cannot go on: {where}{reason_of(error)}",
            "See whether the disk has errors, or its file system is full: dmesg, df. What was made is not finished.",
        )
        raise run.shown.renamed(failed) from error
    except Stopped:  # a program was ended
        code = run.frontend.stop.code
    except StoppedEarly as early:
        code = early.code
    asked = run.request
    return Report(sources=list(asked.sources), destination=(*asked.destinations, b"")[0], stopped=code)


def _without_mounts(request: Request) -> Callable[[Wire, Request, Frontend], Report] | None:
    """Return what leads a run that needs no mounts of root's; None: it does."""
    assert request.images is not None
    if request.verb is Verb.IMAGE and request.images.makes_squashfs and not request.images.images:
        from hpcp_mpi.operations.imaging.squash.making import pack_squash

        return pack_squash
    from hpcp_mpi.operations.imaging.squash.unpacking import reads_squash, unsquash

    return unsquash if reads_squash(request) else None


def _leader(run: Imaging) -> Callable[[Imaging], Report]:
    verb, images = run.request.verb, run.images
    if verb is Verb.CLONE:
        from hpcp_mpi.operations.imaging.clone.rank0 import clone

        return clone
    if verb is Verb.PATCH:
        from hpcp_mpi.operations.imaging.patch.writing import write_patch

        return write_patch
    if verb is Verb.APPLY:
        from hpcp_mpi.operations.imaging.patch.applying import apply

        return apply
    if verb is Verb.IMAGE and images.makes_squashfs:
        from hpcp_mpi.operations.imaging.squash.making import repack_squash

        return repack_squash
    if verb is Verb.IMAGE:
        if images.volume_size:
            from hpcp_mpi.operations.imaging.pack.splitting import split

            return split
        from hpcp_mpi.operations.imaging.pack.rank0 import pack

        return pack
    if verb is Verb.COMPARE and images.image:
        from hpcp_mpi.operations.imaging.pack.rank0 import compare_with_image

        return compare_with_image
    from hpcp_mpi.operations.imaging.from_images import copy_from_images

    return copy_from_images
