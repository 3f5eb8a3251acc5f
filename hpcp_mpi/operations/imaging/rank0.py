"""Images and clones, on rank 0: what leads to the verb that was asked for."""

from collections.abc import Callable

from hpcp_mpi.cluster.threads import ThreadWire
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations.imaging.run import Imaging, imaging, outside
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb


def lead_images(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Do what is asked of images, on rank 0 alone: mounts belong to one process. Raises FatalError.

    wire: that of all ranks. The others idle until the run ends.
    """
    if wire.size > 1 and not isinstance(wire, ThreadWire):
        frontend.say("hpcp-mpi: images are the work of one rank, the others wait: -n 1 is enough")
    with imaging(request, frontend, wire) as run:
        report = _leader(run)(run)
        report.outcome.notes += [(run.shown.path(path), run.shown.text(note)) for path, note in run.notes]
        report.outcome.failures += run.failures
        report.unmatched = outside(report.unmatched, request.options, run.room)
    return report


def _leader(run: Imaging) -> Callable[[Imaging], Report]:
    verb, images = run.request.verb, run.images
    if verb is Verb.CLONE:
        from hpcp_mpi.operations.imaging.cloning import clone

        return clone
    if verb is Verb.PATCH:
        from hpcp_mpi.operations.imaging.patching import write_patch

        return write_patch
    if verb is Verb.APPLY:
        from hpcp_mpi.operations.imaging.applying import apply

        return apply
    if verb is Verb.IMAGE:
        if images.volume_size:
            from hpcp_mpi.operations.imaging.splitting import split

            return split
        from hpcp_mpi.operations.imaging.packing import pack

        return pack
    from hpcp_mpi.operations.imaging.from_images import copy_from_images

    return copy_from_images
