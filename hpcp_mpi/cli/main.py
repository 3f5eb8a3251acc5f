"""The program, on every rank: rank 0 reads the command line, leads and prints; the other ranks follow."""

import gc
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from hpcp_mpi.cli import streams
from hpcp_mpi.cluster.launcher import first_task
from hpcp_mpi.cluster.signals import StopRequest, watched
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.operations.session import Abandoned, connect, lead, serve
from hpcp_mpi.vocab.errors import EXIT_OK, EXIT_USAGE, FatalError

if TYPE_CHECKING:
    from hpcp_mpi.cli.log import Log

# A launcher that sees a task fail kills the others, also the one that is about to print why: the first task ends first.
_AFTER_THE_FIRST = 3.0  # seconds that the other tasks wait


def console() -> NoReturn:
    """Run the console script: main(), then exit with its code."""
    # A scan makes millions of small objects and no cycles: the search for cycles takes a tenth of its time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    streams.install()
    sys.exit(main(sys.argv[1:], os.environ, forks=True))


def main(arguments: Sequence[str], environment: Mapping[str, str], forks: bool = False) -> int:
    """Run the command line; return the exit code. forks: this process does nothing else, so it may fork"""
    code, alone = _main(arguments, environment, forks)
    code = streams.settle(code)
    if alone:
        # At the end of this process MPI would wait for the lost ranks.
        os._exit(code)
    return code


def _main(arguments: Sequence[str], environment: Mapping[str, str], forks: bool) -> tuple[int, bool]:
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
        code = _run(arguments, environment, wire, stop, forks)
    return code, wire is not None and bool(wire.lost)


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], wire: Wire | None, stop: StopRequest, forks: bool
) -> int:
    if wire is not None and wire.rank > 0:
        return _follow(wire, stop)
    from hpcp_mpi.cli.log import Log

    log = Log()
    try:
        with lead(wire, stop, forks) as ranks:
            return _rank0(arguments, environment, ranks.wire, stop, log)
    except FatalError as error:
        log.complain(error)
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

            refuse_lost_directory([command_line.status, *command_line.files])
            streams.only_prints()
            return show(command_line.status, command_line.json)
    except FatalError as error:
        _complain(error)
        return error.exit_code
    streams.only_prints()
    print(_text(command_line.show), end="")  # --version or the like was given, too
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
    from hpcp_mpi.cli.log import Log

    Log().complain(error)


def _rank0(arguments: Sequence[str], environment: Mapping[str, str], wire: Wire, stop: StopRequest, log: "Log") -> int:
    """Run the command line with all ranks of the wire; return the exit code. Raises FatalError."""
    # Imported here, as only rank 0 needs them: imports by a thousand ranks are a load for the file system.
    from hpcp_mpi.cli.command_line import parse
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
    for note in command_line.notes:
        log.line(f"hpcp-mpi: {note}")
    from hpcp_mpi.cli.run import Run

    return Run(command_line, arguments, environment, wire, stop, log).lead()


def _text(show: str) -> str:
    """Return the text to print instead of running. show: CommandLine's"""
    if show == "-h":
        from hpcp_mpi.cli.help import screen
        from hpcp_mpi.cli.parser import described

        return screen(described()) + "\n"
    if show == "--help":
        from hpcp_mpi.cli.parser import help_text

        return help_text()
    if show == "version":
        from hpcp_mpi.cli.versions import describe

        return describe() + "\n"
    if show == "man":
        from hpcp_mpi import __version__
        from hpcp_mpi.cli.man import man_page
        from hpcp_mpi.cli.parser import described

        return man_page(described(), __version__, time.strftime("%Y-%m-%d"))
    if show == "module":
        from hpcp_mpi.cli.shipped import module_file

        return module_file()
    if show.startswith("template "):
        from hpcp_mpi.cli.shipped import template, templates

        name = show.removeprefix("template ")
        return templates() if name == "list" else template(name)
    from hpcp_mpi.cli.completion.scripts import completion

    return completion(show) + "\n"
