"""Writing a file list, on rank 0: all ranks name entries, then their parts are merged, none entry by entry."""

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.engine.frontend import Frontend, ended_by
from hpcp_mpi.engine.operation import Operation
from hpcp_mpi.engine.walk_feed import WalkFeed, WalkResult
from hpcp_mpi.formats.file_list import Type, read
from hpcp_mpi.formats.natural_order import key_of
from hpcp_mpi.host import list_file as file_lists
from hpcp_mpi.host.output_file import Output
from hpcp_mpi.operations.list_files.named import ListPart
from hpcp_mpi.operations.list_files.worker import HUGE, ListWalk, unit_of
from hpcp_mpi.operations.prepare.arguments import absolute, expanded, root_of
from hpcp_mpi.rules.landing import own_name
from hpcp_mpi.vocab.errors import FatalError, Unshown, failure_of, reason_of
from hpcp_mpi.vocab.job import Job, ListSpec
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path, join, printable, relative_to
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Style, style_of
from hpcp_mpi.vocab.tally import NOTHING, ONE_LINK, ONE_SPECIAL, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

_SOME = 16_384  # entries of a huge directory that are read before the loop continues


def prepare_list(
    sources: Sequence[bytes], style: Style, options: Options, file: bytes | None
) -> tuple[Job, list[Batch]]:
    """Return the job of naming what sources hold, and its first units. file: the list, which is left out.

    Raises FatalError.
    """
    roots: list[bytes] = []
    prefixes: list[bytes] = []
    first: list[Batch] = []
    # With places they are names already, and called so.
    places = None if options.places is None else dict(zip(sources, options.places, strict=True))
    named = places if places is not None else dict.fromkeys(name for pattern in sources for name in expanded(pattern))
    for argument in named:
        try:
            status = os.lstat(argument)  # of what a link points to where the argument ends in `/`
        except OSError as error:
            raise FatalError(
                f"cannot use the source {printable(argument)}: {reason_of(error)}", "Nothing was listed."
            ) from None
        if stat.S_ISDIR(status.st_mode):
            unit, root = unit_of(b"", options), argument
            prefix = own_name(argument) if places is None else places[argument]
        else:
            tally = (
                one_file(0)
                if stat.S_ISREG(status.st_mode)
                else ONE_LINK
                if stat.S_ISLNK(status.st_mode)
                else ONE_SPECIAL
            )
            unit, root, prefix = Unit(own_name(argument), tally), os.path.dirname(argument) or b".", b""
        first.append(Batch(Kind.LIST_NAMES, len(roots), b"", b"", Units.of([unit])))
        roots.append(absolute(root))
        prefixes.append(prefix)
    job = Job(
        options=options,
        sources=tuple(root_of(root) for root in roots),
        run_id=os.urandom(4).hex(),
        naming=ListSpec(style, tuple(prefixes), frozenset(_omitted(roots, file))),
    )
    return job, first


def _omitted(roots: list[bytes], file: bytes | None) -> Iterator[tuple[int, bytes]]:
    """Yield where a file is in sources: (source, path)."""
    if file is None or file == file_lists.STANDARD:
        return
    directory, name = os.path.realpath(os.path.dirname(file) or b"."), os.path.basename(file)
    for number, root in enumerate(roots):
        path = relative_to(directory, os.path.realpath(root))
        if path is not None:
            yield number, join(path, name)


class NamesOf(Operation):
    """All that the sources of a job hold: a feed. When it was driven, iterate to have the list in pieces.

    A directory that is too large to hold whole is read here, in lots that are merged at the end.
    """

    def __init__(
        self,
        wire: Wire,
        job: Job,
        frontend: Frontend,
        first: Iterable[Batch],
        directory: bytes | None = None,
    ) -> None:
        """first: units of the job. Raises FatalError.

        directory: for what waits until all is there; None: that of temporary files
        """
        assert job.naming is not None
        self.tally = NOTHING
        self.outcome = Outcome()
        self.coordinator = coordinator = Coordinator(wire, job, frontend, self)
        self._style = job.naming.style
        self._walk = WalkFeed(first, lambda: coordinator.slots, self._add_part)
        self._parts = file_lists.Parts(self._style.end, self._key, directory)
        self._huge: deque[tuple[int, bytes]] = deque()
        self._lots: Iterator[WalkResult | None] | None = None  # of the huge directory at hand

    def scanned(self) -> Tally:
        return self.tally

    def scan_done(self) -> bool:
        return self.done

    @property
    def done(self) -> bool:
        return self._walk.done and not self._huge and self._lots is None

    def next_batches(self) -> list[Batch]:
        taken = self._walk.next_batches()
        if self._lots is None and self._huge:
            self._lots = self._lots_of(*self._huge.popleft())
        if self._lots is not None and not taken and not self._walk.full:
            lot = next(self._lots, _NO_MORE)
            if lot is _NO_MORE:
                self._lots = None
            elif lot is not None:
                self._walk.on_findings([lot])
        return taken

    def on_findings(self, news: list[Any]) -> None:
        self._walk.on_findings(news)

    def pause(self, held: bool) -> None:
        self._walk.pause(held)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the list in pieces of whole entries."""
        for piece in self._parts:
            yield piece.replace(b"/\0", b"\0") if self._style is Style.NUL else piece

    def _key(self, text: bytes) -> bytes:
        entry = read(text, self._style)
        return key_of(entry.name, entry.type is Type.DIRECTORY)

    def _add_part(self, named: ListPart) -> None:
        try:
            self._parts.add(named.text, named.parts)
        except OSError as error:
            raise FatalError(
                f"cannot keep the list until it is complete: {reason_of(error)}",
                "There must be room for it beside its file, or where TMPDIR says.",
            ) from None
        self.tally = self.tally.plus(named.tally)
        self._huge += named.huge

    def _lots_of(self, source: int, path: bytes) -> Iterator[WalkResult | None]:
        """Yield what is found in a huge directory; None where others should have a turn."""
        context = self.coordinator.context
        try:
            with context.source_tree(source).at(path) as directory, os.scandir(directory) as entries:
                itself = ListWalk(context, source, self.outcome)
                itself.take_itself(path)
                named, left = itself.leave()
                yield WalkResult(0, left, named)
                lot: list[os.DirEntry[str]] = []
                more = True
                while more:
                    some = list(islice(entries, _SOME))
                    more = len(some) == _SOME
                    lot += some
                    if len(lot) >= HUGE or not more:
                        walk = ListWalk(context, source, self.outcome)
                        walk.take_some(path, lot)
                        named, left = walk.leave()
                        yield WalkResult(0, left, named)
                        lot.clear()
                    else:
                        yield None
        except OSError as error:
            self.outcome.failures.append(
                failure_of(child_path(context.job.sources[source].path, path), error, "cannot list")
            )


_NO_MORE: Any = object()


def lead_list(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Write a list of what sources hold, with all workers of the wire; rank 0 calls it, the others follow.

    What cannot be read is in the list as far as it is known, and a failure. Raises FatalError. A signal ends it early,
    and no list is written then: the report's exit code says so.
    """
    assert request.file_list is not None
    output = file_lists.place_of(request.file_list)
    try:
        return _lead_list(wire, request, frontend, request.file_list, output)
    finally:
        if output is not None:
            output.close()


def _lead_list(wire: Wire, request: Request, frontend: Frontend, file: bytes, output: Output | None) -> Report:
    job, first = prepare_list(request.sources, style_of(request), request.options, file)
    names = NamesOf(wire, job, frontend, first, output.directory if output is not None else None)
    coordinator = names.coordinator
    report = Report(sources=list(request.sources))
    try:
        coordinator.begin()
        coordinator.drive("listing", names)
        with ended_by(frontend.stop):
            file_lists.write(output, _unless_stopped(names, frontend), lambda: frontend.stop.code != 0)
    except StoppedEarly as early:
        report.stopped = early.code
    except Unshown as lost:
        report.unshown = lost.message
    coordinator.fill(report)
    report.scanned = names.tally
    report.outcome = names.outcome
    report.outcome.add(coordinator.outcome)
    return report


def _unless_stopped(pieces: Iterable[bytes], frontend: Frontend) -> Iterator[bytes]:
    for piece in pieces:
        if frontend.stop.code:
            raise StoppedEarly(frontend.stop.code, frontend.stop.name)
        yield piece
