"""The end of a run on rank 0: the list of what failed, the report for programs, then what is printed."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hpcp_mpi import __version__
from hpcp_mpi.cli import commands, failed_file
from hpcp_mpi.cli import report as reporting
from hpcp_mpi.cli.command_line import CommandLine
from hpcp_mpi.cli.end_table import table
from hpcp_mpi.cli.json_report import STANDARD_OUTPUT, report_at, write_json
from hpcp_mpi.cli.log import Log
from hpcp_mpi.cluster.slurm import job_number
from hpcp_mpi.engine.sorted_items import SortedItems
from hpcp_mpi.host.machine import user_name
from hpcp_mpi.host.output_file import Output
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.origin import TOOL, Origin
from hpcp_mpi.vocab.paths import in_one_line
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb


@dataclass(slots=True)
class Ending:
    """The end of a run. Its files are opened before the run begins: hours later it is too late to be refused."""

    given: CommandLine
    request: Request
    arguments: Sequence[str]
    environment: Mapping[str, str]
    processes: int
    log: Log
    ledger: bytes | None = None  # that can be resumed
    _json: Output | None = None
    _failed: Output | None = None
    _places: list[bytes] = field(default_factory=list)  # where the list of failures may be
    _began: float = field(default_factory=time.time)
    _why: str = ""  # there is no list of failures

    def open(self) -> None:
        """Open the files that a user names. Raises FatalError if one could not be written."""
        if self.given.json is not None:
            self._json = report_at(self.given.json)
        if self.given.failed is not None:
            self._failed = failed_file.failed_at(self.given.failed)

    def choose_place(self) -> None:
        """Choose where the list of failures is if no user says it, while all sources are there: a move removes them."""
        if self._failed is None and not self.request.options.dry_run:
            with suppress(OSError, FatalError):
                self._places = failed_file.default_places(self.request, self.ledger)

    def fatal(self, error: FatalError) -> None:
        """Write the report of a run that could not begin, or not continue. Raises FatalError if that fails, too."""
        request = self.request
        report = Report(
            request.verb.value,
            list(request.sources),
            request.destinations[0] if request.destinations else b"",
            list(request.destinations),
            request.options.dry_run,
            started=self._began,
            error=error,
        )
        self._write_json(report)

    def finish(self, report: Report, items: SortedItems | Differences) -> None:
        """Write and print everything. Raises FatalError if a file could not be written."""
        report.processes = self.processes
        try:
            self._write_failed(report)
            self._tell(report)
            self._write_json(report)  # before anything is printed, which may be shown to nobody
        finally:
            self._print(report, items)

    def _write_json(self, report: Report) -> None:
        if self.given.json is None:
            return
        report.started, report.ended = min(report.started, self._began), time.time()
        report.origin = Origin(
            __version__, (TOOL, *self.arguments), os.uname().nodename, user_name(), job_number(self.environment)
        )
        write_json(report, self._json)

    def _write_failed(self, report: Report) -> None:
        """Write the list of what failed, or remove the one of an earlier run. Raises FatalError."""
        base = commands.base_of(report, self.request)
        if self._failed is not None:
            if report.failures:
                self._write_named(self._failed, report, base)
            elif not report.ended_early and not self._failed.in_place:
                with suppress(OSError):
                    self._failed.remove()
            self._failed.close()
        elif report.failures and not self.request.options.dry_run:
            report.failed_file, self._why = failed_file.write_first(self._places, report.failures, base)
            failed_file.remove_old([each for each in self._places if each != report.failed_file])
        elif not report.ended_early:
            failed_file.remove_old(self._places)

    def _write_named(self, place: Output, report: Report, base: bytes | None) -> None:
        try:
            failed_file.write(place, report.failures, base)
            report.failed_file = place.path if not place.in_place else place.given
        except OSError as error:
            self._why = reason_of(error)

    def _tell(self, report: Report) -> None:
        """Put the commands that go on, or do again what failed, into a report."""
        start = commands.launcher(self.processes, self.environment)
        rest = commands.again(start, self.arguments, self.ledger)
        base = commands.base_of(report, self.request)
        passed_on = self._failed is not None and self._failed.in_place  # nothing is there to be read again
        if report.ended_early:
            report.resume = rest
        elif all(failure.vanished for failure in report.failures) and not report.broken_off:
            return  # nothing is there to be done again
        elif commands.in_vain(report, self.request):
            return
        elif base is not None and report.failed_file is not None and report.counterparts is not None and not passed_on:
            places = base, report.counterparts[1]
            report.retry = commands.from_list(start, self.arguments, places, report.failed_file)
        else:
            report.retry = rest

    def _print(self, report: Report, items: SortedItems | Differences) -> None:
        options, verb = self.request.options, self.request.verb
        aside = self.given.json == STANDARD_OUTPUT
        listed = sys.stderr if aside else sys.stdout
        listed.writelines(line + "\n" for line in reporting.lines_of(items))
        listed.flush()
        if options.itemize and verb is Verb.COPY:
            for line in reporting.ability_lines(report):
                self.log.remark(line)
        for line in reporting.problem_lines(report, self._why):
            self.log.line(in_one_line(line))
        # A program that reads a list from standard output must get nothing but the list.
        shown = table(report, options.itemize and verb is not Verb.COMPARE and not options.dry_run)
        self.log.table(shown, to_stderr=aside or self._lists)
        (self.log.warn if report.exit_code else self.log.say)(reporting.last_line(report))

    @property
    def _lists(self) -> bool:
        """Whether standard output gets lines of changes, differences or a file list."""
        return self.request.file_list == b"-" if self.request.verb is Verb.LIST else self.request.options.itemize
