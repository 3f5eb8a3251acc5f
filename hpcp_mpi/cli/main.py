"""The program: rank 0 reads the command line, leads and prints; the other ranks follow."""

import gc
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from hpcp_mpi.cluster.launcher import first_task
from hpcp_mpi.cluster.signals import StopRequest, watched
from hpcp_mpi.cluster.slurm import job_number
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.operations.session import Abandoned, connect, lead, serve
from hpcp_mpi.vocab.errors import EXIT_OK, EXIT_USAGE, FatalError
from hpcp_mpi.vocab.request import Asked, Verb

if TYPE_CHECKING:
    from hpcp_mpi.cli.command_line import CommandLine
    from hpcp_mpi.engine.checkpoints import CheckpointWriter

# A launcher that sees a task fail kills the others, also the one that is about to say why: the first task goes first.
_AFTER_THE_FIRST = 3.0  # seconds


def console() -> NoReturn:
    """The console script."""
    # A scan makes millions of small objects and no cycles: looking for those takes a tenth of its time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    sys.exit(code)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command line; return the exit code."""
    options = itertools.takewhile(lambda word: word != "--", arguments)
    if any(word.partition("=")[0] == "--status" for word in options):
        return _status(arguments, environment)
    try:
        wire = connect(environment)
    except FatalError as error:
        if first_task(environment):  # once, not once per task
            _complain(error)
        else:
            time.sleep(_AFTER_THE_FIRST)
        return error.exit_code
    stop = StopRequest()
    with watched(stop):
        code = _run(arguments, environment, wire, stop)
    if wire is not None and wire.lost:
        # MPI would wait for those that are gone, at the end of this process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: Sequence[str], environment: Mapping[str, str], wire: Wire | None, stop: StopRequest) -> int:
    if wire is not None and wire.rank > 0:
        return _follow(wire, stop)
    try:
        return lead(wire, lambda ends: _lead(arguments, environment, ends, stop), stop)
    except FatalError as error:
        _complain(error)
        return error.exit_code


def _status(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Show a ledger: without the other ranks and their MPI, which may be what is broken."""
    if not first_task(environment):
        return EXIT_OK
    from hpcp_mpi.cli.command_line import parse

    try:
        request = parse(arguments, lambda content: [], environment)
        if request.status is not None:
            from hpcp_mpi.cli.status import show

            return show(request.status, request.json)
    except FatalError as error:
        _complain(error)
        return error.exit_code
    print(_text(request.show), end="")  # asked for besides
    return EXIT_OK


def _follow(wire: Wire, stop: StopRequest) -> int:
    result: object = None
    try:
        result = serve(wire, stop)
    finally:
        wire.close()
    if isinstance(result, Abandoned):
        _complain(result)
        return result.exit_code
    return EXIT_OK  # rank 0's exit code speaks for all


def _complain(error: FatalError) -> None:
    _log(f"hpcp-mpi: {error}")


def _log(line: str) -> None:
    """Write a line in one piece: launchers forward what they get, and print() would write each of its parts."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _lead(arguments: Sequence[str], environment: Mapping[str, str], wire: Wire, stop: StopRequest) -> int:
    # Imported here, as only rank 0 needs them: a thousand ranks that import are a load for the file system.
    from hpcp_mpi.cli.command_line import parse
    from hpcp_mpi.engine.frontend import Frontend
    from hpcp_mpi.operations.dispatch import items_of, lead_operation
    from hpcp_mpi.operations.prepare.tools import exclude_lines

    if not arguments:
        from hpcp_mpi.cli.help import short

        # Not 0: a script whose variables are empty has done nothing.
        print(short(), file=sys.stderr)
        return EXIT_USAGE
    request = parse(arguments, exclude_lines, environment)
    if request.show:
        print(_text(request.show), end="")
        return EXIT_OK
    from hpcp_mpi.cli import report as reporting
    from hpcp_mpi.cli.end_table import table
    from hpcp_mpi.cli.progress import watcher_for
    from hpcp_mpi.cli.prompt import Asker
    from hpcp_mpi.engine.walltime import before_the_end

    asked = request.asked
    if request.json:
        reporting.check_json(request.json)
    _say(reporting.first_line(asked, wire.size))
    logbook = _logbook(request, arguments, environment)
    if logbook is not None:
        asked = replace(asked, options=replace(asked.options, durable=True))
    watcher = watcher_for(request.progress_interval)
    items, asker = items_of(asked.verb), Asker(asked.force, stop, watcher.close)
    try:
        face = Frontend(stop, watcher, items, asker.confirm, asker.expect, asked.force, _say, logbook)
        with before_the_end(request.stop_before, environment, stop, _say):
            report = lead_operation(wire, asked, face)
        report.declined = asker.declined
        if logbook is not None:
            report.before = logbook.copied_before
            logbook.end(report.exit_code)
    finally:
        watcher.close()
        if logbook is not None:
            logbook.close()
    sys.stdout.writelines(line + "\n" for line in reporting.lines_of(items))
    sys.stdout.flush()
    if asked.options.itemize and asked.verb is Verb.COPY:
        for line in reporting.ability_lines(report):
            _log(line)
    for line in reporting.problem_lines(report):
        _log(line)
    # Whoever reads a list from standard output gets nothing but the list.
    print(table(report), file=sys.stderr if _lists(asked) else None, flush=True)
    try:
        if request.json:
            reporting.write_json(report, request.json)
    finally:
        _say(reporting.last_line(report))
    return report.exit_code


def _logbook(
    request: "CommandLine", arguments: Sequence[str], environment: Mapping[str, str]
) -> "CheckpointWriter | None":
    """Return what writes the run down, if something does. Raises FatalError."""
    if request.ledger is None and not job_number(environment):
        return None
    from hpcp_mpi import __version__
    from hpcp_mpi.operations.open_ledger import open_logbook

    command = ("hpcp-mpi", *arguments)
    return open_logbook(request.asked, request.ledger, request.resume, command, environment, _say, __version__)


def _lists(asked: Asked) -> bool:
    """Tell whether standard output has the lines of what is changed, what differs, or of a file list."""
    if asked.verb is Verb.LIST:
        return asked.file_list == b"-"
    return asked.options.itemize


def _text(show: str) -> str:
    """Return what is printed instead of doing anything."""
    if show == "version":
        from hpcp_mpi.cli.versions import describe

        return describe() + "\n"
    if show == "man":
        from hpcp_mpi import __version__
        from hpcp_mpi.cli.man import man_page
        from hpcp_mpi.cli.parser import described

        return man_page(described(), __version__, time.strftime("%Y-%m-%d"))
    from hpcp_mpi.cli.completion import completion

    return completion(show) + "\n"


def _say(news: str) -> None:
    _log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {news}")
