"""Making a squashfs (-di NAME.sqsh): by mksquashfs, into a stage that is renamed. It takes no mount, so anybody may.

The source is not copied by the engine, so what it promises of copies is not all true of a squashfs: whole seconds, no
ACLs, and a tree that is changed meanwhile is packed as mksquashfs finds it.
"""

import os
import stat
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host.block import tools
from hpcp_mpi.host.block.staging import Stage, Target, stage_of, target_at
from hpcp_mpi.host.commands import Answer, Stopped, answer_of
from hpcp_mpi.host.machine import cpus, slots
from hpcp_mpi.operations.imaging.rules.squash import LOST, excluding, making, said
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.imaging.shown import rename_report
from hpcp_mpi.operations.imaging.squash.check import check_squash, verify_squash
from hpcp_mpi.operations.imaging.squash.sources import Contents, Source, contents_of, squash_sources
from hpcp_mpi.rules.excludes import matcher, unmatched
from hpcp_mpi.vocab.errors import Failure, FatalError, UsageError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import ImageResult, Report
from hpcp_mpi.vocab.request import Request

_BLOCK = 512  # bytes of st_blocks


def pack_squash(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Make a squashfs of files and directories. Raises FatalError. wire: that of all ranks, which wait."""
    assert request.images is not None
    if request.images.partitions:
        raise UsageError("--partition has no meaning here: a squashfs has no partitions", "Leave out --partition.")
    _need_tools(request)
    return _packed(request, frontend, squash_sources(request.sources, request.images.image_root))


def repack_squash(run: Imaging) -> Report:
    """Make a squashfs of what is in a mounted image. Raises FatalError."""
    from hpcp_mpi.operations.imaging.image_sources import image_sources  # loads what packing of files does not need

    _need_tools(run.request)
    sources = image_sources(run)
    if len(sources.mounts) > 1:
        raise UsageError(
            "a squashfs is made of one file system, and there are several",
            "Name one of them with --partition.",
        )
    request = replace(run.request, options=sources.options, images=replace(run.images, image_root=True))
    argument = run.shown.path(sources.mounts[0])
    try:
        report = _packed(request, run.frontend, [Source(argument, sources.mounts[0], b"")])
    except FatalError as error:
        raise run.shown.renamed(error) from None
    sources.fill(report)
    return rename_report(report, run.shown)


def _packed(request: Request, frontend: Frontend, sources: list[Source]) -> Report:
    """Make a squashfs of sources. Raises FatalError."""
    images = request.images
    assert images is not None
    started = time.monotonic()
    arguments = [source.argument for source in sources]
    report = Report(request.verb.value, arguments, images.image, dry_run=request.options.dry_run)
    with ExitStack() as stack:
        target = stack.enter_context(target_at(images.image))
        _refuse_target(target)
        try:
            _pack(request, frontend, sources, target, stack, report)
        except (StoppedEarly, Stopped):
            report.stopped = frontend.stop.code
            report.outcome.warn(images.image, "it was not made: mksquashfs cannot go on where it ended")
    report.seconds = time.monotonic() - started
    for image in report.images if not report.dry_run else ():
        image.seconds = report.seconds
    return report


def _need_tools(request: Request) -> None:
    uses = [tools.Use("make", "squashfs")]
    if request.images is not None and request.images.check:
        uses.append(tools.Use("unpack", "squashfs"))
    tools.need(uses)


def _refuse_target(target: Target) -> None:
    if target.status is not None:
        what = "block device" if stat.S_ISBLK(target.status.st_mode) else "file"
        raise FatalError(
            f"{printable(target.given)} is there already, and a squashfs is never changed",
            f"Remove that {what} first, or name another image.",
        )


def _pack(
    request: Request,
    frontend: Frontend,
    sources: list[Source],
    target: Target,
    stack: ExitStack,
    report: Report,
) -> None:
    options, images, started = request.options, request.images, time.monotonic()
    assert images is not None
    stage = None
    if not options.dry_run:
        stage = stage_of(target)
        stack.callback(stage.remove)

    def refuse_if_stopped() -> None:
        if frontend.stop.code:
            raise StoppedEarly(frontend.stop.code, frontend.stop.name)

    excluded = matcher(options.all_excludes)
    own = frozenset() if stage is None else frozenset({stage.identity})
    contents = contents_of(sources, excluded, own, refuse_if_stopped)
    report.scan_seconds = time.monotonic() - started
    report.scanned = contents.tally
    outcome = report.outcome
    outcome.failures += contents.failures
    _note(outcome, contents, images.image)
    matched = 0 if excluded is None else excluded.matched
    report.unmatched = frozenset(unmatched(options.all_excludes, len(options.excludes), matched))
    made = ImageResult(images.image, "made", file_system="squashfs")
    report.images.append(made)
    if stage is None:
        outcome.copied = contents.tally
        return
    frontend.say(f"hpcp-mpi: mksquashfs packs {contents.tally.entries:,} entries; it stores {LOST}")
    _run(request, frontend, sources, contents, stage, outcome)
    status = os.fstat(stage.fd)
    made.size, made.allocated = status.st_size, status.st_blocks * _BLOCK
    if images.check:
        check_squash(frontend, stage.fd, images.image, contents.tally.entries)
    if options.verify:
        verify_squash(request, frontend, sources, contents, stage.fd, outcome)
    stage.publish()
    outcome.copied = contents.tally


def _note(outcome: Outcome, contents: Contents, image: bytes) -> None:
    if contents.itself:
        outcome.warn(contents.itself, "it is the image that is being made, and not in it")
    if contents.times:
        more = f" and {len(contents.times) - 1:,} more" if len(contents.times) > 1 else ""
        outcome.warn(contents.times[0], f"changed before 1970 or after 2105, which a squashfs cannot store{more}")


def _run(
    request: Request,
    frontend: Frontend,
    sources: Sequence[Source],
    contents: Contents,
    stage: Stage,
    outcome: Outcome,
) -> None:
    """Have mksquashfs write the stage. Raises FatalError, Stopped."""
    options, images = request.options, request.images
    assert images is not None
    processors = 1 if options.single else cpus() if options.slots is None else slots(options.slots, cpus(), 1)
    where, words = _called(sources, images.image_root)
    text, patterns = excluding(contents.left_out)
    # Short paths: by /proc/self/fd/5/... mksquashfs takes a tenth longer.
    directory = os.open(where, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listed = os.memfd_create("excludes", os.MFD_CLOEXEC)
    try:
        os.pwrite(listed, text, 0)
        arguments: list[bytes | str] = list(tools.ending_with_us("KILL"))
        arguments += ["env", f"--chdir=/proc/self/fd/{directory}", "mksquashfs"]
        arguments += [*words, f"/proc/self/fd/{stage.fd}"]
        arguments += [] if images.image_root else ["-no-strip"]
        arguments += [*making(processors, images.mkfs_options), "-ef", f"/proc/self/fd/{listed}"]
        arguments += ["-e", *patterns] if patterns else []
        files = (directory, listed, stage.fd)
        answer = answer_of(arguments, descriptors=files, stop=lambda: bool(frontend.stop.code))
    finally:
        os.close(directory)
        os.close(listed)
    _explain(answer, images.image, where, outcome, options.strict_metadata)


def _called(sources: Sequence[Source], in_root: bool) -> tuple[bytes, list[bytes]]:
    """Return the directory in which mksquashfs runs, and what the sources are called there."""
    if in_root and len(sources) == 1 and not sources[0].place:
        return sources[0].path, [b"."]
    words = [source.path if in_root else source.place or b"." for source in sources]
    return b"/", [b"./" + word if word.startswith(b"-") else word for word in words]


def _explain(answer: Answer, image: bytes, where: bytes, outcome: Outcome, strict: bool) -> None:
    """Turn what mksquashfs said into failures and notes. Raises FatalError if it failed. where: it ran there"""
    if answer.code:
        lines = [line for line in (answer.errors + answer.output).split(b"\n") if line.strip()]
        why = printable(b"; ".join(lines[:3])) or f"exit code {answer.code}"
        raise FatalError(f"mksquashfs could not make {printable(image)}: {why}", "Nothing is left of it.")
    acls = attributes = 0
    for kind, text in said(answer.errors):
        if kind == "empty":
            path = os.path.join(where, text.removeprefix(b"./"))
            outcome.failures.append(Failure(path, "cannot be read: it is an empty file in the image"))
        elif kind == "acl":
            acls += 1
        elif kind == "attribute":
            attributes += 1
        else:
            outcome.failures.append(Failure(image, f"mksquashfs: {printable(text)}"))
    for count, what in ((acls, "POSIX ACLs"), (attributes, "extended attributes")):
        if count and strict:
            outcome.failures.append(Failure(image, f"{count:,} {what} are not in it: a squashfs cannot store them"))
        elif count:
            outcome.warn(image, f"{count:,} {what} are not in it: a squashfs cannot store them")
