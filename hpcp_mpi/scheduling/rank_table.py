"""Rule: the ranks with the emptiest and the fullest queue are found without looking at all ranks.

With 4,096 ranks a look at each of them takes 0.5 ms, and it was made for every chunk. Ranks are kept in heaps instead.
A heap does not notice that a rank changes: the rank gets a new entry, and old ones are dropped at the top.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from hpcp_mpi.scheduling.grants import GrantRecord
from hpcp_mpi.scheduling.messages import Progress, Reclaimed
from hpcp_mpi.vocab.report import RankShare
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Kind

QUEUE_DEPTH = 2  # chunks per slot: one to do, and one so that no slot waits for a round trip

_Place = tuple[bool, float, int]  # (not idle, chunks per slot, rank number)


@dataclass(slots=True)
class OutstandingChunk:
    """A chunk that is granted."""

    kind: Kind
    entries: int
    amount: int  # bytes
    seconds: float  # of a slot, that it will take on its rank
    kept: GrantRecord | None = None  # what is in it, where that has to be known


@dataclass(slots=True)
class Rank:
    """A worker as rank 0 knows it."""

    share: RankShare
    granted: dict[int, OutstandingChunk] = field(default_factory=dict)  # in the order of their numbers
    unstarted: float = 0.0  # seconds of a slot, as of its last message and what was granted since
    wants_work: bool = False  # a slot has nothing to do, and nothing is on its way to it
    asked: bool = False  # a Reclaim is on its way
    slowness: float = 1.0  # seconds that it takes for what takes a second elsewhere
    known: bool = False  # slowness was measured
    paused: bool = False  # is granted nothing for a while
    draining: bool = False  # a Drain is on its way
    under_way: Tally = NOTHING  # about how much it has done of what it has not reported
    active: bool = False  # as counted by Ranks
    heap_entry: _Place | None = None  # its entry among those with room
    steal_score: float = 0.0  # its entry among the victims

    @property
    def queue_fill(self) -> float:
        """How empty its queue is: chunks per slot. Below 1 a slot may be idle."""
        return len(self.granted) / self.share.slots

    @property
    def idle(self) -> bool:
        """Return whether a slot waits for work. Chunks do not show it: one may keep all slots busy, or just one."""
        return (self.wants_work or not self.granted) and not self.paused and not self.share.lost

    def update(self, message: Progress | Reclaimed) -> None:
        """Record what it has not started, and add what was granted while its message was on the way."""
        coming = 0.0
        for number in reversed(self.granted):
            if number <= message.latest:
                break
            coming += self.granted[number].seconds
        self.unstarted = message.unstarted + coming
        self.wants_work = message.wants_work and not coming


class Ranks:
    """All workers. changed() is called after each change of a rank.

    slots:  of all of them but the paused
    active: ranks that have work
    asked:  ranks that were asked to give back and have not answered
    idle:   ranks with a slot that has nothing to do
    """

    def __init__(self, stand_in: int = 0) -> None:
        """stand_in: a rank that is paused while others are there and not lost; 0: none"""
        self._stand_in = stand_in
        self._to_pause: Collection[int] = ()  # as asked last
        self._ranks: dict[int, Rank] = {}
        self._room: list[_Place] = []
        self._victims: list[tuple[float, int]] = []  # (-seconds per slot, rank number)
        self._stale: set[int] = set()  # ranks whose steal score may be out of date: pushed only when one is asked
        self.slots = 0
        self.active = 0
        self.asked = 0
        self.idle: set[int] = set()

    def __len__(self) -> int:
        return len(self._ranks)

    def __getitem__(self, number: int) -> Rank:
        return self._ranks[number]

    def get(self, number: int) -> Rank | None:
        return self._ranks.get(number)

    def add(self, share: RankShare) -> None:
        """Take a new worker."""
        self._ranks[share.rank] = rank = Rank(share)
        self.slots += share.slots
        self.changed(rank)
        if self._stand_in:
            self.pause(self._to_pause)

    def pause(self, numbers: Collection[int]) -> None:
        """Have these ranks get nothing, and all others what there is. Raises ValueError if no rank would."""
        live = [number for number, rank in self._ranks.items() if not rank.share.lost]
        if live and all(number in numbers for number in live):
            raise ValueError("all ranks are paused")
        self._to_pause = numbers
        if any(number not in numbers and number != self._stand_in for number in live):
            numbers = {*numbers, self._stand_in}
        for number in live:
            rank = self._ranks[number]
            if rank.paused is not (number in numbers):
                rank.paused = not rank.paused
                self.slots += -rank.share.slots if rank.paused else rank.share.slots
                self.changed(rank)

    def lose(self, rank: Rank, why: str) -> dict[int, OutstandingChunk]:
        """Have a rank get nothing any more; return what it was granted."""
        out, rank.granted = rank.granted, {}
        rank.share.lost = why
        rank.unstarted, rank.wants_work = 0.0, False
        if rank.asked:
            rank.asked = False
            self.asked -= 1
        if rank.paused:
            rank.paused = False
        else:
            self.slots -= rank.share.slots
        self.changed(rank)
        if self.live and all(each.paused for each in self.live):
            self.pause(())  # ranks that were to look on have to work now
        return out

    @property
    def live(self) -> list[Rank]:
        """The ranks that are not lost."""
        return [rank for rank in self._ranks.values() if not rank.share.lost]

    def kept(self) -> Iterator[Batch]:
        """Yield what is granted and not known to be done, as it is remembered. Looks at all ranks."""
        for rank in self._ranks.values():
            for out in rank.granted.values():
                if out.kept is not None:
                    yield from out.kept.batches

    def shares(self) -> list[RankShare]:
        return [self._ranks[number].share for number in sorted(self._ranks)]

    def amount(self, kinds: Collection[Kind]) -> int:
        """Return how many bytes of some kinds are granted. Looks at all ranks."""
        granted = (out for rank in self._ranks.values() for out in rank.granted.values())
        return sum(out.amount for out in granted if out.kind in kinds)

    def changed(self, rank: Rank) -> None:
        """Record a rank's change."""
        number, active, idle, queue_fill = rank.share.rank, bool(rank.granted), rank.idle, rank.queue_fill
        if active is not rank.active:
            rank.active = active
            self.active += 1 if active else -1
        if idle:
            self.idle.add(number)
        else:
            self.idle.discard(number)
        self._stale.add(number)
        # The idle first, and always: else a victim could get back what it gave, and be asked again, for ever. An idle
        # rank may seem to have a full queue, when the results of chunks that it gave back are still on their way.
        room = (idle or queue_fill < QUEUE_DEPTH) and not rank.paused and not rank.share.lost
        place = (not idle, queue_fill, number) if room else None
        if place != rank.heap_entry:
            rank.heap_entry = place
            if place is not None:
                heappush(self._room, place)
                if len(self._room) > 64 + 4 * len(self._ranks):
                    self._room = [each.heap_entry for each in self._ranks.values() if each.heap_entry is not None]
                    heapify(self._room)

    def emptiest(self) -> Rank | None:
        """Return the rank that is to get the next chunk; None when all queues are full."""
        while self._room:
            rank = self._ranks[self._room[0][2]]
            if rank.heap_entry == self._room[0]:
                return rank
            heappop(self._room)
        return None

    def fullest(self) -> Rank | None:
        """Return the rank that has most to give back for each of its slots; None when none has anything."""
        for number in self._stale:
            rank = self._ranks[number]
            rank.steal_score = 0.0 if rank.asked or rank.idle or rank.share.lost else -rank.unstarted / rank.share.slots
            if rank.steal_score:
                heappush(self._victims, (rank.steal_score, number))
        self._stale.clear()
        while self._victims:
            steal_score, number = self._victims[0]
            if self._ranks[number].steal_score == steal_score:
                return self._ranks[number]
            heappop(self._victims)
        return None
