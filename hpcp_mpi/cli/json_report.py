"""The report of a run for programs: JSON, in a file or on standard output."""

import json
import os
import sys

from hpcp_mpi.host.output_file import Output, output_at
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.ledger_status import LedgerStatus
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report

STANDARD_OUTPUT = "-"

Given = str | os.PathLike[str]


def report_at(path: Given) -> Output | None:
    """Return the place of a report, to be closed; None: standard output. Raises FatalError if none could be written
    there, before hours of work."""
    if os.fspath(path) == STANDARD_OUTPUT:
        return None
    shown = printable(os.fsencode(path))
    try:
        output = output_at(os.fsencode(path), "the report")
    except IsADirectoryError:
        raise FatalError(f"cannot write the report to {shown}: it is a directory", "Name a file in it.") from None
    except (FileNotFoundError, NotADirectoryError):
        there = printable(os.path.dirname(os.fsencode(path)) or b".")
        raise FatalError(
            f"cannot write the report to {shown}: there is no directory {there}", "Nothing was done."
        ) from None
    except OSError as error:
        raise FatalError(f"cannot write the report to {shown}: {reason_of(error)}", "Nothing was done.") from None
    why = ""
    if output.in_place and (output.is_standard or not output.is_open):
        # A report would replace /dev/null, and on standard output the table is.
        why, remedy = "it is not a regular file", "Name one, or a new one; - is standard output."
    elif output.directory is not None and not os.access(output.directory, os.W_OK | os.X_OK):
        why, remedy = "Permission denied", "Nothing was done."
    if why:
        output.close()
        raise FatalError(f"cannot write the report to {shown}: {why}", remedy)
    return output


def check_json(path: Given) -> None:
    """Raise FatalError if no report could be written to path."""
    output = report_at(path)
    if output is not None:
        output.close()


def write_json(report: Report | LedgerStatus, place: Given | Output | None) -> None:
    """Write a report as JSON, replacing an old file in one step. place: None: standard output. Raises FatalError."""
    text = json.dumps(report.as_dict(), indent=1) + "\n"
    if place is None or (not isinstance(place, Output) and os.fspath(place) == STANDARD_OUTPUT):
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    output = None
    try:
        output = place if isinstance(place, Output) else output_at(os.fsencode(place), "the report")
        with output.opened() as file:
            file.write(text.encode())
    except OSError as error:
        given = place.given if isinstance(place, Output) else os.fsencode(place)
        raise FatalError(f"cannot write the report to {printable(given)}: {reason_of(error)}") from None
    finally:
        if output is not None:
            output.close()
