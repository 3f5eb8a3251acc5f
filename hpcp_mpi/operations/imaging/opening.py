"""Images as sources (-si): each is attached read-only and mounted, and then copied from as from a directory."""

import os
from dataclasses import dataclass

from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.operations.imaging.run import Imaging, copy_between, with_patterns_inside
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An image that is open for reading. size: bytes"""

    path: bytes
    fd: int
    size: int


def copy_from_images(run: Imaging) -> Report:
    """Copy what images hold to the destination. Raises FatalError."""
    mounts = [mounted(run, opened(run, image)) for image in run.images.images]
    options = with_patterns_inside(run.options, run.room)
    return copy_between(run, mounts, [b""] * len(mounts), run.request.destinations[0], options)


def opened(run: Imaging, image: bytes) -> OpenImage:
    """Return an image that is open as long as the run lasts. Raises FatalError."""
    try:
        fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FatalError(f"cannot open the image {printable(image)}: {reason_of(error)}") from None
    run.stack.callback(os.close, fd)
    return OpenImage(image, fd, os.lseek(fd, 0, os.SEEK_END))


def mounted(run: Imaging, image: OpenImage) -> bytes:
    """Return where the file system of an image is mounted, read-only. Raises FatalError."""
    loop = run.stack.enter_context(attach(image.fd, name=image.path))
    place = run.room.mount(loop.path, "ext4")
    run.shown.names[place] = image.path + b":"
    return place
