"""A command that is several copies: to several destinations, or of one source after the other.

All of them are checked before the first begins. To several destinations: directories go to all of them, anything else
to the one that has it already, or to the one that `rules` beside this file names. So the copies that follow each other
agree without a record of who took what, and a later run finds everything in its place.
"""

import os
from dataclasses import replace
from functools import partial

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations.copy.destinations.choose import DestinationFilter, _free, _Plan
from hpcp_mpi.operations.copy.destinations.rules import DestinationHash
from hpcp_mpi.operations.copy.phases import run_copy
from hpcp_mpi.operations.copy.rank0 import run_copies
from hpcp_mpi.operations.prepare.copy_job import NoDestination, Prepared, prepare
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.vocab.errors import Failure, FatalError, UsageError
from hpcp_mpi.vocab.paths import is_within, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request
from hpcp_mpi.vocab.tally import one_file


def lead_destinations(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Do a copy that is several; rank 0 calls it, the others follow. Raises FatalError."""
    destinations, missing = _checked(request)
    if len(destinations) > 1:
        report = _spread(wire, request, destinations, frontend)
    else:
        prepared = prepare(request.sources, destinations[0], request.options)
        # Each copy knows of the others' sources, but does not scan them.
        scans = [partial(Scan, only=index) for index in range(len(prepared.landings))]
        # Whether anything may be removed is known when all are copied: a later one may fail, or exceed --max-delete.
        apart = request.options.sequential and not request.options.mirror
        report = run_copies(wire, prepared, frontend, scans if apart else (None,))
        if request.options.mirror and request.options.sequential and len(scans) > 1:
            note = "-nb ignored: -rme depends on all sources, so they were copied together"
            report.outcome.warn(prepared.job.destination, note)
    for destination in missing:
        report.outcome.warn(destination, "it does not exist; skipped (-ncd)")
    return report


def _checked(request: Request) -> tuple[list[bytes], list[bytes]]:
    """Return the destinations to copy to, and those that are left out. Nothing is made yet. Raises FatalError."""
    there: dict[bytes, bytes] = {}  # by their roots: the same one twice is one
    missing: list[bytes] = []
    for destination in request.destinations:
        try:
            copy = prepare(request.sources, destination, replace(request.options, dry_run=True))
        except NoDestination:
            if len(request.destinations) == 1:
                raise
            missing.append(destination)
            continue
        if len(request.destinations) > 1:
            _refuse_several(copy)
        there.setdefault(os.path.realpath(copy.job.destination), destination)
    if not there:
        raise FatalError("none of the destinations exists", "Create one of them, or leave out -ncd.")
    for root in there:
        for other in there:
            if root != other and is_within(other, root):
                raise UsageError(f"the destination {printable(other)} lies inside another one, {printable(root)}")
    return list(there.values()), missing


def _refuse_several(copy: Prepared) -> None:
    """Refuse what cannot be done with several destinations."""
    if any(landing.dest_name is not None for landing in copy.landings):
        raise UsageError("a file cannot be spread over several destinations", "Name directories with -d.")
    if copy.job.options.move:
        raise UsageError(
            "-rm with several destinations: none of them would hold all of a source",
            "Copy first, and remove the sources when that is done.",
        )


# --- several destinations


def _spread(wire: Wire, request: Request, destinations: list[bytes], frontend: Frontend) -> Report:
    """Copy to one destination after the other; what found no room where it belongs goes where there is some."""
    # Rank 0 decides what goes where, so it lists; links go where their targets are, so no target is fetched.
    options = replace(request.options, parallel_listing=False, links="never")
    copies = [prepare(request.sources, destination, options) for destination in destinations]
    roots = [each.job.destination for each in copies]
    shares = [1.0] * len(roots) if request.random_destinations else _shares(roots)
    plan = _Plan(roots, DestinationHash(shares, b"\0".join(roots)))
    total = Report()
    for again in (False, True):
        if again and not plan.left_over:
            break
        for index, each in enumerate(copies):
            if total.ended_early:
                break
            # What a copy before could not do is not tried again elsewhere: it is named already.
            chooser = DestinationFilter(plan, index, again, each.job, {failure.path for failure in total.failures})
            this = _may_still_remove(each, total.outcome.removed.entries)
            this = replace(this, made_root=each.made_root and not again)
            report = run_copy(wire, this, frontend, partial(Scan, choose=chooser))
            if index or again:
                # They are the same in all, so what was done with them at the first counts.
                done = report.outcome
                report.scanned, done.copied, done.updated, done.skipped = (
                    tally._replace(directories=0) for tally in (report.scanned, done.copied, done.updated, done.skipped)
                )
            _add(total, report)
    _name_left_over(total, plan)
    total.destination = roots[0]
    total.destinations = roots
    return total


def _may_still_remove(copy: Prepared, removed: int) -> Prepared:
    """Return a copy that may remove what those before it have left of --max-delete."""
    options = copy.job.options
    if options.max_delete is None:
        return copy
    options = replace(options, max_delete=max(0, options.max_delete - removed))
    return replace(copy, job=replace(copy.job, options=options))


def _add(total: Report, report: Report) -> None:
    total.sources, total.dry_run = report.sources, report.dry_run
    total.add(report)


def _name_left_over(total: Report, plan: "_Plan") -> None:
    for source, size in plan.left_over.values():
        reason = f"it fits on none of the destinations: it takes {size:,} bytes"
        total.failures.append(Failure(source, reason, attempted=one_file(size)))
        total.scanned = total.scanned.plus(one_file(size))


def _shares(roots: list[bytes]) -> list[float]:
    """Return the free bytes of each destination; those on one file system share what is free there."""
    devices = []
    for root in roots:
        while not os.path.isdir(root):
            root = os.path.dirname(root)
        devices.append(os.stat(root).st_dev)
    free = [_free(root) for root in roots]
    known = [each for each in free if each is not None]
    mean = sum(known) / len(known) if known else 1.0  # where the free bytes are not known
    return [
        (mean if each is None else each) / devices.count(device) for each, device in zip(free, devices, strict=True)
    ]
