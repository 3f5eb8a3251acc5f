"""Copying into an image (-di), or comparing with one: a new one is made, one that is there is brought up to date."""

from hpcp_mpi.host.block.staging import target_at
from hpcp_mpi.operations.imaging.pack.new_image import pack_new
from hpcp_mpi.operations.imaging.pack.packed_sources import packed
from hpcp_mpi.operations.imaging.pack.updating import compare, update
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.report import Report


def pack(run: Imaging) -> Report:
    """Copy sources into the image that was asked for. Raises FatalError, UsageError, StoppedEarly."""
    with target_at(run.images.image) as target:
        what = packed(run, target)
        return pack_new(run, target, what) if target.status is None else update(run, target, what)


def compare_with_image(run: Imaging) -> Report:
    """Compare sources with what an image holds of them. Raises FatalError, UsageError, StoppedEarly."""
    with target_at(run.images.image) as target:
        return compare(run, target, packed(run, target))
