"""Runs in this process that stop at a given checkpoint, and runs that resume from any checkpoint before it.

    notes = Notes(stop_at=17)
    run(asked, notes)                                   # raises BrokenOff
    report = run(asked, Notes(), notes.saved(12))       # as if the last checkpoint that got to the disk were the 12th

So a kill, and a ledger that lags behind, can be tried at every point of a run.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.engine.checkpoints import CheckpointWriter
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.operations.dispatch import lead_operation
from hpcp_mpi.operations.session import lead
from hpcp_mpi.vocab.checkpoint import Checkpoint, ResumeState
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request
from hpcp_mpi.vocab.tally import NOTHING


class BrokenOff(Exception):
    """The run reached the checkpoint at which it should stop."""


class Notes:
    """A stand-in for a ledger, which keeps all checkpoints."""

    path = b"/the/ledger"

    def __init__(self, stop_at: int | None = None) -> None:
        self.checkpoints: list[Checkpoint] = []
        self.stop_at = stop_at

    def checkpoint(self, cp: Checkpoint) -> None:
        self.checkpoints.append(cp)
        if self.stop_at is not None and len(self.checkpoints) >= self.stop_at:
            raise BrokenOff

    def end(self, cp: Checkpoint | None, exit_code: int) -> None:
        """Do nothing: the end is not kept."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def saved(self, count: int, exit_code: int | None = None) -> ResumeState | None:
        """Return the state after count checkpoints, to resume from. exit_code: of a run that ended"""
        some = self.checkpoints[:count]
        if not some:
            return None
        records: defaultdict[str, list[bytes]] = defaultdict(list)
        for each in some:
            if each.restart:
                records.clear()
            for kind, block in each.records.items():
                records[kind].append(block)
        failures = tuple(failure for each in some for failure in each.failures)
        tallies = defaultdict(lambda: NOTHING, some[-1].tallies)
        latest = replace(some[-1], failures=failures, tallies=tallies)
        return ResumeState(1, 0.0, latest, dict(records), exit_code is not None, exit_code)


class _Eager(CheckpointWriter):
    """A writer that makes a checkpoint at every opportunity."""

    def due(self) -> bool:
        return True


def run(request: Request, notes: Notes, saved: ResumeState | None = None, said: list[str] | None = None) -> Report:
    """Run a request with one worker. saved: the state of an earlier run, to resume from"""
    stop = StopRequest()
    request = replace(request, options=replace(request.options, sync_ranges=True), force=True)
    checkpoints = _Eager(notes, saved, said.append if said is not None else lambda _: None)
    frontend = Frontend(stop, certain=True, confirm=lambda _: True, checkpoints=checkpoints)
    if said is not None:
        frontend = replace(frontend, say=said.append)
    with lead(None, stop) as ranks:
        return lead_operation(ranks.wire, request, frontend)
