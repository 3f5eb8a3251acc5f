"""The check of a new squashfs: unsquashfs reads its tables, and with --verify every byte is read from a mount."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.mounts import MountRoom, can_mount, private_namespace
from hpcp_mpi.host.commands import answer_of
from hpcp_mpi.operations.imaging.run import Imaging, led
from hpcp_mpi.operations.imaging.squash.sources import Contents, Source
from hpcp_mpi.operations.imaging.squash.unpacking import looked_into
from hpcp_mpi.rules.excludes import literal
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path, printable
from hpcp_mpi.vocab.request import Request, Verb

_MOST_LISTED = 1_000_000  # entries; about 100 MB of names
_DIFFERS = ("added", "modified")  # what is in the image and not in the sources are directories above them


def check_squash(frontend: Frontend, image: int, called: bytes, entries: int) -> None:
    """Have unsquashfs read the tables of an image, of one with very many entries the first. Raises FatalError, Stopped.

    It prints all names, which are kept in memory meanwhile.
    """
    answer = answer_of(
        ["unsquashfs", "-lc" if entries <= _MOST_LISTED else "-s", f"/proc/self/fd/{image}"],
        descriptors=(image,),
        stop=lambda: bool(frontend.stop.code),
    )
    if answer.code:
        why = printable(answer.errors.split(b"\n")[0])
        raise FatalError(f"the check of {printable(called)} failed: {why}", "Nothing is left of it.")


def verify_squash(
    request: Request,
    frontend: Frontend,
    sources: Sequence[Source],
    contents: Contents,
    image: int,
    outcome: Outcome,
) -> None:
    """Read an image again, and compare every byte with the sources; what differs has failed. Raises FatalError."""
    from hpcp_mpi.operations.compare.rank0 import lead_compare  # only this needs it

    assert request.images is not None
    options = request.options
    left_out = [failure.path for failure in contents.failures] + [contents.itself] * bool(contents.itself)
    options = replace(
        options,
        optional_excludes=(*options.all_excludes, *map(literal, left_out)),
        excludes=(),
        places=tuple(source.place for source in sources),
        content_only=True,  # seconds and ACLs differ
        strict_metadata=False,
        full_hash=True,
        verify=False,
        dry_run=True,
    )
    with _mounted(request, frontend, image) as (run, place):
        inner = Request(Verb.COMPARE, tuple(source.path for source in sources), (place,), options)
        report = led(run, inner, lead_compare)
    outcome.verified = report.scanned
    outcome.failures += report.failures
    paths = report.paths or {}
    for kind in _DIFFERS:
        if paths:
            outcome.failures += [
                Failure(child_path(request.images.image + b":", path), f"the copy in the image differs ({kind})")
                for path in paths[kind]
            ]
        elif report.differences and report.differences[kind]:
            outcome.failures.append(
                Failure(request.images.image, f"{report.differences[kind]:,} entries differ from the source ({kind})")
            )


@contextmanager
def _mounted(request: Request, frontend: Frontend, image: int) -> Iterator[tuple[Imaging, bytes]]:
    """Yield a run in which an open image is mounted, and where."""
    assert request.images is not None
    called = request.images.image
    if os.geteuid() == 0 and can_mount("squashfs"):
        private_namespace()
        with MountRoom() as room, ExitStack() as stack:
            run = Imaging(request, request.images, frontend, room, stack)
            loop = run.stack.enter_context(attach(image, name=called))
            place = run.room.mount(loop.path, "squashfs")
            run.shown.names[place] = called + b":"
            yield run, place
    else:
        with looked_into(request, frontend, [(called, image)]) as run:
            yield run, next(iter(run.shown.names))
