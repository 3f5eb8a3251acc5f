"""Rank 0's side of big files: they are begun a few at a time, then come their ranges, then their end."""

from typing import Any

from hpcp_mpi.cluster.run import Feed
from hpcp_mpi.plan.listed import Listed
from hpcp_mpi.plan.ranges import BeginsDone, Ranges
from hpcp_mpi.vocab.units import Batch, Kind

_UNDER_WAY = 64  # files that have a stage at the same time; a killed run leaves so many behind


class WithRanges:
    """A feed, and what follows from its big files."""

    def __init__(self, feed: Feed, split_size: int) -> None:
        self._feed = feed
        self._ranges = Ranges(split_size)
        self._ready: list[Batch] = []
        self._waiting: list[Batch] = []  # files to begin
        self._beginning = 0  # files that somebody was asked to begin

    @property
    def exhausted(self) -> bool:
        under_way = self._ready or self._waiting or not self._ranges.idle
        return self._feed.exhausted and not under_way

    def take(self) -> list[Batch]:
        ready, self._ready = self._ready, []
        for batch in self._feed.take():
            (self._waiting if batch.kind is Kind.BEGIN else ready).append(batch)
        while self._waiting and (room := _UNDER_WAY - self._ranges.active - self._beginning) > 0:
            batch = self._waiting.pop()
            if len(batch.units) > room:
                batch, rest = batch.split(room)
                self._waiting.append(rest)
            self._beginning += len(batch.units)
            ready.append(batch)
        return ready

    def hear(self, news: list[Any]) -> None:
        for each in news:
            if isinstance(each, Listed):
                self._feed.hear([each])
            elif isinstance(each, BeginsDone):
                self._beginning -= each.files
            elif isinstance(each, Batch):
                self._waiting.append(each)
            else:
                self._ready += self._ranges.hear(each)

    def hold(self, held: bool) -> None:
        self._feed.hold(held or len(self._waiting) > 100 * _UNDER_WAY)
