"""The comparison of a clone with its source (--verify): files with files, raw partitions by reading both again."""

from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block import raw
from hpcp_mpi.operations.imaging.clone_partitions import Work, attached, driver_of
from hpcp_mpi.operations.imaging.clone_plan import PlannedPart
from hpcp_mpi.operations.imaging.filling import compare_between
from hpcp_mpi.operations.imaging.rules.table import shown_partition
from hpcp_mpi.operations.imaging.rules.treatment import Kind
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.paths import child_path

_READING = {"xfs": ("nouuid",), "btrfs": ("subvolid=5",)}


def verify(work: Work) -> None:
    """Compare each partition with its source; what differs is a failure of the report. Raises FatalError, Stopped."""
    for part in work.plan.parts:
        if part.source.kind is Kind.FILES:
            _verify_files(work, part)
        elif part.source.kind is Kind.RAW:
            _verify_raw(work, part)


def _verify_files(work: Work, part: PlannedPart) -> None:
    run, make = work.run, part.make
    assert make is not None
    run.frontend.say(f"hpcp-mpi: comparing {shown_partition(part.target)} with its source")
    options = replace(work.options, full_hash=True)
    with attached(work, part, False) as loop:
        mount = run.room.mount(loop.path, driver_of(make.type), _READING.get(make.type, ()))
        called = work.called(part)
        run.shown.names[mount] = called + b":"
        try:
            report = compare_between(run, [part.source.place], [b""], mount, options)
        finally:
            run.room.unmount(mount)
    if report.stopped:
        raise StoppedEarly(report.stopped, run.frontend.stop.name)
    groups = report.paths or {}
    for path in [path for group in groups.values() for path in group]:
        shown = child_path(called + b":/", path.rstrip(b"/"))
        run.failures.append(Failure(shown, "differs from its source (--verify)"))
    wrong = sum((report.differences or {}).values())
    if report.paths is None and wrong:
        run.failures.append(Failure(called, f"{wrong:,} entries differ from their sources (--verify)"))
    run.failures += report.failures
    work.report.outcome.verified = work.report.outcome.verified.plus(report.outcome.skipped)


def _verify_raw(work: Work, part: PlannedPart) -> None:
    run, volume, source = work.run, part.source.volume, work.plan.source
    assert volume is not None
    run.frontend.say(f"hpcp-mpi: comparing {shown_partition(part.target)} with its source")
    raw.forget_cached(source.image.fd, volume.offset, volume.size)
    raw.forget_cached(work.target.fd, part.offset, volume.size)
    for offset, length in raw.differing(
        source.image.fd, volume.offset, work.target.fd, part.offset, volume.size, lambda: run.stopping
    ):
        run.failures.append(
            Failure(work.called(part), f"{length:,} bytes differ from byte {offset:,} of the source on (--verify)")
        )
