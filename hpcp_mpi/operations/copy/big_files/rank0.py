"""Rank 0's side of big files: they are started a few at a time, then come their ranges, then their end."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hpcp_mpi.cluster.feed import Feed
from hpcp_mpi.operations.copy.big_files.rules import FilesStarted, Holes, Key, Ranges
from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.vocab.units import Batch, Kind, Units

_UNDER_WAY = 64  # files that have a stage at the same time; a killed run leaves so many behind


class WithRanges:
    """A feed, and what follows from its big files."""

    def __init__(self, feed: Feed, split_size: int, started: Iterable[tuple[Batch, Units]] = ()) -> None:
        """started: files that another run started: what finishes each, and the ranges that are not copied"""
        self._feed = feed
        self._ranges = Ranges(split_size)
        self._ready: list[Batch] = []
        self._waiting: list[Batch] = []  # files to start
        self._starting = 0  # files that ranks were asked to start
        self._known: set[tuple[int, bytes, bytes]] = set()
        for finish, left in started:
            self._known |= {(finish.source, finish.source_dir, name) for name in finish.units.names}
            self._ready.append(self._ranges.resume(finish, left))
        self.before = self._ranges.copied  # bytes of ranges that another run copied

    @property
    def copied(self) -> int:
        """The bytes of ranges whose files have not ended: no outcome counts them."""
        return self._ranges.copied

    @property
    def holes(self) -> Holes:
        """The holes of the files that were begun."""
        return self._ranges.holes

    @property
    def done(self) -> bool:
        under_way = self._ready or self._waiting or not self._ranges.idle
        return self._feed.done and not under_way

    @property
    def pending(self) -> list[Batch]:
        """Work that was not taken yet."""
        return [*self._ready, *self._waiting]

    @property
    def files(self) -> dict[Key, Batch]:
        """The big files under way, each as the batch that finishes it."""
        return self._ranges.files

    def next_batches(self) -> list[Batch]:
        ready, self._ready = self._ready, []
        for batch in self._feed.next_batches():
            if batch.kind is Kind.START_FILE:
                self._wait(batch)
            else:
                ready.append(batch)
        while self._waiting and (room := _UNDER_WAY - self._ranges.active - self._starting) > 0:
            batch = self._waiting.pop()
            if len(batch.units) > room:
                batch, rest = batch.split(room)
                self._waiting.append(rest)
            self._starting += len(batch.units)
            ready.append(batch)
        return ready

    def _wait(self, batch: Batch) -> None:
        """Have files started when it is their turn, but for those that another run started."""
        if self._known:
            where = batch.source, batch.source_dir
            batch = replace(
                batch, units=Units.of(unit for unit in batch.units if (*where, unit.name) not in self._known)
            )
        if len(batch.units):
            self._waiting.append(batch)

    def on_findings(self, findings: list[Any]) -> None:
        for each in findings:
            if isinstance(each, ScanFindings):
                self._feed.on_findings([each])
            elif isinstance(each, FilesStarted):
                self._starting -= each.files
            elif isinstance(each, Batch):
                self._wait(each)
            else:
                self._ready += self._ranges.update(each)

    def pause(self, held: bool) -> None:
        self._feed.pause(held or len(self._waiting) > 100 * _UNDER_WAY)
