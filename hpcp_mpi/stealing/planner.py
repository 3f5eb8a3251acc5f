"""Rank 0's state: who has what, who gets what, who gives back. Pure: messages in, messages out, no MPI, no clock.

Rank 0 keeps every granted chunk until its result is in, so it knows what is out, and the end needs no termination
algorithm: nothing in the backlog, nothing granted, no more to come.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from hpcp_mpi.stealing.messages import Done, GaveBack, GiveBack, Grant, Hello, Message
from hpcp_mpi.vocab.report import Outcome, RankShare
from hpcp_mpi.vocab.units import Batch, Chunk

CHUNK_SECONDS = 1.0  # of one slot, that a chunk may take
SHORTEST_SECONDS = 0.1  # that a chunk has to take, so that starting it is not the work
FIRST = 64  # the first chunks are so much lighter than the heaviest
QUEUE_DEPTH = 2  # chunks per slot: one to do, and one so that no slot waits for a round trip


class Backlog(Protocol):
    """What chunks are cut from."""

    @property
    def weight(self) -> int: ...
    def __bool__(self) -> bool: ...
    def add(self, batches: Iterable[Batch], first: bool = False) -> None: ...
    def cut(self, target: int) -> Chunk: ...


@dataclass(slots=True)
class _Rank:
    """A worker as rank 0 knows it."""

    share: RankShare
    granted: dict[int, Chunk] = field(default_factory=dict)
    unstarted: int = 0  # bytes of weight, as of its last message and what was granted since
    hungry: bool = False  # a slot has nothing to do, and nothing is on its way to it
    asked: bool = False  # a GiveBack is on its way

    @property
    def hunger(self) -> float:
        """How empty its queue is: chunks per slot. Below 1 a slot may be idle."""
        return len(self.granted) / self.share.slots

    @property
    def idle(self) -> bool:
        """Tell whether a slot has nothing to do. Chunks do not tell: one may keep all slots busy, or just one."""
        return not self.granted or self.hungry

    def hear(self, message: Done | GaveBack) -> None:
        """Take note of what it has not started, and add what was granted while its message was on the way."""
        coming = sum(chunk.weight for number, chunk in self.granted.items() if number > message.latest)
        self.unstarted = message.unstarted + coming
        self.hungry = message.hungry and not coming


class Planner:
    """Grants the backlog's work. Read and empty `outbox` after each call: (rank, message) in order."""

    def __init__(self, backlog: Backlog, chunk_weight: int, single: bool = False) -> None:
        self._backlog = backlog
        self._chunk_weight = chunk_weight
        self._single = single
        self._ranks: dict[int, _Rank] = {}
        self._pace = 0.0  # seconds of a slot for a byte of weight, as far as is known
        self._stolen = 0  # weight at the front of the backlog that was given back
        self.outbox: list[tuple[int, Message]] = []
        self.outcome = Outcome()
        self.chunks = 0
        self.steals = 0

    @property
    def idle(self) -> bool:
        """Tell whether nothing is left to grant and nothing is out."""
        return not self._backlog and not any(rank.granted or rank.asked for rank in self._ranks.values())

    @property
    def shares(self) -> list[RankShare]:
        return [self._ranks[number].share for number in sorted(self._ranks)]

    @property
    def active(self) -> int:
        """How many ranks have work."""
        return sum(bool(rank.granted) for rank in self._ranks.values())

    def add(self, batches: Iterable[Batch]) -> None:
        """Take new work."""
        self._backlog.add(batches)
        self._deal()

    def receive(self, number: int, message: Message) -> None:
        """Take a worker's message."""
        if isinstance(message, Hello):
            if not (self._single and self._ranks):
                slots = 1 if self._single else max(1, message.slots)
                self._ranks[number] = _Rank(RankShare(number, message.node, slots))
        elif isinstance(message, Done):
            self._done(self._ranks[number], message)
        elif isinstance(message, GaveBack):
            self._gave_back(self._ranks[number], message)
        else:
            raise TypeError(f"not a message for the planner: {message!r}")
        self._deal()

    def _done(self, rank: _Rank, message: Done) -> None:
        for number, outcome in message.results:
            self._learn(rank.granted.pop(number).weight, outcome.seconds)
            self.chunks += 1
            rank.share.chunks += 1
            rank.share.seconds += outcome.seconds
            rank.share.copied = rank.share.copied.plus(outcome.copied)
            self.outcome.add(outcome)
        rank.hear(message)

    def _gave_back(self, rank: _Rank, message: GaveBack) -> None:
        rank.asked = False
        rank.hear(message)
        batches: list[Batch] = []
        for number, part in message.parts:
            if number in rank.granted:
                rank.granted[number] = rank.granted[number].without_tail(sum(len(batch.units) for batch in part))
            batches += part
        if batches:
            self.steals += 1
            self._stolen += sum(batch.weight for batch in batches)
            self._backlog.add(batches, first=True)

    def _deal(self) -> None:
        """Fill the queues, the emptiest first; when there is nothing left, have the fullest rank give back."""
        ranks = list(self._ranks.values())
        slots = sum(rank.share.slots for rank in ranks)
        while ranks and self._backlog:
            # The idle first: else a victim with many slots could get back what it gave, and be asked again, for ever.
            rank = min(ranks, key=lambda each: (not each.idle, each.hunger))
            if rank.hunger >= QUEUE_DEPTH:
                return
            self._grant(rank, self._target(slots))
        if any(rank.idle for rank in ranks):
            self._ask(ranks)

    def _target(self, slots: int) -> int:
        """Return how heavy the next chunk is to be: lighter towards the end, so that all ranks end together.

        How long a chunk takes is learnt from those that are done; the first ones are small.
        """
        fair = self._backlog.weight // (QUEUE_DEPTH * slots)
        if not self._pace:
            return max(min(self._chunk_weight, fair), self._chunk_weight // FIRST, 1)
        longest, shortest = int(CHUNK_SECONDS / self._pace), int(SHORTEST_SECONDS / self._pace)
        return max(min(self._chunk_weight, longest, fair), min(self._chunk_weight, shortest), 1)

    def _learn(self, weight: int, seconds: float) -> None:
        """Take note of how long a finished chunk took."""
        if weight > 0 and seconds > 0:
            pace = seconds / weight
            self._pace = pace if not self._pace else 0.8 * self._pace + 0.2 * pace

    def _grant(self, rank: _Rank, target: int) -> None:
        chunk = self._backlog.cut(target)
        weight = chunk.weight
        rank.granted[chunk.number] = chunk
        rank.unstarted += weight
        rank.hungry = False
        if self._stolen > 0:
            self._stolen -= weight
            rank.share.stolen += 1
        number = rank.share.rank
        if self.outbox and self.outbox[-1][0] == number and isinstance(self.outbox[-1][1], Grant):
            self.outbox[-1] = (number, Grant((*self.outbox[-1][1].chunks, chunk)))
        else:
            self.outbox.append((number, Grant((chunk,))))

    def _ask(self, ranks: list[_Rank]) -> None:
        victim = max(ranks, key=lambda each: each.unstarted)
        if victim.unstarted and not victim.asked and not victim.idle:
            victim.asked = True
            self.outbox.append((victim.share.rank, GiveBack()))
