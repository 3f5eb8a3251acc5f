"""A run in simulated time: the real planner, backlog, costs and worker queues; ranks, wires and storage are made up.

What rank 0 costs is measured in real seconds, in its code only; in simulated time it is given a fixed time for each
message, so that a run is the same on every machine.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp
from random import Random

from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.messages import Grant, Hello, Message, Reclaim
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.scheduling.worker_queue import WorkerQueue
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch
from tests.simulate.scenarios import BYTE, CHUNK_FILES, CHUNK_SECONDS, CHUNK_SIZE, ENTRY, Scenario, seconds_of

LATENCY = 50e-6  # seconds from rank to rank
SERVICE = 50e-6  # seconds that rank 0 takes for a message: the 20,000 a second that it is to reach
START = 0.003  # seconds that a bite takes beside its work: a program is started
FULL = 64 << 20  # bytes of backlog at which the feed is held, as in cluster/coordinator_loop.py
FILE_COST = CHUNK_SIZE // CHUNK_FILES
BITE_WEIGHT = CHUNK_SIZE // 4


@dataclass(frozen=True)
class Result:
    """What came of a run. Seconds are simulated unless it says real."""

    scenario: str
    ranks: int
    slots: int  # of each rank
    makespan: float  # seconds
    ideal: float  # seconds: all work at all ranks' speed; the longest unit if that takes longer
    spread: float  # seconds from the first rank that was done to the last
    slot_spread: float  # seconds from the first slot that was done to the last
    chunks: int
    messages: int
    steals: int
    busy: float  # real seconds in the planner

    @property
    def ratio(self) -> float:
        return self.makespan / self.ideal

    @property
    def rate(self) -> float:
        """Chunks that rank 0 serves in a real second."""
        return self.chunks / self.busy


@dataclass
class _Rank:
    number: int
    queue: WorkerQueue
    slowness: float
    idle: list[int]  # slots
    last: list[float]  # when each slot was done last


class Simulation:
    """One run of a scenario. feed_rate: entries that the scan finds in a second; None: as many as wanted."""

    def __init__(self, scenario: Scenario, feed_rate: float | None = None, seed: int = 1) -> None:
        self._scenario = scenario
        self._feed_rate = feed_rate
        self._feed = scenario.batches()
        self._feeding = True
        self._held = False
        self._chance = Random(seed)
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        weights = CostModel(CHUNK_SECONDS, CHUNK_FILES, CHUNK_SIZE)
        self._backlog = Backlog(weights)
        self._planner = Planner(self._backlog, weights, CHUNK_SECONDS)
        self._inbox: deque[tuple[int, Message]] = deque()
        self._serving = False
        self._messages = 0
        self._busy = 0.0
        self._work = self._longest = 0.0
        self._fed, self._done = [0, 0], [0, 0]  # entries and bytes
        slots = list(range(scenario.slots))
        self._ranks = [
            _Rank(
                number,
                WorkerQueue(BITE_WEIGHT, FILE_COST, scenario.slots),
                scenario.slowness.get(number, 1.0),
                slots[:],
                [0.0] * scenario.slots,
            )
            for number in range(1, scenario.ranks + 1)
        ]

    def run(self) -> Result:
        """Do everything; return what came of it."""
        for rank in self._ranks:
            self._at(LATENCY, self._arrive, rank.number, Hello("", self._scenario.slots))
        self._at(0.0, self._take_feed)
        # The collector would walk through the workers' objects, which rank 0 does not have.
        gc.disable()
        try:
            while self._events:
                self._now, _, action, arguments = heappop(self._events)
                action(*arguments)
        finally:
            gc.enable()
        assert self._planner.idle and not self._feeding, "it stopped before the end"
        assert self._done == self._fed, "not everything was done once"
        ends = [max(rank.last) for rank in self._ranks]
        slot_ends = [end for rank in self._ranks for end in rank.last]
        scenario = self._scenario
        return Result(
            scenario.name,
            scenario.ranks,
            scenario.slots,
            max(ends),
            max(self._work / scenario.speed, self._longest),
            max(ends) - min(ends),
            max(ends) - min(slot_ends),
            self._planner.chunks,
            self._messages,
            self._planner.steals,
            self._busy,
        )

    def _at(self, delay: float, action: Callable[..., None], *arguments: object) -> None:
        self._count += 1
        heappush(self._events, (self._now + delay, self._count, action, arguments))

    # --- rank 0

    def _take_feed(self) -> None:
        """Take what the scan has found; with a rate, a tenth of a second's worth."""
        entries = 0
        batches = []
        memory = self._backlog.memory
        self._held = memory > (FULL // 2 if self._held else FULL)
        most = 20_000 if self._feed_rate is None else self._feed_rate / 10
        while self._feeding and not self._held and entries < most:
            batch = next(self._feed, None)
            if batch is None:
                self._feeding = False
                break
            entries += batch.entries
            self._fed[0] += batch.entries
            self._fed[1] += batch.amount
            self._work += seconds_of(batch)
            self._longest = max(self._longest, max(n * ENTRY + size * BYTE for n, size in batch.units.loads()))
            batches.append(batch)
        if batches:
            start = time.process_time()
            self._planner.add(batches)
            self._busy += time.process_time() - start
            self._post()
        if self._feeding:
            self._at(0.1 if self._feed_rate is not None or self._held else 0.001, self._take_feed)

    def _arrive(self, number: int, message: Message) -> None:
        self._inbox.append((number, message))
        if not self._serving:
            self._serve()

    def _serve(self) -> None:
        self._serving = bool(self._inbox)
        if self._inbox:
            number, message = self._inbox.popleft()
            self._messages += 1
            start = time.process_time()
            self._planner.receive(number, message)
            self._busy += time.process_time() - start
            self._post()
            self._at(SERVICE, self._serve)

    def _post(self) -> None:
        for number, message in self._planner.outbox:
            self._messages += 1
            self._at(SERVICE + LATENCY, self._receive, self._ranks[number - 1], message)
        self._planner.outbox.clear()

    # --- other ranks

    def _receive(self, rank: _Rank, message: Message) -> None:
        if isinstance(message, Grant):
            rank.queue.grant(message.chunks, message.seconds)
        else:
            assert isinstance(message, Reclaim)
            self._at(LATENCY, self._arrive, rank.number, rank.queue.give_back())
        self._go_on(rank)

    def _go_on(self, rank: _Rank) -> None:
        while rank.idle:
            bite = rank.queue.take()
            if bite is None:
                break
            work = sum(map(seconds_of, bite[1]))
            noise = self._scenario.noise
            seconds = START + work * rank.slowness * exp(self._chance.gauss(-noise * noise / 2, noise))
            self._at(seconds, self._finish, rank, rank.idle.pop(), *bite, seconds)
        done = rank.queue.results()
        if done is not None:
            self._at(LATENCY, self._arrive, rank.number, done)

    def _finish(self, rank: _Rank, slot: int, number: int, batches: list[Batch], seconds: float) -> None:
        rank.last[slot] = self._now
        rank.idle.append(slot)
        entries, amount = sum(batch.entries for batch in batches), sum(batch.amount for batch in batches)
        self._done[0] += entries
        self._done[1] += amount
        rank.queue.finish(number, Outcome(copied=Tally(entries, 0, 0, 0, amount), seconds=seconds))
        self._go_on(rank)
