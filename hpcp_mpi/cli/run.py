"""One run of the program on rank 0: the frontend of the operation, then its report and what is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hpcp_mpi import __version__
from hpcp_mpi.cli import report as reporting
from hpcp_mpi.cli.command_line import CommandLine
from hpcp_mpi.cli.ending import Ending
from hpcp_mpi.cli.log import Log
from hpcp_mpi.cli.progress.choose import Watcher, watching
from hpcp_mpi.cli.prompt import Asker
from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.cluster.slurm import job_number
from hpcp_mpi.cluster.threads import ThreadWire
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.checkpoints import CheckpointWriter
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.sorted_items import SortedItems
from hpcp_mpi.engine.walltime import before_the_end
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.dispatch import items_of, lead_recorded
from hpcp_mpi.operations.prepare.own_files import known, own_files, refuse
from hpcp_mpi.operations.prepare.places import placed
from hpcp_mpi.operations.session import team_of_threads
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request


@dataclass(frozen=True, slots=True)
class Run:
    """A run that all ranks of the wire are ready for."""

    command_line: CommandLine
    arguments: Sequence[str]
    environment: Mapping[str, str]
    wire: Wire
    stop: StopRequest
    log: Log

    def lead(self) -> int:
        """Do what is asked for, report and print; return the exit code. Raises FatalError."""
        given = self.command_line
        self.log.quiet, self.log.as_json = given.quiet, given.progress == "json"
        request = placed(given.request, given.files)
        processes = 1 if isinstance(self.wire, ThreadWire) else self.wire.size
        ending = Ending(given, request, self.arguments, self.environment, processes, self.log)
        refuse(request, own_files(request, given.ledger, given.report_file, given.failed, given.log_file))
        if given.log_file is not None:
            self.log.append_to(given.log_file)
        self.log.say(reporting.first_line(request, processes))
        ending.open()
        try:
            how = (given.progress, given.progress_interval)
            with watching(*how, self.log, self.arguments, self.environment) as watcher:
                report, items = self._operate(request, watcher, ending)
        except FatalError as error:
            ending.fatal(error)
            raise
        ending.finish(report, items)
        return report.exit_code

    def _operate(self, request: Request, watcher: Watcher, ending: Ending) -> tuple[Report, SortedItems | Differences]:
        """Run the operation; return its report, and the changes or differences. Raises FatalError."""
        given, stop, say = self.command_line, self.stop, self.log.say
        checkpoints = self._checkpoints(request)
        if checkpoints is not None:
            ending.ledger = checkpoints.path
        ending.choose_place()
        items, asker = items_of(request.verb), Asker(request.force, stop, watcher.close)
        frontend = Frontend(
            stop=stop,
            watcher=watcher,
            items=items,
            confirm=asker.confirm,
            confirm_doubt=asker.confirm_doubt,
            confirm_named=asker.confirm_named,
            expect_name=asker.expect_name,
            expect_answer=asker.expect,
            certain=request.force,
            say=say,
            warns=self.log.warn,
            checkpoints=checkpoints,
            own=known(own_files(request, ending.ledger, given.report_file, given.failed, given.log_file)),
            team=partial(team_of_threads, stop),
        )
        with before_the_end(given.stop_before, self.environment, stop, say):
            report = lead_recorded(self.wire, request, frontend)
        report.declined = asker.declined
        if checkpoints is not None and checkpoints.broken:
            ending.ledger = None
        return report, items

    def _checkpoints(self, request: Request) -> CheckpointWriter | None:
        """Return the writer of checkpoints; None for a run without a ledger. Raises FatalError."""
        if request.images is not None:
            return None  # nor in a Slurm job
        given = self.command_line
        if given.ledger is None and not job_number(self.environment):
            return None
        from hpcp_mpi.operations.open_ledger import open_checkpoints

        command = ("hpcp-mpi", *self.arguments)
        return open_checkpoints(
            request, given.ledger, given.resume, command, self.environment, self.log.warn, __version__
        )
