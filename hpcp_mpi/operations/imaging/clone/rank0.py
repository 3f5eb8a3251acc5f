"""Cloning a disk (-dd): checks of all partitions, the question, each partition in its place, and the table last.

What was not finished has no partition table, so nothing boots from it or mounts it.
"""

import os
import time

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.clone.partitions import make_partition
from hpcp_mpi.operations.imaging.clone.plan import Plan, plan_of
from hpcp_mpi.operations.imaging.clone.report import say_plan
from hpcp_mpi.operations.imaging.clone.source import source_of
from hpcp_mpi.operations.imaging.clone.target import CloneTarget, ask, target_of
from hpcp_mpi.operations.imaging.clone.work import Work, planned_result
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import EXIT_RESUMABLE, FatalError
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import ImageResult, Report


def clone(run: Imaging) -> Report:
    """Clone the disk that is asked for. Raises FatalError, UsageError. A signal ends it early: the report says so."""
    report = Report(sources=[run.images.images[0]], destination=run.images.image, dry_run=run.options.dry_run)
    try:
        _clone(run, report)
    except StoppedEarly as early:
        report.stopped = early.code
    return report


def _clone(run: Imaging, report: Report) -> None:
    began = time.monotonic()
    source = source_of(run)
    target = target_of(run, source)
    plan = plan_of(run, source, target)
    run.notes += [(source.image.path, note) for note in plan.notes]
    if run.options.dry_run:
        say_plan(run, plan, target)
        report.partitions = [planned_result(plan, part) for part in plan.parts]
        report.scanned = report.outcome.copied = plan.tally
    else:
        if not ask(run, target):
            raise FatalError(f"{printable(target.path)} was not overwritten: the answer was no", "Nothing was changed.")
        _made(Work(run, plan, target, report))
    report.images.append(_result(plan, target, began))


def _made(work: Work) -> None:
    """Make the clone. Raises FatalError, StoppedEarly."""
    run, target = work.run, work.target
    run.refuse_if_stopped()
    try:
        target.begin(work.plan.size, work.plan.used)
        for part in work.plan.parts:
            work.report.partitions.append(make_partition(work, part))
        run.refuse_if_stopped()
        target.write_table(work.plan.source, work.plan.layout.table, not work.plan.layout.moved)
        unseen = target.publish()
        if unseen:
            run.notes.append(
                (target.path, f"the kernel has not read its new table ({unseen}): partprobe, or a restart")
            )
    except (Stopped, StoppedEarly):
        _keep(work)
        raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None
    finally:
        if target.stage is not None:
            target.stage.remove()


def _keep(work: Work) -> None:
    """Leave what is made by now for the next run of the same command, if there is time. Raises FatalError."""
    run, target = work.run, work.target
    if run.frontend.stop.code != EXIT_RESUMABLE or run.frontend.stop.urgent:
        return
    what = "what is made of the clone by now; the same command goes on with it"
    if target.stage is not None and target.stage.is_open:
        work.report.outcome.warn(target.stage.keep(), what)
    elif target.device is not None:
        work.report.outcome.warn(target.path, f"it has no partition table yet; {what}")


def _result(plan: Plan, target: CloneTarget, began: float) -> ImageResult:
    """Return what is said of the clone as a whole."""
    allocated = None
    if target.image is not None and target.stage is not None:
        allocated = os.stat(target.image.path).st_blocks * 512
    table, seconds = plan.layout.table, time.monotonic() - began
    return ImageResult(target.path, "cloned", plan.size, allocated, table.label, uuid=table.id, seconds=seconds)
