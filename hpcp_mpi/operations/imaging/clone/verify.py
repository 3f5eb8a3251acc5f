"""The comparison of a clone with its source (--verify): files with files, raw partitions by reading both again."""

from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import raw
from hpcp_mpi.operations.imaging.blocks_shown import showing_blocks
from hpcp_mpi.operations.imaging.clone.plan import PlannedPart
from hpcp_mpi.operations.imaging.clone.work import Work, attached, mounted
from hpcp_mpi.operations.imaging.pack.filling import compare_between
from hpcp_mpi.operations.imaging.rules.table import shown_partition
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.paths import child_path


def verify_files(work: Work, part: PlannedPart) -> None:
    """Compare all files of a partition, unmounted, with its source; what differs fails. Raises FatalError."""
    run = work.run
    run.frontend.say(f"hpcp-mpi: comparing {shown_partition(part.target)} with its source")
    options, called = replace(work.options, full_hash=True), work.called(part)
    with attached(work, part, False) as loop, mounted(work, part, loop, False) as place:
        report = compare_between(run, [part.source.place], [b""], place, options)
    if report.stopped:
        raise StoppedEarly(report.stopped, run.frontend.stop.name)
    known = {each.path for each in work.report.failures}
    for path in [path for group in (report.paths or {}).values() for path in group]:
        if child_path(part.source.place, path.rstrip(b"/")) not in known:
            shown = child_path(called + b":/", path.rstrip(b"/"))
            run.failures.append(Failure(shown, "differs from its source (--verify)"))
    wrong = sum((report.differences or {}).values())
    if report.paths is None and wrong:
        run.failures.append(Failure(called, f"{wrong:,} entries differ from their sources (--verify)"))
    run.failures += report.failures
    work.report.outcome.verified = work.report.outcome.verified.plus(report.outcome.skipped)


def verify_raw(work: Work, part: PlannedPart) -> None:
    """Read the blocks of a partition, and of its source, again; what differs fails. Raises Stopped."""
    run, volume, source = work.run, part.source.volume, work.plan.source
    assert volume is not None
    run.frontend.say(f"hpcp-mpi: comparing {shown_partition(part.target)} with its source")
    raw.forget_cached(source.image.fd, volume.offset, volume.size)
    raw.forget_cached(work.target.fd, part.offset, volume.size)
    shown = showing_blocks(run.frontend.watcher, "comparing blocks", volume.size)
    for offset, length in raw.differing(
        source.image.fd, volume.offset, work.target.fd, part.offset, volume.size, lambda: run.stopping, shown
    ):
        why = f"{length:,} bytes differ from byte {offset:,} of the source on (--verify)"
        run.failures.append(Failure(work.called(part), why))
