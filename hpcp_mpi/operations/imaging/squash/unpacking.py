"""Squashfs images as sources: all of one into a new directory by unsquashfs; else mounted, also for who is not root.

A copy out of a mount decompresses what files share again for each of them: that takes five times as long as unsquashfs.
"""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import cast

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host.block import tools
from hpcp_mpi.host.block.fuse_mounts import FuseMounts
from hpcp_mpi.host.block.mounts import MountRoom
from hpcp_mpi.host.commands import Stopped, answer_of, version_of
from hpcp_mpi.host.entries import rename_if_free
from hpcp_mpi.host.machine import cpus, slots
from hpcp_mpi.host.stage import staged, stages_among, sweep
from hpcp_mpi.operations.imaging.rules.squash import MAGIC, is_safe, refused
from hpcp_mpi.operations.imaging.run import Imaging, led, outside, with_patterns_inside
from hpcp_mpi.operations.imaging.squash.sources import Source, contents_of
from hpcp_mpi.operations.prepare.arguments import absolute
from hpcp_mpi.vocab.errors import Failure, FatalError, reason_of
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import ImageResult, Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.tally import Tally

_TREE = b".hpcp-mpi-unpacked"  # in the stage
_WENT_ON = 2  # unsquashfs's exit code if it could not do all
# With options like these a copy is that of everything as it is, which is what unsquashfs does.
_OF_EVERYTHING = (
    ("excludes", ()),
    ("optional_excludes", ()),
    ("directory_only", False),
    ("directory_sync", True),
    ("sparse", "auto"),
    ("content_only", False),
    ("verify", False),
    ("rate_bytes", 0),
    ("rate_files", 0),
    ("make_destination", True),
    ("file_system", ""),
    ("require_space", False),
    ("dry_run", False),
    ("itemize", False),
    ("backup_dir", b""),
)


def reads_squash(request: Request) -> bool:
    """Return whether images are read that need no mount, or none of root's: then `unsquash` does it."""
    images = request.images
    if images is None or not images.images or request.verb not in (Verb.COPY, Verb.COMPARE, Verb.LIST):
        return False
    if images.image or images.partitions or not all(map(_is_squashfs, images.images)):
        return False
    return os.geteuid() != 0 or _may_unpack(request)


def _is_squashfs(image: bytes) -> bool:
    try:
        fd = os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return stat.S_ISREG(os.fstat(fd).st_mode) and os.pread(fd, len(MAGIC), 0) == MAGIC
        finally:
            os.close(fd)
    except OSError:
        return False  # what is wrong is said where it is opened


def _may_unpack(request: Request) -> bool:
    """Return whether a request is for all of one image, in a directory that is not there yet."""
    images = request.images
    assert images is not None
    return (
        request.verb is Verb.COPY
        and len(images.images) == len(request.destinations) == 1
        and not os.path.lexists(request.destinations[0].rstrip(b"/"))
        and all(getattr(request.options, name) == value for name, value in _OF_EVERYTHING)
        and tools.is_there("unsquashfs")
        and is_safe(version_of("unsquashfs", "-version") or "")
    )


def unsquash(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Do with squashfs images what is asked. Raises FatalError. wire: that of all ranks, which wait."""
    images = request.images
    assert images is not None
    started = time.monotonic()
    with ExitStack() as stack:
        opened = [_opened(image, stack) for image in images.images]
        if _may_unpack(request):
            report = _unpack(request, frontend, opened[0])
        else:
            report = _through_mounts(request, frontend, opened)
        for image, fd in zip(images.images, opened, strict=True):
            status = os.fstat(fd)
            seconds = time.monotonic() - started
            report.images.append(
                ImageResult(image, "read", status.st_size, status.st_blocks * 512, "squashfs", seconds=seconds)
            )
    return report


def _opened(image: bytes, stack: ExitStack) -> int:
    try:
        fd = os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FatalError(f"cannot open the image {printable(image)}: {reason_of(error)}", "Nothing was copied.") from (
            None
        )
    stack.callback(os.close, fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode) or os.pread(fd, len(MAGIC), 0) != MAGIC:
        raise FatalError(f"{printable(image)} is no squashfs any more", "Another program writes to it.")
    return fd


# --- unsquashfs into a stage


def _unpack(request: Request, frontend: Frontend, image: int) -> Report:
    """Unpack an image into a stage beside the destination, which it is then called. Raises FatalError."""
    images = request.images
    assert images is not None
    began = time.monotonic()
    destination = absolute(request.destinations[0].rstrip(b"/"))
    report = Report(request.verb.value, list(images.images), request.destinations[0])
    try:
        with ExitStack() as stack:
            directory = _made(os.path.dirname(destination))
            stack.callback(os.close, directory)
            for name in stages_among(directory, map(os.fsencode, os.listdir(directory))):
                with suppress(OSError):
                    sweep(directory, name)  # of a killed run
            stage = stack.enter_context(staged(directory, os.urandom(4).hex(), report.outcome.warn))
            _run(request.options, frontend, image, stage, images.images[0], report.outcome)
            report.scanned = report.outcome.copied = _counted(stage)
            _rename(stage, os.path.basename(destination), directory)
    except Stopped:
        report.stopped = frontend.stop.code
    except FileExistsError:
        raise FatalError(
            f"{printable(destination)} was made by somebody else meanwhile", "Run the same command again."
        ) from None
    except OSError as error:
        raise FatalError(
            f"cannot make {printable(destination)}: {reason_of(error)}", "Nothing is left of it."
        ) from None
    report.unmatched = frozenset()
    report.seconds = time.monotonic() - began
    return report


def _rename(stage: int, name: bytes, directory: int) -> None:
    """Give the tree in a stage its name. Who is not root can move no directory that is read-only. Raises OSError."""
    fd = os.open(_TREE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stage)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if not mode & stat.S_IWUSR:
            os.fchmod(fd, mode | stat.S_IWUSR)
        rename_if_free(_TREE, stage, name, directory)
        if not mode & stat.S_IWUSR:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _made(path: bytes) -> int:
    """Return a descriptor of a directory, which is made if it is not there. Raises OSError."""
    os.makedirs(path, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _run(options: Options, frontend: Frontend, image: int, stage: int, called: bytes, outcome: Outcome) -> None:
    """Have unsquashfs write the tree to a stage. Raises FatalError, Stopped."""
    processors = 1 if options.single else cpus() if options.slots is None else slots(options.slots, cpus(), 1)
    # Short paths: by /proc/self/fd/5/... it takes a fifth longer.
    arguments: list[bytes | str] = list(tools.ending_with_us("KILL"))
    arguments += ["env", f"--chdir=/proc/self/fd/{stage}", "unsquashfs"]
    arguments += ["-no-progress", "-quiet", "-processors", f"{processors}", "-d", _TREE, f"/proc/self/fd/{image}"]
    answer = answer_of(arguments, descriptors=(stage, image), stop=lambda: bool(frontend.stop.code))
    found = refused(answer.errors.replace(_TREE, called + b":"))
    # What it could not write, or read, is there in part: that must not get a name.
    others = [text for kind, text in found if kind == "other"]
    if answer.code not in (0, _WENT_ON) or (answer.code and (others or not found)):
        why = printable(b"; ".join((others or [text for _, text in found])[:3])) or f"exit code {answer.code}"
        raise FatalError(
            f"unsquashfs could not unpack {printable(called)}: {why}",
            "Nothing is left of it. Into a directory that is there entries are copied one by one, as far as they go.",
        )
    for kind, text in found:
        # What a user cannot set of attributes is noted, as in any copy.
        if kind == "device" or options.strict_metadata:
            outcome.failures.append(Failure(called, f"unsquashfs: {printable(text)}"))
        else:
            outcome.warn(called, f"unsquashfs: {printable(text)}")


def _counted(stage: int) -> Tally:
    """Return what is in a stage."""
    tree = Source(b"", b"/proc/self/fd/%d/%s" % (stage, _TREE), b"")
    return contents_of([tree], None, frozenset(), lambda: None).tally


# --- through mounts


@contextmanager
def looked_into(request: Request, frontend: Frontend, images: Sequence[tuple[bytes, int]]) -> Iterator[Imaging]:
    """Yield a run whose mounts are squashfs images by squashfuse: of these in their order. Raises FatalError."""
    assert request.images is not None
    tools.need([tools.Use("mount", "squashfs")])
    with FuseMounts() as mounts:
        run = Imaging(request, request.images, frontend, cast(MountRoom, mounts), ExitStack())
        for called, fd in images:
            run.shown.names[mounts.mount(fd, called)] = called + b":"
        with run.stack:
            yield run


def _through_mounts(request: Request, frontend: Frontend, opened: Sequence[int]) -> Report:
    from hpcp_mpi.operations.imaging.from_images import leader_of  # loads what unpacking does not need

    images = request.images
    assert images is not None
    with looked_into(request, frontend, list(zip(images.images, opened, strict=True))) as run:
        places = tuple(run.shown.names)
        options = replace(with_patterns_inside(request.options, run.room), places=(b"",) * len(places))
        inner = replace(request, sources=places, options=options, images=None)
        report = led(run, inner, leader_of(inner))
        report.unmatched = outside(report.unmatched, request.options, run.room)
    return report
