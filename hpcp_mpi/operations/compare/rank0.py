"""Comparing, on rank 0: the dry run of a copy that would make the destination equal, then the extra entries.

Nothing is written to either tree: not to find out what its file system can store, and no directory is made.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, cast

from hpcp_mpi.cluster.feed import Feed, Stream
from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.itemize import GONE, Item
from hpcp_mpi.engine.operation import Operation
from hpcp_mpi.engine.walk_feed import WalkFeed
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.host.output_file import Output
from hpcp_mpi.operations.compare import changes_file
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.prepare.copy_job import Prepared, prepare
from hpcp_mpi.operations.scan.deferred import link_batches, separation_batches, settle_batches
from hpcp_mpi.operations.scan.link_targets import spared
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.operations.scan.records import DirectoryMetadata, Extra, LinkedName, SharedName
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import first_of_each
from hpcp_mpi.vocab.paths import join, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Unit, Units

_TOGETHER = 500  # directories that are handed out as one batch
_MOST_NOTES = 1000  # of one kind


def lead_compare(wire: Wire, request: Request, frontend: Frontend) -> Report:
    """Compare sources with the destination, with all workers of the wire; rank 0 calls it, the others follow.

    Raises FatalError. A signal ends it early: the report's exit code says so.
    """
    if request.file_list is not None:
        from hpcp_mpi.operations.compare.with_list import lead_compare_lists

        return lead_compare_lists(wire, request, frontend)
    if len(request.destinations) != 1:
        raise UsageError("a compare is with one destination", "Give -d once.")
    if request.source_list is not None:
        raise UsageError(
            "what a list names is not compared with a directory",
            "Compare the directory with the list: hpcp-mpi DIR -fl LIST -cfl.",
        )
    prepared = prepare(request.sources, request.destinations[0], compare_options(request.options))
    _refuse_missing(prepared)
    found = frontend.items if isinstance(frontend.items, Differences) else Differences()
    with changes_file.placed(request) as output:
        run = _Compare(wire, prepared, frontend, found)
        try:
            run.run()
            if output is not None:
                run.write(output, request.tar_list, request.nul)
                frontend.say(changes_file.written(output.path, request.tar_list))
            return run.end()
        except StoppedEarly as early:
            return run.end(early.code)


def compare_trees(
    wire: Wire, request: Request, frontend: Frontend, differences: Differences
) -> tuple[Report, Iterator[list[bytes]], Iterator[list[tuple[bytes, object]]]]:
    """Compare as lead_compare does, and put what differs into differences; what names are of one file, too.

    Return the report, the names of each file that has several in the sources, and, of each file of the destination that
    has several, the names that may stay with what shows which are one file in the sources. Raises FatalError,
    StoppedEarly.
    """
    prepared = prepare(request.sources, request.destinations[0], compare_options(request.options))
    _refuse_missing(prepared)
    run = _Compare(wire, prepared, frontend, differences)
    run.run()
    return run.end(), run.linked(), run.shared()


def compare_options(options: Options) -> Options:
    """Return options of the copy that a compare is the dry run of. No file is taken apart: none is copied."""
    plain = replace(options, move=False, verify=False, rate_bytes=0, rate_files=0, backup_dir=b"", split_size=0)
    return replace(plain, compare=True, dry_run=True, itemize=True, mirror=True)


def _refuse_missing(prepared: Prepared) -> None:
    """Refuse to compare with nothing: that is a mistyped name more often than it is meant."""
    job = prepared.job
    missing = job.destination if job.destination_root is None else None
    if missing is None and len(prepared.landings) == 1:
        path = join(job.destination, prepared.landings[0].target)
        missing = None if os.path.lexists(path) else path
    if missing is not None:
        raise FatalError(
            f"there is nothing at {printable(missing)} to compare with",
            "SRC -d DST compares the contents of SRC with those of DST; SRC -d DST/ compares SRC with DST/SRC.",
        )


class _Found:
    """Takes the items of a compare, and keeps the directories that only the destination has: all in them is extra."""

    def __init__(self, differences: Differences) -> None:
        self._differences = differences
        self.directories = ExternalSort()

    def add(self, items: Iterable[Item]) -> None:
        items = list(items)
        self._differences.add(items)
        self.directories.add((path[:-1],) for change, path, _ in items if change == GONE and path.endswith(b"/"))


class _Compare(Operation):
    """One compare from scan to report, on rank 0."""

    def __init__(self, wire: Wire, prepared: Prepared, frontend: Frontend, differences: Differences) -> None:
        self._prepared = prepared
        self._differences = differences
        self._found = _Found(differences)
        self._coordinator = coordinator = Coordinator(wire, prepared.job, replace(frontend, items=self._found), self)
        self._scan = Scan(coordinator.context, prepared.landings, False, wire.wake, lambda: coordinator.supply)
        self.report = Report()

    def scanned(self) -> Tally:
        return self._scan.builder.scanned

    def scan_done(self) -> bool:
        return self._scan.done

    def run(self) -> None:
        """Find all differences. Raises StoppedEarly, FatalError."""
        self._coordinator.begin()
        self._scan.start()
        try:
            self._coordinator.drive_scan("comparing", self._scan)
            self._coordinator.watch()
            waiting, outcome = self._scan.waiting, self._coordinator.outcome
            outcome.skipped = outcome.skipped.minus(waiting.tear_apart())
            self._drive(Stream(separation_batches(map(SharedName._make, waiting.shared), 0)))
            self._drive(Stream(link_batches(map(LinkedName._make, waiting.linked))))
            self._drive(Stream(settle_batches(map(DirectoryMetadata._make, waiting.settled))))
            self._name_extras()
        finally:
            self._scan.end()

    def _drive(self, feed: Feed) -> None:
        self._coordinator.drive("comparing", feed)
        self._coordinator.watch()  # what was found is put aside before the next phase looks at it

    def _name_extras(self) -> None:
        """Name what only the destination has: what was found beside the source's entries, and all below that."""
        waiting, job = self._scan.waiting, self._coordinator.job
        if job.options.mirror:
            waiting.extras = spared(job, waiting.extras, waiting.tracked)
        for some in _portions(map(Extra._make, waiting.extras)):
            self._found.add(_gone(extra.dest_dir, extra.name, extra.is_directory) for extra in some)
        directories = cast(Iterator[tuple[bytes]], iter(self._found.directories))
        batches = (_below(path for (path,) in some) for some in _portions(directories))
        self._drive(WalkFeed(batches, lambda: self._coordinator.slots, self._add_below))

    def _add_below(self, listings: list[tuple[bytes, bytes, bytes]]) -> None:
        for directory, names, types in listings:
            entries = zip(names.split(b"\0"), types, strict=True) if types else ()
            self._differences.add(_gone(directory, name, kind == ord("/")) for name, kind in entries)

    def write(self, output: Output, tar_list: bool, nul: bool) -> None:
        """Write down what was found. Raises StoppedEarly, FatalError."""
        context, outcome = self._coordinator.context, self._scan.outcome
        origins = changes_file.Origins(context, self._prepared.landings)
        changes_file.remark_in_trees(output.path, context, outcome.warn)
        if not tar_list:
            states = changes_file.States(self._differences, origins)
            self._coordinator.drive("describing", states)
            changes_file.write(output, changes_file.table(states.rows))
            return
        linked = self._scan.waiting.linked
        changes_file.write(output, changes_file.tar_list(self._differences, linked, origins, nul))
        for directory in islice(changes_file.in_the_way(self._differences), _MOST_NOTES):
            outcome.warn(
                context.dest_path(directory), "a directory where the source has none: remove it before tar extracts"
            )

    def linked(self) -> Iterator[list[bytes]]:
        """Yield the names of each file that has several in the sources, as far as they were found to be alike."""
        return (sorted(group) for group in changes_file.linked_groups(self._scan.waiting.linked) if len(group) > 1)

    def shared(self) -> Iterator[list[tuple[bytes, object]]]:
        """Yield the names of each file of the destination that has several, each with its file in the sources."""
        records = map(SharedName._make, self._scan.waiting.shared)
        for _, same in groupby(records, key=lambda record: record.dest_inode):
            yield [(record.target, (record.source, record.inode)) for record in same]

    def end(self, stopped: int = 0) -> Report:
        """Return the report. stopped: the exit code of an early end."""
        report, scan = self.report, self._scan
        self._coordinator.fill(report)
        outcome = scan.outcome
        outcome.skipped = outcome.skipped.plus(scan.builder.skipped)
        outcome.add(self._coordinator.outcome)
        outcome.failures = list(first_of_each(outcome.failures))
        report.sources = [landing.argument for landing in self._prepared.landings]
        report.destination = self._prepared.job.destination
        report.dry_run = True
        report.scanned = scan.builder.scanned
        report.outcome = outcome
        report.scan_seconds, report.listed_by_all = scan.seconds, scan.shared_since
        report.stopped = stopped
        if not stopped:
            self._differences.fill(report)
        return report


def _gone(directory: bytes, name: bytes, is_directory: bool) -> Item:
    return GONE, join(directory, name) + (b"/" if is_directory else b""), b""


def _below(directories: Iterable[bytes]) -> Batch:
    return Batch(Kind.LIST_EXTRA, DEST, b"", b"", Units.of(map(Unit, directories)))


def _portions(records: Iterable[Any]) -> Iterator[list[Any]]:
    records = iter(records)
    while some := list(islice(records, _TOGETHER)):
        yield some
