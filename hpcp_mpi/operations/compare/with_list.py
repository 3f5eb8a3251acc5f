"""Comparing with a file list, on rank 0: what sources hold, or another list, is read, sorted and paired with the list.

Lines that both have are equal and need no look; the others are sorted by path and paired. No list is written.
"""

import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import NamedTuple, cast

from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend, ended_by
from hpcp_mpi.engine.itemize import GONE, Item
from hpcp_mpi.formats.changes_table import ABSENT, UNKNOWN, Op, Row, escaped, tar_name
from hpcp_mpi.formats.file_list import Type, read
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.host.list_file import BrokenList, entries_in
from hpcp_mpi.host.output_file import Output
from hpcp_mpi.operations.compare import changes_file
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.list_files.rank0 import NamesOf, prepare_list
from hpcp_mpi.rules.equality import NEW, change_letters
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Style, style_of
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, ONE_SPECIAL, Tally, one_file

_TOGETHER = 1000  # records that are put aside at once
_FORMATS = {Type.FILE: stat.S_IFREG, Type.DIRECTORY: stat.S_IFDIR, Type.LINK: stat.S_IFLNK, Type.OTHER: stat.S_IFIFO}
_TALLIES = {Type.DIRECTORY: ONE_DIRECTORY, Type.LINK: ONE_LINK, Type.OTHER: ONE_SPECIAL}
_TALLIES |= {Type.FILE: one_file(0), Type.UNKNOWN: one_file(0)}
_LETTERS = {b"fifo": b"p", b"socket": b"s", b"char": b"c", b"block": b"b"}


def lead_compare_lists(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Compare with a list; rank 0 calls it, the others follow. Raises FatalError.

    A signal ends it early: the report's exit code says so.
    """
    assert request.file_list is not None
    if request.source_list is not None and request.sources:
        raise UsageError("-sfl with -fl and -cfl compares two lists, as they are", "Leave out the directory.")
    with changes_file.placed(request) as output:
        return _lead(wire, request, frontend, output)


def _lead(wire: Wire, request: Request, frontend: Frontend, output: Output | None) -> Report:
    assert request.file_list is not None
    style = style_of(request)
    differences = frontend.items if isinstance(frontend.items, Differences) else Differences()
    differences.against = "list"
    report = Report(sources=list(request.sources), destination=request.file_list, dry_run=True)
    try:
        old, _ = _lines_in(request.file_list, style, frontend.stop)
        if request.source_list is not None:
            report.sources = [request.source_list]
            new, report.scanned = _lines_in(request.source_list, style, frontend.stop)
        else:
            new = _lines_of_sources(wire, request, frontend, report)
    except StoppedEarly as early:
        report.stopped = early.code
        return report
    comparing = _Comparing(differences, style)
    comparing.compare(new, old)
    report.outcome.skipped = report.scanned.minus(comparing.differing)
    if comparing.unknown:
        report.outcome.warn(
            request.file_list,
            f"only the names of {comparing.unknown:,} entries were compared: no hash or target of them is known",
        )
    if unlike := _unlike(differences, report):
        report.outcome.warn(request.file_list, unlike)
    if output is not None:
        changes_file.write(output, _tar_lines(differences, request.nul) if request.tar_list else comparing.table())
        frontend.say(changes_file.written(output.path, request.tar_list))
    differences.fill(report)
    report.seconds = time.time() - report.started
    return report


def _unlike(differences: Differences, report: Report) -> str:
    """Return why no name is on both sides, if all of a side begin with the name of its source, and that is another."""
    if report.outcome.skipped or next(differences.of(Op.MODIFIED), None) is not None:
        return ""
    firsts = [next((path for _, path, _ in differences.of(op)), b"") for op in (Op.ADDED, Op.DELETED)]
    new, old = (path.partition(b"/") for path in firsts)
    if not (new[1] and old[1]) or new[0] == old[0]:
        return ""
    return (
        f"no name of it is compared: they begin with {printable(old[0])}/, and those of what is compared with "
        f"{printable(new[0])}/. A list of DIR/, with the slash, has names without DIR: write and compare such ones"
    )


def _lines_in(path: bytes, style: Style, stop: StopRequest) -> tuple[ExternalSort, Tally]:
    """Return the entries of a list, each a record, and how many they are.

    Raises BrokenList if one means nothing, StoppedEarly where a signal comes while it is waited for.
    """
    lines = ExternalSort()
    counts: Counter[Type] = Counter()
    with ended_by(stop):
        for number, texts in entries_in(path, style.end, lambda: stop.code != 0):
            for line, text in enumerate(texts, number):
                try:
                    if text:
                        counts[read(text, style).type] += 1
                except ValueError as error:
                    raise BrokenList(path, line, str(error)) from None
            lines.add((text,) for text in texts if text)
    if not counts:
        raise BrokenList(path, 0, "it is empty")
    files = counts[Type.FILE] + counts[Type.UNKNOWN]
    return lines, Tally(files, counts[Type.DIRECTORY], counts[Type.LINK], counts[Type.OTHER])


def _lines_of_sources(wire: Wire, request: Request, frontend: Frontend, report: Report) -> ExternalSort:
    """Return what a list of the sources would have. Raises StoppedEarly, FatalError."""
    job, first = prepare_list(request.sources, style_of(request), request.options, request.file_list)
    names = NamesOf(wire, job, frontend, first)
    coordinator = names.coordinator
    lines = ExternalSort()
    try:
        coordinator.begin()
        coordinator.drive("comparing", names)
        for piece in names:
            lines.add((text,) for text in piece.split(style_of(request).end) if text)
            if frontend.stop.code:
                raise StoppedEarly(frontend.stop.code, frontend.stop.name)
    finally:
        coordinator.fill(report)
        report.scanned = names.tally
        report.outcome = names.outcome
        report.outcome.add(coordinator.outcome)
    return lines


class _Side(NamedTuple):
    """A line that only one side has. They sort by path."""

    path: bytes
    new: bool
    type: str  # Type's value
    value: bytes


class _Comparing:
    """Compares sorted lines."""

    def __init__(self, differences: Differences, style: Style) -> None:
        self.unknown = 0  # entries whose content is not known to one side
        self.differing = NOTHING  # of the new side
        self._differences = differences
        self._style = style
        self._sides = ExternalSort()

    def compare(self, new: ExternalSort, old: ExternalSort) -> None:
        """Find the differences."""
        sides = _sides_of(_one_sided(new, old), self._style)
        while some := list(islice(sides, _TOGETHER)):
            self._sides.add(some)
        pairs = self._pairs()
        while some_pairs := list(islice(pairs, _TOGETHER)):
            self._differences.add(item for new_one, old_one in some_pairs for item in self._items(new_one, old_one))

    def table(self) -> Iterator[bytes]:
        """Yield the rows of a table of changes."""
        rows = ExternalSort()
        pairs = self._pairs()
        while some := list(islice(pairs, _TOGETHER)):
            rows.add(row for pair in some for row in _rows(*pair))
        return changes_file.table(rows)

    def _pairs(self) -> Iterator[tuple[_Side | None, _Side | None]]:
        """Yield (new, old) of each path that differs."""
        for _, same in groupby(map(_Side._make, cast(Iterable[tuple[bytes, bool, str, bytes]], self._sides)), _path):
            sides = list(same)
            new = next((side for side in sides if side.new), None)
            old = next((side for side in sides if not side.new), None)
            yield new, old

    def _items(self, new: _Side | None, old: _Side | None) -> Iterator[Item]:
        op = _op(new, old)
        if op is None:
            self.unknown += 1
            return
        if new is not None:
            self.differing = self.differing.plus(_TALLIES[Type(new.type)])
        if op is Op.MODIFIED and new is not None:
            mode = _FORMATS[Type(new.type)]
            yield change_letters(">" if stat.S_ISREG(mode) else "c", mode, "c"), new.path, b""
        else:
            if old is not None:
                yield GONE, _shown_as(old), b""
            if new is not None:
                mode = _FORMATS.get(Type(new.type), stat.S_IFREG)
                yield change_letters(">" if stat.S_ISREG(mode) else "c", mode, NEW), _shown_as(new), b""


def _path(side: _Side) -> bytes:
    return side.path


def _shown_as(side: _Side) -> bytes:
    return (side.path or b".") + (b"/" if side.type == Type.DIRECTORY.value else b"")


def _one_sided(new: ExternalSort, old: ExternalSort) -> Iterator[tuple[bool, bytes]]:
    """Yield the lines that only one side has, and whether it is the new one."""
    ours, theirs = (cast(Iterator[tuple[bytes]], iter(side)) for side in (new, old))
    mine, other = next(ours, None), next(theirs, None)
    while mine is not None or other is not None:
        if mine == other:
            mine, other = next(ours, None), next(theirs, None)
        elif other is None or (mine is not None and mine < other):
            assert mine is not None
            yield True, mine[0]
            mine = next(ours, None)
        else:
            yield False, other[0]
            other = next(theirs, None)


def _sides_of(lines: Iterable[tuple[bool, bytes]], style: Style) -> Iterator[_Side]:
    for is_new, text in lines:
        entry = read(text, style)
        yield _Side(entry.name.removeprefix(b"./"), is_new, entry.type.value, entry.value)


def _op(new: _Side | None, old: _Side | None) -> Op | None:
    """Return how an entry differs; None where that is not known. An entry of another type is deleted and added."""
    if new is None:
        return Op.DELETED
    if old is None or (new.type != old.type and Type.UNKNOWN.value not in (new.type, old.type)):
        return Op.ADDED
    if new.type != old.type or new.type == Type.DIRECTORY.value or not (new.value and old.value):
        return None
    return Op.MODIFIED


def _rows(new: _Side | None, old: _Side | None) -> Iterator[Row]:
    op = _op(new, old)
    if op is Op.MODIFIED and new is not None and old is not None:
        yield Row(op, new.path, _state(old), _state(new))
    elif op is not None:
        if old is not None:
            yield Row(Op.DELETED, _shown_as(old), _state(old), ABSENT)
        if new is not None:
            yield Row(Op.ADDED, _shown_as(new), ABSENT, _state(new))


def _state(side: _Side) -> bytes:
    """Return a state with what a list knows."""
    kind = Type(side.type)
    if kind is Type.LINK:
        return b"l:" + escaped(side.value)
    if kind is Type.FILE:
        return b"f:?:?:?:?:?:%s:?" % (side.value or UNKNOWN)
    if kind is Type.DIRECTORY:
        return b"d:?:?:?:?"
    called, _, device = side.value.partition(b" ")
    if called not in _LETTERS:
        return UNKNOWN
    numbers = b":" + device.replace(b",", b":") if device else b""
    return _LETTERS[called] + b":?:?:?" + numbers + b":?"


def _tar_lines(differences: Differences, nul: bool) -> Iterator[bytes]:
    """Yield the names that were added or modified, for tar."""
    return (tar_name(path, nul) for path in changes_file.changed(differences))
