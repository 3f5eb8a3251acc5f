"""A simulated run of planner and workers without threads: the test chooses every step, and all units are counted.

Messages between two ranks keep their order; nothing else is in order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.grants import CONTENT
from hpcp_mpi.scheduling.messages import Drain, Grant, Hello, Message, Reclaim, Reclaimed
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.scheduling.rate_limit import RateLimiter
from hpcp_mpi.scheduling.worker_queue import WorkerQueue
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

Action = Callable[[], None]


def batch_of(names: list[int], sizes: list[int], kind: Kind = Kind.COPY, directory: bytes = b"") -> Batch:
    units = (Unit(b"%d" % name, one_file(size), size) for name, size in zip(names, sizes, strict=True))
    return Batch(kind, 0, directory, directory, Units.of(units))


@dataclass
class Rank:
    """A simulated worker, and its messages in both directions."""

    number: int
    slots: int
    machine: WorkerQueue
    inbox: deque[Message] = field(default_factory=deque)
    outbox: deque[Message] = field(default_factory=deque)
    running: list[tuple[int, list[Batch]]] = field(default_factory=list)
    did: list[Unit] = field(default_factory=list)
    dead: bool = False  # it does nothing any more; messages it has sent may still arrive
    stirred: bool = False  # something happened since the loop last asked the machine for news
    waiting: bool = False  # something happened since a slot last asked the machine for work in vain

    def stir(self) -> None:
        self.stirred = self.waiting = True


class Cluster:
    """Rank 0's planner and the workers. arrivals: the lists of batches that the scan will find, one after the other.

    chunk_size: bytes that a chunk is guessed to hold at first
    """

    def __init__(
        self,
        slots: list[int],
        arrivals: list[list[Batch]],
        chunk_size: int,
        bite_size: int,
        single: bool = False,
        bucket: RateLimiter | None = None,
        remember: bool = False,
    ) -> None:
        weights = CostModel(1.0, 10**6, chunk_size)
        self.backlog = Backlog(weights)
        self.planner = Planner(self.backlog, weights, 1.0, single, bucket, remember)
        self.draining = False
        self.arrivals = deque(arrivals)
        self.ranks = [Rank(number, count, WorkerQueue(bite_size, 1, count)) for number, count in enumerate(slots, 1)]
        self.finds: Callable[[list[Unit]], list[Batch]] = lambda units: []  # new work that a bite finds
        self.seconds = 1.0  # that a bite takes
        self.asked = 0
        self.empty = 0
        for rank in self.ranks:
            rank.outbox.append(Hello(f"node{rank.number}", rank.slots))

    # --- the possible events

    def messages(self) -> list[Action]:
        """The deliveries and reports that can happen next."""
        actions: list[Action] = []
        for rank in self.ranks:
            if rank.inbox and not rank.dead:
                actions.append(lambda rank=rank: self._to_worker(rank))  # type: ignore[misc]
            if rank.outbox:
                actions.append(lambda rank=rank: self._to_planner(rank))  # type: ignore[misc]
            if rank.stirred and not rank.dead:
                actions.append(lambda rank=rank: self._report(rank))  # type: ignore[misc]
        return actions

    def starts(self) -> list[Action]:
        """The slots that can take their next bite."""
        return [
            lambda rank=rank: self._start(rank)  # type: ignore[misc]
            for rank in self.ranks
            if len(rank.running) < rank.slots and rank.waiting and not rank.dead
        ]

    def ends(self) -> list[Action]:
        """The slots that can finish a bite."""
        return [
            lambda rank=rank, at=at: self._finish(rank, at)  # type: ignore[misc]
            for rank in self.ranks
            if not rank.dead
            for at in range(len(rank.running))
        ]

    def scans(self) -> list[Action]:
        """The next step of the scan, if there is one."""
        return [self._arrive] if self.arrivals and not self.draining else []

    # --- the events

    def die(self, number: int) -> None:
        """Make a rank do nothing any more, unknown to rank 0."""
        self.ranks[number - 1].dead = True

    def lose(self, number: int) -> None:
        """Make rank 0 take a rank for lost, dead or not."""
        self.planner.lose(number, "silent")
        self._post()

    def drain(self) -> None:
        """Start nothing more."""
        self.draining = True
        self.planner.drain()
        self._post()

    def bench(self, numbers: list[int]) -> None:
        self.planner.pause(numbers)
        self._post()

    def tick(self, now: float) -> None:
        self.planner.tick(now)
        self._post()

    def _arrive(self) -> None:
        self.planner.add(self.arrivals.popleft())
        self._post()

    def _post(self) -> None:
        for number, message in self.planner.outbox:
            self.asked += isinstance(message, Reclaim)
            assert not (self.draining and isinstance(message, Grant)), "granted, and nothing is to be begun"
            self.ranks[number - 1].inbox.append(message)
        self.planner.outbox.clear()

    def _to_planner(self, rank: Rank) -> None:
        self.planner.receive(rank.number, rank.outbox.popleft())
        self._post()

    def _to_worker(self, rank: Rank) -> None:
        message = rank.inbox.popleft()
        if isinstance(message, Grant):
            rank.machine.grant(message.chunks, message.seconds)
            rank.stir()
        elif isinstance(message, Drain):
            rank.outbox.append(rank.machine.drain())
            rank.stir()
        else:
            assert isinstance(message, Reclaim)
            gave = rank.machine.give_back()
            assert isinstance(gave, Reclaimed)
            self.empty += not gave.parts
            rank.outbox.append(gave)
            rank.stir()

    def _report(self, rank: Rank) -> None:
        rank.stirred = False
        done = rank.machine.results()
        if done is not None:
            rank.outbox.append(done)

    def _start(self, rank: Rank) -> None:
        bite = rank.machine.take()
        if bite is None:
            rank.waiting = False
        else:
            rank.running.append(bite)

    def _finish(self, rank: Rank, at: int) -> None:
        number, batches = rank.running.pop(at)
        units = [unit for batch in batches for unit in batch.units]
        rank.did += units
        total = Tally()
        for unit in units:
            total = total.plus(unit.tally)
        outcome = Outcome(copied=total, seconds=self.seconds, new_work=self.finds(units))
        outcome.notes = [(unit.name, batch.kind.value) for batch in batches for unit in batch.units]
        outcome.findings = [unit.name for batch in batches if batch.kind not in CONTENT for unit in batch.units]
        rank.machine.finish(number, outcome, batches)
        rank.stir()

    # --- the state

    def settle(self, choose: Callable[[int], int]) -> int:
        """Deliver all messages and start all bites that can start; return how many steps that took.

        choose: picks one of so many events.
        """
        steps = 0
        while actions := [*self.messages(), *self.starts()]:
            actions[choose(len(actions))]()
            steps += 1
            assert steps < 20_000, "messages without end"
        return steps

    @property
    def ended(self) -> bool:
        """Whether rank 0 knows that all is done."""
        return not self.arrivals and self.planner.idle and len(self.planner.shares) > 0

    def executed(self) -> Counter[bytes]:
        return Counter(unit.name for rank in self.ranks for unit in rank.did)

    def told(self) -> Counter[bytes]:
        """The units that rank 0 knows to be done, with how often."""
        return Counter(name for name, _ in self.planner.outcome.notes)
