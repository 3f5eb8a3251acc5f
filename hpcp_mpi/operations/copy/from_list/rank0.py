"""Copying what a file list names, on rank 0: the list is read and sorted, then it is the scan of a copy."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend, ended_by
from hpcp_mpi.formats.file_list import Type, read, relative
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.host.list_file import BrokenList, entries_in
from hpcp_mpi.operations.copy.from_list.scan import ListedName, ListedScan
from hpcp_mpi.operations.copy.phases import run_copy
from hpcp_mpi.operations.copy.rank0 import run_copies
from hpcp_mpi.operations.prepare.copy_job import prepare
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable, relative_to
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Style, style_of


def lead_copy_listed(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Copy what the list names to its place below the destination; rank 0 calls it, the others follow.

    The list is read to its end before anything is done. Raises FatalError.
    """
    assert request.source_list is not None
    base = request.sources[0] if request.sources else b"."
    options = request.options
    _refuse(request, base)
    try:
        names = names_in(request.source_list, style_of(request), frontend.stop)
    except StoppedEarly as early:
        return Report(sources=list(request.sources), destination=request.destinations[0], stopped=early.code)
    if options.links != "anywhere":
        options = replace(options, links="never")  # what a link points to is copied if it is listed
    prepared = prepare([base.rstrip(b"/") + b"/"], request.destinations[0], options, listed=True)
    scan = partial(ListedScan, names)
    if options.links == "anywhere":
        report = run_copies(wire, prepared, frontend, (scan,))
    else:
        report = run_copy(wire, prepared, frontend, scan)
    if report.unfound and not report.ended_early:
        report.outcome.warn(os.path.abspath(request.source_list), _elsewhere(report, os.path.abspath(base)))
    return report


def _elsewhere(report: Report, base: bytes) -> str:
    """Return what a reader may do about a list of which nothing is in the directory that it was looked for in."""
    firsts = {(relative_to(failure.path, base) or b"").partition(b"/")[0] for failure in report.failures}
    first = firsts.pop() if len(firsts) == 1 else b""
    there = printable(os.path.dirname(base)) if first and first == os.path.basename(base) else "DIR"
    holds = f" that holds {printable(first)}" if first else " that they are in"
    return f"none of its names is in {printable(base)}: name the directory{holds}, before -d: -sfl LIST {there} -d DST"


def copy_names(
    wire: Wire,
    base: bytes,
    destination: bytes,
    paths: Iterable[bytes],
    options: Options,
    frontend: Frontend,
    known: os.stat_result | None = None,
) -> Report:
    """Copy entries of a directory, as lead_copy_listed does what a list names. Raises FatalError.

    paths: relative to both directories; b"" is the directory itself. known: of the destination, which nothing else is
    """
    names = ExternalSort()
    for number, path in enumerate(paths, 1):
        where, _, name = path.rpartition(b"/")
        names.add([ListedName(where.replace(b"/", b"\0"), name, number, Type.UNKNOWN.value)])
    options = replace(options, links="never", places=(b"",))
    prepared = prepare([base.rstrip(b"/") + b"/"], destination, options, listed=True)
    root = prepared.job.destination_root
    if known is not None and (root is None or (root.device, root.inode) != (known.st_dev, known.st_ino)):
        raise FatalError(f"{printable(destination)} was replaced by something else meanwhile", "Run it again.")
    return run_copy(wire, prepared, frontend, partial(ListedScan, names))


def _refuse(request: Request, base: bytes) -> None:
    if len(request.sources) > 1:
        raise UsageError("the names in a list are relative to one directory, and there are several")
    if len(request.destinations) > 1:
        raise UsageError("-sfl with several destinations is not possible", "Give -d once.")
    if request.options.mirror:
        raise UsageError("-rme with -sfl would remove everything that the list does not name", "Leave out one of them.")
    if request.options.move:
        raise UsageError(
            "-rm with -sfl: what a list names cannot be moved", "Copy it, and remove it when that is done."
        )
    if not os.path.isdir(base):
        raise FatalError(f"{printable(base)}, which the names in the list are relative to, is not a directory")


def names_in(path: bytes, style: Style, stop: StopRequest) -> ExternalSort:
    """Return what a list names, ListedName records.

    Raises BrokenList if any of it cannot be believed, StoppedEarly where a signal comes while it is waited for.
    """
    with ended_by(stop):
        return _names_in(path, style, lambda: stop.code != 0)


def _names_in(path: bytes, style: Style, stopped: Callable[[], bool]) -> ExternalSort:
    names = ExternalSort()
    anything = False
    for number, texts in entries_in(path, style.end, stopped):
        records = []
        for line, text in enumerate(texts, number):
            if not text and style is not Style.NUL:
                continue  # a blank line
            try:
                entry = read(text, style)
                where, _, name = relative(entry.name).rpartition(b"/")
            except ValueError as error:
                raise BrokenList(path, line, str(error)) from None
            records.append(ListedName(where.replace(b"/", b"\0"), name, line, entry.type.value))
        names.add(records)
        anything = anything or bool(records)
    if not anything:
        raise BrokenList(path, 0, "it is empty")
    return names
