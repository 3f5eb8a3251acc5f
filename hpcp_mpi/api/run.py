"""One call of the API, on every rank: rank 0's keywords count, and all ranks get its report or what it raised.

It may be called in any thread, and without MPI by several at once: it changes nothing of the process but the limit of
open files, and while it is called in the main thread Ctrl-C's handler, if that is Python's own.
"""

import gc
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from hpcp_mpi import __version__
from hpcp_mpi.api import watching
from hpcp_mpi.api.asked import Asked, asked, patience
from hpcp_mpi.api.ledgers import written_here
from hpcp_mpi.cluster.joining import Meeting, out_of_step
from hpcp_mpi.cluster.launcher import launched
from hpcp_mpi.cluster.signals import StopRequest, interruptible
from hpcp_mpi.cluster.slurm import job_number
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.walltime import before_the_end
from hpcp_mpi.host.machine import user_name
from hpcp_mpi.operations.dispatch import lead_recorded
from hpcp_mpi.operations.prepare.own_files import known, own_files, refuse
from hpcp_mpi.operations.prepare.places import placed
from hpcp_mpi.operations.session import connect, on_all_ranks, team_of_threads
from hpcp_mpi.vocab.errors import EXIT_INTERRUPTED, FatalError
from hpcp_mpi.vocab.origin import Origin
from hpcp_mpi.vocab.report import Report

_with_mpi = threading.Lock()
_collecting = threading.Lock()


def run(function: str, keywords: Mapping[str, Any]) -> Report:
    """Do what a function was called for; the report. keywords: all parameters of the function. Raises what it says."""
    stop = StopRequest()
    meeting = Meeting(function, patience(function, keywords), lambda: stop.code != 0)
    error: FatalError | None = None
    report = Report()
    with interruptible(stop) as signalled, _one_at_a_time(function):
        try:
            report = _on_all_ranks(function, keywords, meeting, stop)
        except FatalError as fatal:
            if not signalled():
                raise
            error = fatal
    if signalled() == signal.SIGTERM:
        signal.raise_signal(signal.SIGTERM)  # now that nothing is left behind, it does what it would have done
    if signalled() or report.stopped == EXIT_INTERRUPTED:
        raise KeyboardInterrupt from error
    return report


def _on_all_ranks(function: str, keywords: Mapping[str, Any], meeting: Meeting, stop: StopRequest) -> Report:
    wire = connect(os.environ, meeting)
    processes = 1 if wire is None else wire.size
    try:
        return on_all_ranks(wire, stop, lambda ranks: _lead(function, keywords, ranks, stop, processes))
    finally:
        if wire is not None and wire.lost:
            out_of_step(f"an earlier call lost {len(wire.lost)} of the ranks")
        # What a run has open is in cycles: a program could not unmount what it has copied to, and would run out. Python
        # collects nothing for who asks while another thread does.
        with _collecting:
            gc.collect()


@contextmanager
def _one_at_a_time(function: str) -> Iterator[None]:
    """Refuse a second call at the same time where there is MPI: its ranks would not know which of them comes first."""
    if not launched(os.environ):
        yield
        return
    if not _with_mpi.acquire(blocking=False):
        raise FatalError(
            f"{function}() is called while another thread of this process is in a call",
            "With MPI there can be one at a time. Wait for the other one, or start this program without mpiexec.",
        )
    try:
        yield
    finally:
        _with_mpi.release()


def _lead(function: str, keywords: Mapping[str, Any], wire: Wire, stop: StopRequest, processes: int) -> Report:
    """Do what was asked with all ranks of the wire, as rank 0. processes: of MPI, or 1"""
    call = asked(function, keywords)
    callbacks = watching.Callbacks(keywords["progress"], keywords["should_stop"], stop)
    callbacks.ask()
    try:
        report = _unstarted(call, stop) if stop.code else _operate(call, callbacks, wire, stop)
    except Exception as error:
        if callbacks.raised is not None:
            raise callbacks.raised from error
        raise
    if callbacks.raised is not None:
        raise callbacks.raised
    report.processes = processes
    report.origin = Origin(__version__, call.command, os.uname().nodename, user_name(), job_number(os.environ))
    watching.log_report(function, report)
    return report


def _unstarted(call: Asked, stop: StopRequest) -> Report:
    """Return the report of a run that was to stop before it began."""
    request = call.request
    return Report(
        verb=request.verb.value,
        sources=list(request.sources),
        destination=next(iter(request.destinations), b""),
        destinations=list(request.destinations),
        dry_run=request.options.dry_run,
        options=request.options,
        mirror=request.options.mirror,
        move=request.options.move,
        stopped=stop.code,
    )


def _operate(call: Asked, callbacks: watching.Callbacks, wire: Wire, stop: StopRequest) -> Report:
    ledger = call.ledger
    request = placed(call.request, () if ledger is None else (ledger,))
    refuse(request, own_files(request, ledger, None))
    with written_here(ledger):
        checkpoints = None
        if ledger is not None:
            from hpcp_mpi.operations.open_ledger import open_checkpoints

            checkpoints = open_checkpoints(
                request, ledger, call.resume, call.command, os.environ, watching.say, __version__
            )
        frontend = Frontend(
            stop=stop,
            watcher=callbacks,
            shows_end=True,
            confirm=lambda question: True,
            certain=True,
            say=watching.say,
            checkpoints=checkpoints,
            own=known(own_files(request, None if checkpoints is None else checkpoints.path, None)),
            team=partial(team_of_threads, stop),
        )
        in_time = (
            before_the_end(call.stop_before, os.environ, stop, watching.say)
            if call.stop_before is not None
            else nullcontext()
        )
        with in_time:
            return lead_recorded(wire, request, frontend)
