"""What relative symlinks point to is copied too, so that they lead somewhere at the destination.

When a copy is done, each place that its links lead to is looked at: if nothing is there, and the source has something
in the corresponding place, that is copied too, by one more copy. The links in there are followed in turn.

No symlink is followed on the way, at either side: roots are the directories above those that were pinned when the
copy began, and everything below is opened name by name.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby, islice
from typing import Any

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend, Items
from hpcp_mpi.engine.itemize import Item
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.host.roots import PATH, asked, most_pins, pin_of, real_path, root_at, seen
from hpcp_mpi.operations.copy.phases import run_copy
from hpcp_mpi.operations.copy.symlink_targets.scan import Place, TargetScan
from hpcp_mpi.operations.prepare.copy_job import Prepared
from hpcp_mpi.operations.prepare.find_abilities import hiding
from hpcp_mpi.operations.scan.copy_scan import CopyScan, ScanMaker
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.operations.scan.records import SymlinkTarget
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.job import Job, Root
from hpcp_mpi.vocab.paths import child_path, is_within, join, printable
from hpcp_mpi.vocab.report import Report

_AT_ONCE = 10_000  # places that one copy is about
_CHAIN = 40  # copies that may follow from each other; the kernel follows no more links either

# (directories above the destination root, place, source root, path). In the place NUL stands for `/`, so that what is
# in a directory sorts right behind it.
Wanted = tuple[int, bytes, bytes, bytes]


class SymlinkTargets:
    """What the links of the copies of one command lead to."""

    def __init__(self, prepared: Prepared) -> None:
        """Pin the destination and know the sources, before anything is copied."""
        self._prepared = prepared
        self._options = prepared.job.options
        self._found = ExternalSort()
        self._sources: dict[tuple[bytes, int], Root | None] = {}
        self._roots: dict[bytes, Root] = {}
        self._announced: set[tuple[int, bytes]] = set()
        root = prepared.job.destination_root
        try:
            self._pin = None if root is None else asked(root, os.dup)
        except OSError as error:
            raise FatalError(
                f"cannot use the destination {printable(prepared.job.destination)}: {reason_of(error)}"
            ) from None
        self._real_root = os.path.realpath(prepared.job.destination) if self._pin is None else real_path(self._pin)
        pairs = zip(prepared.landings, prepared.job.sources, strict=True)
        self._real_sources = [asked(source, real_path) for landing, source in pairs if landing.name is None]

    def close(self) -> None:
        if self._pin is not None:
            os.close(self._pin)

    @property
    def _on(self) -> bool:
        renamed = any(landing.dest_name is not None for landing in self._prepared.landings)
        # A copy under a new name has no destination directory to be inside of.
        return self._options.links == "anywhere" or (self._options.links == "inside" and not renamed)

    @contextmanager
    def watching(self, scan: ScanMaker | None = None) -> Iterator[ScanMaker]:
        """Yield what makes a scan, and remember which links it found."""
        made: list[CopyScan] = []

        def make(*args: Any) -> CopyScan:
            made.append((scan or Scan)(*args))
            return made[-1]

        yield make
        if self._on:
            self._note(self._prepared.job, 0, made[0].waiting.tracked)

    def _note(self, job: Job, up: int, records: Iterable[tuple[object, ...]]) -> None:
        """Remember where links lead. up: how far the job's destination root lies above the first one's."""
        for some in _batched(map(SymlinkTarget._make, records)):
            wanted: list[Wanted] = []
            for each in some:
                root = self._source_root(job.sources[each.source], each.source_up)
                if root is not None:
                    wanted.append((up + each.up, each.target.replace(b"/", b"\0"), root.path, each.path))
            self._found.add(wanted)

    def _source_root(self, root: Root, up: int) -> Root | None:
        """Return the directory so many above a source root, if that is still the same."""
        key = root.path, up
        if key not in self._sources:
            self._sources[key] = found = None
            with suppress(OSError):
                pin = pin_of(root)
                self._sources[key] = found = _above(pin.fd, up, len(self._roots) < most_pins())
            if found is not None:
                self._roots[found.path] = found
        return self._sources[key]

    def follow(self, wire: Wire, frontend: Frontend, report: Report) -> None:
        """Copy what was found, and what that leads to; add it to the report. Raises FatalError."""
        done = ExternalSort()
        for _ in range(_CHAIN):
            found, self._found = self._found, ExternalSort()
            for up, wanted in groupby(_without(found, done), key=lambda each: each[0]):
                for some in _batched(self._apart(wanted)):
                    if report.ended_early:
                        return
                    done.add(some)
                    self._copy(up, some, wire, frontend, report)
            if next(iter(self._found), None) is None:
                return

    def _apart(self, wanted: Iterable[Wanted]) -> Iterator[Wanted]:
        """Yield what does not lie in another place that is wanted: that is seen to when the other one is there."""
        last: bytes | None = None
        for each in wanted:
            if last is not None and (each[1] == last or each[1].startswith(last + b"\0")):
                self._found.add([each])
            else:
                last = each[1]
                yield each

    def _copy(self, up: int, wanted: list[Wanted], wire: Wire, frontend: Frontend, report: Report) -> None:
        """Copy things to places below the directory so many above the destination root."""
        try:
            path, root = self._destination(up)
        except OSError as error:
            for _, _, source, what in wanted:
                why = f"a link points to it; not copied, as what is above the destination is closed: {reason_of(error)}"
                report.outcome.warn(child_path(source, what), why)
            return
        names = sorted({each[2] for each in wanted})
        index = {name: number for number, name in enumerate(names)}
        job = Job(
            options=replace(self._options, mirror=False, move=False, parallel_listing=False, backup_dir=b""),
            sources=tuple(self._roots[name] for name in names),
            destination=path,
            destination_root=root,
            abilities=self._prepared.job.abilities,
            run_id=os.urandom(4).hex(),
            landed=(None,) * len(names),
            hides_acls=hiding([self._roots[name] for name in names], root, self._prepared.job.abilities),
        )
        places = [
            Place(index[source], what, target.replace(b"\0", b"/"))
            for _, target, source, what in wanted
            if not self._is_announced(up, target)
        ]
        prepared = Prepared(job, [Landing(name, name, b".", b"") for name in names], False)
        scans: list[TargetScan] = []

        def make(*args: Any) -> CopyScan:
            scans.append(TargetScan(*args, places=places, refuse=self._refusal))
            return scans[-1]

        prefix = b"../" * up
        items = frontend.items and _Prefixed(frontend.items, prefix)
        copied = run_copy(wire, prepared, replace(frontend, items=items), make)
        copied.outcome.items = [(change, prefix + name, target) for change, name, target in copied.outcome.items]
        copied.abilities = {}  # those of the destination
        report.add(copied)
        self._note(job, up, scans[0].waiting.tracked)
        if self._options.dry_run:
            self._announced |= {(up, target) for target in scans[0].taken}

    def _is_announced(self, up: int, target: bytes) -> bool:
        """Return whether a dry run, which makes nothing, has announced a place, or one that it lies in."""
        names = target.split(b"\0")
        return any((up, join(*names[:count])) in self._announced for count in range(1, len(names) + 1))

    def _destination(self, up: int) -> tuple[bytes, Root | None]:
        """Return the directory so many above the destination root."""
        job = self._prepared.job
        if not up:
            return job.destination, job.destination_root
        if self._pin is not None:
            root = _above(self._pin, up)
            return root.path, root
        path = job.destination
        for _ in range(up):
            path = os.path.dirname(path)
        return path, root_at(path) if os.path.isdir(path) else None

    def _refusal(self, what: bytes, context: bytes) -> str:
        """Return why something is not to be copied to a place, "" where it may be. Both absolute."""
        if is_within(self._real_root, what) or is_within(what, self._real_root):
            return "the destination lies in it, or it in the destination"
        if any(is_within(context, source) for source in self._real_sources):
            return f"its place, {printable(context)}, lies in the source"
        return ""


def _above(fd: int, up: int, keep: bool = True) -> Root:
    """Return the directory so many above an open one. keep: it stays open. Raises OSError."""
    there = os.open(b"../" * up or b".", PATH, dir_fd=fd)
    return seen(real_path(there), there, itself=True, keep=keep)


def _batched(records: Iterable[Any]) -> Iterator[list[Any]]:
    records = iter(records)
    while some := list(islice(records, _AT_ONCE)):
        yield some


def _without(found: ExternalSort, done: ExternalSort) -> Iterator[Wanted]:
    """Yield what is in found and not in done. Both are read once, in order."""
    old = iter(done)
    last: object = next(old, None)
    for each in found:
        while last is not None and last < each:  # type: ignore[operator]
            last = next(old, None)
        if last != each:
            yield each  # type: ignore[misc]


class _Prefixed:
    """Hands items on, as paths from the destination root."""

    def __init__(self, items: Items, prefix: bytes) -> None:
        self._items = items
        self._prefix = prefix

    def add(self, items: Iterable[Item]) -> None:
        self._items.add((change, self._prefix + name, target) for change, name, target in items)
