"""A new image: measured, made as small as its content allows, filled as a stage, checked, and only then named."""

import os
import time
from contextlib import suppress

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import tools
from hpcp_mpi.host.block.devices import is_block
from hpcp_mpi.host.block.making import room_of
from hpcp_mpi.host.block.mounts import can_mount
from hpcp_mpi.host.block.probing import content_of, size_of
from hpcp_mpi.host.block.staging import Stage, Target, stage_of
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.mounts import WITHOUT_CASE, type_of
from hpcp_mpi.operations.imaging.measuring import needed
from hpcp_mpi.operations.imaging.pack import volume as volumes
from hpcp_mpi.operations.imaging.pack.filling import differing, fill
from hpcp_mpi.operations.imaging.pack.packed_sources import Packed
from hpcp_mpi.operations.imaging.pack.room_watch import RESERVE, Expected, free_outside
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.prepare.arguments import absolute
from hpcp_mpi.operations.prepare.copy_job import NoDestination
from hpcp_mpi.rules.excludes import matcher
from hpcp_mpi.vocab.errors import EXIT_RESUMABLE, FatalError, UsageError
from hpcp_mpi.vocab.image_options import Content, MakeFileSystem, Need
from hpcp_mpi.vocab.options import GIB, MIB
from hpcp_mpi.vocab.paths import in_one_line, printable
from hpcp_mpi.vocab.report import ImageResult, Report
from hpcp_mpi.vocab.tally import Tally

_TRIES = 4  # file systems that are made one after the other, each bigger
_MOST_OF_FAT = 4 * GIB - 1


def pack_new(run: Imaging, target: Target, packed: Packed) -> Report:
    """Make an image of what is packed. Raises FatalError; then nothing has its name. A signal is in the report."""
    refuse_meant_for_existing(run)
    if not run.options.make_destination:
        raise NoDestination(f"the image {printable(target.given)} does not exist", "Make it, or leave out -ncd.")
    began = time.monotonic()
    need_tools(run)
    need = measured(run, packed)
    what = sizes.smallest(wanted_type(run, need), need, run.images.label, run.images.mkfs_options)
    _refuse_small_room(target, what, need)
    if run.options.dry_run:
        return _planned(run, target, packed, what, need)
    run.refuse_if_stopped()
    stage = stage_of(target)
    try:
        report = _made(run, stage, packed, what, need)
        if report.ended_early:
            if worth_keeping(run, report):
                report.outcome.warn(*_kept(stage))
            return report
        _finish(run, stage, packed, report)
    except Stopped:
        raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None
    finally:
        stage.remove()
    report.images.append(result_of(target, "made", began))
    return report


def refuse_meant_for_existing(run: Imaging) -> None:
    """Refuse options that mean nothing for an image that is to be made. Raises UsageError."""
    what = f"{printable(run.images.image)} is not there yet"
    if run.images.partitions and not run.images.images:
        raise UsageError(f"--partition picks from an image, and {what}", "Leave out --partition.")
    if run.options.mirror:
        raise UsageError(f"-rme removes from an image what the sources lack, and {what}", "Leave out -rme.")


def measured(run: Imaging, packed: Packed) -> Need:
    """Return what the sources take. Raises FatalError, StoppedEarly."""
    run.frontend.say("hpcp-mpi: measuring the sources")
    try:
        return needed(
            listed(packed), matcher(packed.options.all_excludes), lambda: run.stopping, packed.options.left_out
        )
    except Stopped:
        raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None


def listed(packed: Packed) -> list[bytes]:
    """Return the absolute paths of the sources, of which none is a symlink that the copy follows."""
    paths = [(absolute(each), each.endswith(b"/")) for each in packed.sources]
    return [path + b"/." if slash and os.path.islink(path) else path for path, slash in paths]


# --- what is to be made


def wanted_type(run: Imaging, need: Need, size: int = 0) -> str:
    """Return the type of a new image. size: bytes that it will have; 0: what it needs"""
    asked = asked_type(run)
    possible = tools.is_there("mkfs.xfs") and tools.is_there("xfs_repair") and can_mount("xfs")
    possible = possible and (not size or sizes.smallest("xfs", Need()).bytes <= size)
    return sizes.file_system_for(need, asked, possible)


def asked_type(run: Imaging) -> str:
    asked, wanted = run.images.file_system, run.options.file_system.lower()
    if not wanted:
        return asked
    if wanted not in sizes.TYPES or asked not in ("auto", wanted):
        would = "ext4 or xfs" if asked == "auto" else asked
        raise UsageError(
            f"the image would be {would}, and not {in_one_line(wanted)} (-tfs)",
            f"Leave out -tfs, or give --image-fs one of {', '.join(sizes.TYPES)}.",
        )
    return wanted


def need_tools(run: Imaging) -> None:
    """Refuse what this machine has no program or no driver for, before anything is listed. Raises FatalError."""
    asked = asked_type(run)
    kind = asked if asked != "auto" else "ext4"
    if kind not in sizes.TYPES:
        raise UsageError(f"no image is made as {kind}", f"--image-fs is one of {', '.join(sizes.TYPES)}.")
    sizes.check_label(kind, run.images.label)
    checks = [tools.Use("check", kind)] if run.images.check else []
    tools.need([tools.Use("make", kind), *checks])
    if not can_mount(kind):
        raise FatalError(f"this kernel cannot mount {kind}", f"Is there a module (modprobe {kind})?")


def _refuse_small_room(target: Target, what: MakeFileSystem, need: Need) -> None:
    """Refuse an image that its own file system has no room for. Raises FatalError."""
    directory = os.open(b"/proc/self/fd/%d" % target.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        free, kind = free_outside(directory), type_of(directory)
    finally:
        os.close(directory)
    fat = kind in WITHOUT_CASE  # without holes: an image takes all of its size
    takes = what.bytes if fat else min(what.bytes, sizes.taken(what, need)[0] + 512 * need.inodes)
    if kind in ("vfat", "msdos") and what.bytes > _MOST_OF_FAT:
        raise FatalError(
            f"the image would have {amount(what.bytes)}, and {kind} at {printable(target.path)} holds files of "
            f"{amount(_MOST_OF_FAT)} at most",
            "Name another place.",
        )
    if free is not None and free < takes + RESERVE:
        raise FatalError(
            f"the image would take {amount(takes)}, and its file system has {amount(free)} left, of which "
            f"{RESERVE // MIB} MiB have to stay free: {printable(target.path)}",
            "Make room, or name another place.",
        )


def amount(count: int) -> str:
    """Return bytes as people see them, in MiB."""
    return f"{count / MIB:,.1f} MiB"


def _planned(run: Imaging, target: Target, packed: Packed, what: MakeFileSystem, need: Need) -> Report:
    """Return the report of a dry run, which has listed the sources only."""
    inodes = f", {what.inodes:,} inodes" if what.inodes else ""
    run.frontend.say(
        f"hpcp-mpi: {printable(target.given)} would be made: {what.type}, {what.bytes:,} bytes "
        f"({amount(what.bytes)}){inodes}, for {need.entries:,} entries with {need.data:,} bytes"
    )
    scanned = Tally(need.files, need.directories, need.symlinks, need.others, need.data)
    report = Report(sources=list(packed.sources), destination=target.given, dry_run=True, scanned=scanned)
    report.outcome.copied = scanned
    packed.fill(report)
    report.images.append(ImageResult(target.given, "made", what.bytes, None, what.type, run.images.label))
    return report


# --- making it


def _made(run: Imaging, stage: Stage, packed: Packed, what: MakeFileSystem, need: Need) -> Report:
    """Return the report of the copy into a stage, which is unmounted then."""
    called = stage.target.given
    volume, base = _goes_on(run, stage, what, need) if stage.kept else (None, True)
    if volume is None:
        volume = _fresh(run, stage, what, need)
    wanted, inodes = sizes.taken(volume.type, need)
    expected = Expected(wanted, inodes) if base else Expected()
    try:
        report = fill(run, volume, packed.without(frozenset({stage.identity})), expected, run.images.grow)
    except BaseException:
        with suppress(FatalError):  # another error ends the run
            volumes.drop(run, volume)
        raise
    report.destination = called
    if report.ended_early and not worth_keeping(run, report):
        volumes.drop(run, volume)
        return report
    if not report.ended_early:
        volumes.trimmed(volume)
    volumes.close(run, volume)
    return report


def worth_keeping(run: Imaging, report: Report) -> bool:
    """Return whether another run goes on with what this one leaves. One that has to end at once leaves nothing."""
    return report.stopped == EXIT_RESUMABLE and not run.frontend.stop.urgent


def _fresh(run: Imaging, stage: Stage, what: MakeFileSystem, need: Need) -> WritableVolume:
    """Return a new file system in a stage that the kernel says is big enough. Raises FatalError."""
    run.frontend.say(f"hpcp-mpi: making {printable(stage.target.given)}: {what.type}, {amount(what.bytes)}")
    for _ in range(_TRIES):
        stage.empty(what.bytes)
        volume = volumes.new_volume(run, stage.fd, what, stage.target.given)
        lacks = sizes.missing(what, need, *room_of(volume.mount, what.type))
        if not any(lacks):
            return volume
        volumes.close(run, volume)
        what = sizes.bigger(what, lacks)
    raise FatalError(
        f"mkfs for {what.type} makes no file system with room for {need.entries:,} entries and {amount(need.blocks)}",
        "Choose another type with --image-fs.",
    )


def _goes_on(run: Imaging, stage: Stage, what: MakeFileSystem, need: Need) -> tuple[WritableVolume | None, bool]:
    """Return the file system that an earlier run has kept, if it is what is asked for and good; None if it is not."""
    path = b"/proc/self/fd/%d" % stage.fd
    content = content_of(path, (stage.fd,))
    same = content.type == what.type or (run.images.file_system == "auto" and content.type in sizes.TYPES)
    if not same or content.label != run.images.label or run.images.mkfs_options:
        return None, True
    if volumes.checked(run, stage.fd, content.type, stage.target.given):
        return None, True
    run.frontend.say(f"hpcp-mpi: going on with {printable(stage.target.given)}, which an earlier run began")
    return volumes.mounted_volume(run, stage.fd, content.type, stage.target.given, stage=True), False


def _kept(stage: Stage) -> tuple[bytes, str]:
    """Leave a stage, which is unmounted, for the next run of the same command; return a note of that."""
    return stage.keep(), "what is made of the image by now; the same command goes on with it"


def _finish(run: Imaging, stage: Stage, packed: Packed, report: Report) -> None:
    """Check a stage and give it its name. Raises FatalError, Stopped."""
    called = stage.target.given
    kind = content_of(b"/proc/self/fd/%d" % stage.fd, (stage.fd,)).type
    try:
        if run.images.check:
            run.frontend.say(f"hpcp-mpi: checking {printable(called)}")
            wrong = volumes.checked(run, stage.fd, kind, called)
            if wrong:
                message = f"{printable(called)} was not made: its check found errors: {wrong}"
                raise FatalError(message, "Is its disk good?")
        if run.options.verify:
            verify(run, stage.fd, kind, packed, report, called)
    except (Stopped, StoppedEarly):
        if run.frontend.stop.code == EXIT_RESUMABLE and not run.frontend.stop.urgent:
            path, note = _kept(stage)
            run.frontend.warn(f"hpcp-mpi: {printable(path)}: {note}")
        raise
    stage.publish()
    if report.failures:
        report.outcome.warn(called, f"it was made, and lacks what failed: {len(report.failures):,} entries")


def verify(
    run: Imaging,
    fd: int,
    kind: str,
    packed: Packed,
    report: Report,
    called: bytes,
    offset: int = 0,
    size: int = 0,
) -> None:
    """Compare the whole content of an unmounted image with its sources; what differs fails in the report."""
    run.frontend.say(f"hpcp-mpi: comparing {printable(called)} with its sources")
    with volumes.reading(run, fd, kind, called, offset, size) as mount:
        found = differing(run, packed, mount, called)
    known = {each.path for each in report.failures}
    report.outcome.failures += [each for each in found.failures if each.path not in known]
    report.outcome.verified = found.outcome.skipped
    if found.stopped:
        raise StoppedEarly(found.stopped, run.frontend.stop.name)


def result_of(target: Target, what: str, began: float, content: Content | None = None) -> ImageResult:
    """Return what is said of an image in the report."""
    path = target.path
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size, allocated = size_of(fd), None if is_block(fd) else os.fstat(fd).st_blocks * 512
    finally:
        os.close(fd)
    content = content or content_of(path)
    seconds = time.monotonic() - began
    return ImageResult(target.given, what, size, allocated, content.type, content.label, content.uuid, seconds)
