"""Filling an image: the copy into what is mounted of it, repeated when the image was too small, and its comparison."""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from hpcp_mpi.host.block import making, mounts
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.compare.rank0 import lead_compare
from hpcp_mpi.operations.imaging.pack.packed_sources import Packed
from hpcp_mpi.operations.imaging.pack.parents import make_parents, settle_parents
from hpcp_mpi.operations.imaging.pack.room_watch import Expected, RoomWatch, bigger_size, taken_by
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume, grow, recovered
from hpcp_mpi.operations.imaging.rules.sizes import BLOCK, MIB
from hpcp_mpi.operations.imaging.run import Imaging, copy_between, led
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import child_path
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.tally import left_of

FULL = os.strerror(errno.ENOSPC)
_TRIES = 20  # copies of one run, each of which needed more room


def fill(run: Imaging, volume: WritableVolume, packed: Packed, expected: Expected, may_grow: bool) -> Report:
    """Copy what is packed into a volume, which grows when it is full; return the report. Raises FatalError.

    A signal ends it early: the report's exit code says so.
    """
    make_parents(volume.mount, packed.parents, volume.called)
    base, growths, refused = taken_by(volume), 0, ""
    total: Report | None = None
    flushed = False
    for _ in range(_TRIES):
        with RoomWatch(volume, expected, may_grow, run.frontend.stop, base) as watch:
            options = packed.without(recovered(volume.mount)).options
            report = copy_between(run, packed.sources, packed.places, volume.mount, options)
        watch.refuse_full()
        total = report if total is None else after(total, report)
        growths += watch.growths
        refused = watch.refused
        full = [each for each in total.failures if FULL in each.reason]
        if total.ended_early or not full or not may_grow:
            break
        if not flushed and _has_room(volume, full):
            flushed = True
            continue
        try:
            grow(run, volume, bigger_size(volume, base, *_missing(volume, full)))
        except FatalError as error:
            refused = error.message
            break
        growths += 1
        expected = Expected()  # nobody knows what is still missing
    assert total is not None
    packed.fill(total)
    if growths:
        total.outcome.warn(volume.called, f"it was made bigger: {volume.size:,} bytes")
    if refused:
        total.outcome.warn(volume.called, f"it was not made bigger: {refused}")
    if not total.ended_early:
        total.outcome.failures += settle_parents(volume.mount, packed.parents, volume.called)
    return total


def _has_room(volume: WritableVolume, full: Sequence[Failure]) -> bool:
    """Return whether there is room for what failed, now that all is written down: xfs sets more aside than it uses."""
    with suppress(OSError):
        mounts.flush(volume.mount)
        room = making.room_of(volume.mount, volume.type)
        return volume.type == "xfs" and room.bytes > 2 * sum(each.attempted.bytes + BLOCK for each in full) + MIB
    return False


def _missing(volume: WritableVolume, full: Sequence[Failure]) -> tuple[int, int]:
    """Return the bytes and inodes that were missing for what failed, as far as that is known."""
    inside = os.statvfs(volume.mount)
    few = inside.f_files and inside.f_ffree <= len(full)
    return sum(each.attempted.bytes for each in full), len(full) if few else 0


def after(first: Report, second: Report) -> Report:
    """Return the report of a copy and of its repetition, of which the second found what the first had done."""
    copied, skipped = first.outcome.copied, second.outcome.skipped
    second.outcome.copied = second.outcome.copied.plus(copied)
    second.outcome.skipped = left_of(skipped, copied)
    known = set(second.outcome.notes)
    second.outcome.notes = [note for note in first.outcome.notes if note not in known] + second.outcome.notes
    second.outcome.linked = max(first.outcome.linked, second.outcome.linked)
    second.outcome.removed = second.outcome.removed.plus(first.outcome.removed)
    second.started = first.started
    second.seconds += first.seconds
    second.scan_seconds += first.scan_seconds
    second.chunks += first.chunks
    second.steals += first.steals
    second.messages += first.messages
    return second


def compare_between(
    run: Imaging, sources: Sequence[bytes], places: Sequence[bytes], destination: bytes, options: Options
) -> Report:
    """Compare as ever, between directories; in the report mounts are called by the images they are of.

    places: as of copy_between. Raises FatalError; a signal ends it early: the report says so.
    """
    asked = run.request if run.request.verb is Verb.COMPARE else Request(Verb.COMPARE, ())
    options = replace(options, places=tuple(places))
    request = replace(asked, sources=tuple(sources), destinations=(destination,), options=options, images=None)
    frontend = run.frontend
    if not isinstance(frontend.items, Differences):
        run.frontend = replace(frontend, items=None)
    try:
        return led(run, request, lead_compare)
    finally:
        run.frontend = frontend


def differing(run: Imaging, packed: Packed, mount: bytes, called: bytes) -> Report:
    """Return the report of a comparison of all content, in which whatever is not as in the sources is a failure."""
    left_out = packed.without(recovered(mount))
    options = replace(left_out.options, full_hash=True, mirror=False, verify=False)
    report = compare_between(run, packed.sources, packed.places, mount, options)
    groups = report.paths or {}
    for path in [*groups.get("added", ()), *groups.get("modified", ())]:
        shown = child_path(called + b":/", path.rstrip(b"/"))
        report.outcome.failures.append(Failure(shown, "differs from its source (--verify)"))
    if report.paths is None and report.differences is not None:
        wrong = report.differences["added"] + report.differences["modified"]
        if wrong:
            report.outcome.failures.append(Failure(called, f"{wrong:,} entries differ from their sources (--verify)"))
    return report
