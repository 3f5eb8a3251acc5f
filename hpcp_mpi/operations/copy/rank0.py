"""A copy as a command asks for it, on rank 0: one or several scans, then what links lead to, then a move's removal."""

from collections.abc import Sequence
from dataclasses import replace

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations.copy.phases import run_copy
from hpcp_mpi.operations.copy.symlink_targets.rank0 import SymlinkTargets
from hpcp_mpi.operations.prepare.copy_job import Prepared, prepare
from hpcp_mpi.operations.scan.copy_scan import ScanMaker
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request


def lead_copy(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Copy sources to a destination with all workers of the wire; rank 0 calls it, the others follow.

    Raises FatalError. A signal ends it early: the report's exit code says so.
    """
    return run_copies(wire, prepare(request.sources, request.destinations[0], request.options), frontend)


def run_copies(
    wire: Wire, prepared: Prepared, frontend: Frontend, scans: Sequence[ScanMaker | None] = (None,)
) -> Report:
    """Do what is prepared, one scan after the other, and copy what the links in it point to. Raises FatalError."""
    tracking = SymlinkTargets(prepared)
    try:
        total: Report | None = None
        for number, scan in enumerate(scans):
            # The root is new to the first one only.
            this = replace(prepared, made_root=prepared.made_root and not number)
            with tracking.watching(scan) as maker:
                report = run_copy(wire, this, frontend, maker)
            if total is None:
                total = report
            else:
                total.add(report)
            if total.ended_early:
                break
        assert total is not None
        tracking.follow(wire, frontend, total)
        if prepared.job.options.move:
            from hpcp_mpi.operations.move.rank0 import move

            move(wire, prepared, frontend, total)
        return total
    finally:
        tracking.close()
