"""The program, on every rank: rank 0 reads the command line, leads and prints; the other ranks follow."""

import gc
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from hpcp_mpi.cli import streams
from hpcp_mpi.cluster.launcher import first_task
from hpcp_mpi.cluster.signals import StopRequest, watched
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.operations.session import Abandoned, connect, lead, serve, team_of_threads
from hpcp_mpi.vocab.errors import EXIT_OK, EXIT_USAGE, FatalError
from hpcp_mpi.vocab.paths import in_one_line
from hpcp_mpi.vocab.request import Request, Verb

if TYPE_CHECKING:
    from hpcp_mpi.cli.command_line import CommandLine
    from hpcp_mpi.engine.checkpoints import CheckpointWriter
    from hpcp_mpi.engine.sorted_items import SortedItems
    from hpcp_mpi.operations.compare.differences import Differences
    from hpcp_mpi.vocab.report import Report

# A launcher that sees a task fail kills the others, also the one that is about to print why: the first task ends first.
_AFTER_THE_FIRST = 3.0  # seconds that the other tasks wait


def console() -> NoReturn:
    """Run the console script: main(), then exit with its code."""
    # A scan makes millions of small objects and no cycles: the search for cycles takes a tenth of its time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    streams.install()
    sys.exit(main(sys.argv[1:], os.environ))


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command line; return the exit code. Raises SystemExit with it after a help text, or a usage error."""
    try:
        code, alone = _main(arguments, environment)
    except SystemExit as leaving:
        streams.only_prints()
        raise SystemExit(streams.settle(leaving.code if isinstance(leaving.code, int) else EXIT_OK)) from None
    code = streams.settle(code)
    if alone:
        # At the end of this process MPI would wait for the lost ranks.
        os._exit(code)
    return code


def _main(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bool]:
    """Run the command line; return the exit code, and whether this process ends without MPI's end."""
    options = itertools.takewhile(lambda word: word != "--", arguments)
    if any(word.partition("=")[0] == "--status" for word in options):
        return _status(arguments, environment), False
    try:
        wire = connect(environment)
    except FatalError as error:
        if first_task(environment):  # once, not once per task
            _complain(error)
        else:
            time.sleep(_AFTER_THE_FIRST)
        return error.exit_code, False
    stop = StopRequest()
    with watched(stop):
        code = _run(arguments, environment, wire, stop)
    return code, wire is not None and bool(wire.lost)


def _run(arguments: Sequence[str], environment: Mapping[str, str], wire: Wire | None, stop: StopRequest) -> int:
    if wire is not None and wire.rank > 0:
        return _follow(wire, stop)
    try:
        with lead(wire, stop) as ranks:
            return _rank0(arguments, environment, ranks.wire, stop)
    except FatalError as error:
        _complain(error)
        return error.exit_code


def _status(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Show a ledger without the other ranks and without MPI, as that may be broken; return the exit code."""
    if not first_task(environment):
        return EXIT_OK
    from hpcp_mpi.cli.command_line import parse

    try:
        command_line = parse(arguments, lambda content: [], environment)
        if command_line.status is not None:
            from hpcp_mpi.cli.status import show
            from hpcp_mpi.operations.prepare.places import refuse_lost_directory

            refuse_lost_directory([command_line.status, *_files(command_line)])
            streams.only_prints()
            return show(command_line.status, command_line.json)
    except FatalError as error:
        _complain(error)
        return error.exit_code
    streams.only_prints()
    print(_text(command_line.show), end="")  # --version or the like was given, too
    return EXIT_OK


def _files(command_line: "CommandLine") -> list[bytes]:
    """Return the files that a run writes beside what it is asked for."""
    files = [os.fsencode(command_line.json)] if command_line.json else []
    return files + ([command_line.ledger] if command_line.ledger is not None else [])


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
    """Write a line to stderr in one piece: print() would write parts, which launchers forward one by one."""
    shown = "\n".join(map(in_one_line, line.split("\n")))  # what others wrote may be in it
    sys.stderr.write(shown + "\n")
    sys.stderr.flush()


def _rank0(arguments: Sequence[str], environment: Mapping[str, str], wire: Wire, stop: StopRequest) -> int:
    """Run the command line with all ranks of the wire; return the exit code. Raises FatalError."""
    # Imported here, as only rank 0 needs them: imports by a thousand ranks are a load for the file system.
    from hpcp_mpi.cli.command_line import parse
    from hpcp_mpi.cli.report import write_json
    from hpcp_mpi.operations.prepare.places import placed
    from hpcp_mpi.operations.prepare.tools import exclude_lines

    if not arguments:
        from hpcp_mpi.cli.help import short

        # Not 0: a script whose variables are empty copied nothing.
        print(short(), file=sys.stderr)
        return EXIT_USAGE
    command_line = parse(arguments, exclude_lines, environment)
    if command_line.show:
        streams.only_prints()
        print(_text(command_line.show), end="")
        return EXIT_OK
    command_line = replace(command_line, request=placed(command_line.request, _files(command_line)))
    output = None
    if command_line.json:
        from hpcp_mpi.cli.report import report_at

        output = report_at(command_line.json)
    report, items = _operate(command_line, arguments, environment, wire, stop)
    try:
        if output is not None:  # first: what is printed may be shown to nobody
            write_json(report, output)
    finally:
        _print(command_line, report, items)
    return report.exit_code


def _operate(
    command_line: "CommandLine",
    arguments: Sequence[str],
    environment: Mapping[str, str],
    wire: Wire,
    stop: StopRequest,
) -> "tuple[Report, SortedItems | Differences]":
    """Run the operation; return its report, and the changes or differences. Raises FatalError."""
    from hpcp_mpi.cli.progress import watcher_for
    from hpcp_mpi.cli.prompt import Asker
    from hpcp_mpi.cli.report import first_line
    from hpcp_mpi.engine.frontend import Frontend
    from hpcp_mpi.engine.walltime import before_the_end
    from hpcp_mpi.operations.dispatch import items_of, lead_operation
    from hpcp_mpi.operations.prepare.own_files import known, own_files, refuse

    request = command_line.request
    _say(first_line(request, wire.size))
    report_file = os.fsencode(command_line.json) if command_line.json else None
    refuse(request, own_files(request, command_line.ledger, report_file))
    checkpoints = _checkpoints(command_line, arguments, environment)
    if checkpoints is not None:
        request = replace(request, options=replace(request.options, sync_ranges=True))
    watcher = watcher_for(command_line.progress_interval)
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
        say=_say,
        checkpoints=checkpoints,
        own=known(own_files(request, checkpoints.path if checkpoints is not None else None, report_file)),
        team=partial(team_of_threads, stop),
    )
    try:
        with before_the_end(command_line.stop_before, environment, stop, _say):
            report = lead_operation(wire, request, frontend)
        report.declined = asker.declined
        if checkpoints is not None:
            checkpoints.add_before(report)
            checkpoints.end(report.exit_code)
    finally:
        watcher.close()
        if checkpoints is not None:
            checkpoints.close()
    return report, items


def _print(command_line: "CommandLine", report: "Report", items: "SortedItems | Differences") -> None:
    """Print the results."""
    from hpcp_mpi.cli import report as reporting
    from hpcp_mpi.cli.end_table import table

    request = command_line.request
    sys.stdout.writelines(line + "\n" for line in reporting.lines_of(items))
    sys.stdout.flush()
    if request.options.itemize and request.verb is Verb.COPY:
        for line in reporting.ability_lines(report):
            _log(line)
    for line in reporting.problem_lines(report):
        _log(in_one_line(line))
    # A program that reads a list from standard output must get nothing but the list.
    print(table(report), file=sys.stderr if _lists(request) else None, flush=True)
    _say(reporting.last_line(report))


def _checkpoints(
    command_line: "CommandLine", arguments: Sequence[str], environment: Mapping[str, str]
) -> "CheckpointWriter | None":
    """Return the writer of checkpoints; None for a run without a ledger. Raises FatalError."""
    from hpcp_mpi.cluster.slurm import job_number

    if command_line.request.images is not None:
        return None  # nor in a Slurm job
    if command_line.ledger is None and not job_number(environment):
        return None
    from hpcp_mpi import __version__
    from hpcp_mpi.operations.open_ledger import open_checkpoints

    command = ("hpcp-mpi", *arguments)
    return open_checkpoints(
        command_line.request, command_line.ledger, command_line.resume, command, environment, _say, __version__
    )


def _lists(request: Request) -> bool:
    """Return whether standard output gets lines of changes, differences or a file list."""
    if request.verb is Verb.LIST:
        return request.file_list == b"-"
    return request.options.itemize


def _text(show: str) -> str:
    """Return the text to print instead of running. show: CommandLine's"""
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
