"""The planner on rank 0: which rank has which chunks, gets the next, gives some back. Pure: no MPI, no clock.

Rank 0 keeps in mind every granted chunk until its result is in, so it knows what is out, and the end needs no
termination algorithm: nothing in the backlog, nothing granted, no more to come.
"""

from collections.abc import Collection, Iterable
from typing import Any

from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.grants import GrantRecord, requeue, stage_dirs
from hpcp_mpi.scheduling.messages import Drain, Grant, Hello, Message, Progress, Reclaim, Reclaimed, UnderWay
from hpcp_mpi.scheduling.rank_speed import SpeedModel
from hpcp_mpi.scheduling.rank_table import QUEUE_DEPTH, OutstandingChunk, Rank, Ranks
from hpcp_mpi.scheduling.rate_limit import RateLimiter
from hpcp_mpi.scheduling.supply import Supply
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import RankShare
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Chunk, Kind

SHORTEST_SECONDS = 0.1  # that a chunk has to take, so that starting it is not the work
SERVED_SECONDS = 0.0001  # that rank 0 has for each chunk; it needs half of them


class Planner:
    """Grants the backlog's work. Read and empty after each call:

    outbox: (rank, message) in order
    news:   findings of workers, for rank 0's side of the operation
    todo:   directories that have to be looked at again, as lost ranks had some of them
    left:   directories of the destination in which lost ranks may have left a stage
    """

    def __init__(
        self,
        backlog: Backlog,
        costs: CostModel,
        chunk_seconds: float,
        single: bool = False,
        limiter: RateLimiter | None = None,
        remember: bool = False,
        stand_in: int = 0,
    ) -> None:
        """chunk_seconds: how long a chunk keeps a slot busy. limiter: limits what is copied; then tick() is needed.

        remember: ranks may be lost, so what is granted is kept in mind
        stand_in: a rank that works only while there is no other; 0: none
        """
        self._remember = remember
        self.whole = True  # as for GrantRecord; may be changed before anything is granted
        self._spare: list[RankShare] = []  # with single: ranks that may take the place of the one that works
        self._missed: dict[int, RankShare] = {}  # ranks that were lost and had never been granted anything
        self._draining = 0  # 0: not; else one more than the ranks that have not answered
        self._limiter = limiter
        self._backlog = backlog
        self._costs = costs
        self._chunk_seconds = chunk_seconds
        self._single = single
        self._ranks = Ranks(stand_in)
        self._speeds = SpeedModel()
        self._stolen = 0  # units at the front of the backlog that were given back
        self.outbox: list[tuple[int, Message]] = []
        self.news: list[Any] = []
        self.todo: list[Relist] = []
        self.below = NOTHING  # what was found below those directories
        self.left: set[bytes] = set()
        self.outcome = Outcome()
        self.under_way = NOTHING  # about how much ranks have done beyond that, and not reported
        self.chunks = 0
        self.steals = 0

    @property
    def idle(self) -> bool:
        """Return whether nothing is left to grant and nothing is out."""
        return not (self._backlog or self._ranks.active or self._ranks.asked)

    @property
    def behind(self) -> bool:
        """Return whether there is work for which ranks have no room yet."""
        return bool(self._backlog)

    @property
    def shares(self) -> list[RankShare]:
        """What ranks did that said Hello, and those that were lost before."""
        return sorted([*self._ranks.shares(), *self._missed.values()], key=lambda share: share.rank)

    def load(self) -> list[tuple[RankShare, int, Tally]]:
        """Return each rank with how many chunks it is granted, and about how much it has done of them."""
        ranks = ((share, self._ranks[share.rank]) for share in self._ranks.shares())
        return [(share, len(rank.granted), rank.under_way) for share, rank in ranks]

    @property
    def slots(self) -> int:
        """How many slots all ranks have that have said so by now."""
        return self._ranks.slots

    @property
    def supply(self) -> Supply:
        """What ranks have to do."""
        ranks, slots = self._ranks, self._ranks.slots
        if not self._backlog:
            return Supply(len(ranks), len(ranks.idle), slots)
        return Supply(len(ranks), 0, slots, self._backlog.weight_but(Kind.LIST) / max(1, slots))

    @property
    def active(self) -> int:
        """How many ranks have work."""
        return self._ranks.active

    def add(self, batches: Iterable[Batch]) -> None:
        """Take new work."""
        self._backlog.add(batches)
        self._deal()

    def waiting(self, kinds: Collection[Kind]) -> int:
        """Return how many bytes of work of some kinds are not known to be done. Looks at all ranks."""
        return self._backlog.amount(kinds) + self._ranks.amount(kinds)

    def pause(self, numbers: Collection[int]) -> None:
        """Grant nothing to some ranks, from now on and until the next call. Raises ValueError if that were all."""
        self._ranks.pause(numbers)
        self._deal()

    @property
    def granted(self) -> Iterable[Batch]:
        """What is granted and not known to be done, as it is remembered. Looks at all ranks."""
        return self._ranks.kept()

    def lose(self, number: int, why: str) -> None:
        """Record that a rank is lost; its unreported work returns to the backlog, or to `todo` as directories to list.

        why: for the report
        """
        rank = self._ranks.get(number)
        if rank is None:
            spare = next((share for share in self._spare if share.rank == number), None)
            if spare is not None:
                self._spare.remove(spare)
            self._missed[number] = spare or RankShare(number, "", 0)
            self._missed[number].lost = why
            return
        if rank.share.lost:
            return
        self._moved(rank, NOTHING)  # others do it again
        asked = self._draining > 1 and rank.draining
        for out in self._ranks.lose(rank, why).values():
            if self._limiter is not None:
                self._limiter.done(out.kind, out.entries, out.amount)
            if out.kept is not None:
                granted, todo = requeue(out.kept.batches, self.whole, number)
                self.left.update(stage_dirs(out.kept.batches))
                self._backlog.add(granted, first=True)
                self.todo += todo
                for batch in out.kept.batches:
                    self.below = self.below.plus(batch.below)
        if asked:
            self._draining -= 1
        if self._single and self._spare and not self._ranks.live:
            self._ranks.add(self._spare.pop(0))
        self._deal()

    @property
    def alive(self) -> int:
        """How many ranks have said Hello and are not lost."""
        return len(self._ranks.live) + len(self._spare)

    def drain(self) -> None:
        """Have all ranks return what they have not started, and grant only the end of big files that are copied."""
        if self._draining:
            return
        self._draining = 1
        for rank in self._ranks.live:
            rank.draining = True
            self._draining += 1
            self.outbox.append((rank.share.rank, Drain()))

    @property
    def drained(self) -> bool:
        """Return whether all that was started is done, after drain()."""
        return self._draining == 1 and not self._ranks.active

    def tick(self, now: float) -> None:
        """Record the time, in seconds of any clock; grant what it allows."""
        if self._limiter is not None:
            self._limiter.advance(now)
            if self._backlog:
                self._deal()

    def receive(self, number: int, message: Message) -> None:
        """Take a worker's message."""
        known = self._ranks.get(number)
        if number in self._missed or (known is not None and known.share.lost):
            return
        if isinstance(message, UnderWay):
            if known is not None:
                self._moved(known, message.tally)
            return
        if isinstance(message, Progress):
            self._done(self._ranks[number], message)
        elif isinstance(message, Reclaimed):
            self._gave_back(self._ranks[number], message)
        elif isinstance(message, Hello):
            share = RankShare(number, message.node, 1 if self._single else max(1, message.slots))
            if self._single and self._ranks.live:
                self._spare.append(share)
            else:
                self._ranks.add(share)
        else:
            raise TypeError(f"not a message for the planner: {message!r}")
        self._deal()

    def _done(self, rank: Rank, message: Progress) -> None:
        for number, outcome in message.results:
            out = rank.granted.pop(number)
            self._learn(rank, out, outcome.seconds)
            if self._limiter is not None:
                self._limiter.done(out.kind, out.entries, out.amount)
            self.chunks += 1
            rank.share.chunks += 1
            rank.share.seconds += outcome.seconds
            rank.share.copied = rank.share.copied.plus(outcome.copied)
            self._found(outcome.new_work, outcome.findings)
            outcome.new_work, outcome.findings = [], []
            self.outcome.add(outcome)
        for number, done, outcome in message.partly:
            out = rank.granted[number]
            if out.kept is not None:
                out.kept.drop(done)
            rank.share.copied = rank.share.copied.plus(outcome.copied)
            self.outcome.add(outcome)
        self._moved(rank, message.under_way)
        self._found(message.new_work, message.findings)
        rank.update(message)
        self._ranks.changed(rank)

    def _moved(self, rank: Rank, tally: Tally) -> None:
        """Record what a rank has done and not reported, in place of what it said before."""
        self.under_way = self.under_way.plus(tally).minus(rank.under_way)
        rank.under_way = tally

    def _found(self, more: Iterable[Batch], news: Iterable[Any]) -> None:
        self._backlog.add(more)
        self.news += news

    def _learn(self, rank: Rank, out: OutstandingChunk, seconds: float) -> None:
        if out.entries > 0 and seconds > 0:
            load = out.kind, out.entries, out.amount
            expected = self._costs.seconds(*load)
            self._costs.learn(*load, self._speeds.usual(rank, out.kind, expected, seconds))
            self._speeds.relearnt(out.kind, expected, self._costs.seconds(*load))

    def _gave_back(self, rank: Rank, message: Reclaimed) -> None:
        if message.drained:
            rank.draining = False
            self._draining -= 1
        else:
            rank.asked = False
            self._ranks.asked -= 1
        batches: list[Batch] = []
        for number, part in message.parts:
            out = rank.granted.get(number)
            if out is not None:
                before = self._costs.seconds(out.kind, out.entries, out.amount)
                out.entries -= sum(batch.units.entries for batch in part)
                out.amount -= sum(batch.units.amount for batch in part)
                out.seconds *= self._costs.seconds(out.kind, out.entries, out.amount) / before
                if out.kept is not None:
                    out.kept.drop(part)
            batches += part
        rank.update(message)
        self._ranks.changed(rank)
        if batches:
            if self._limiter is not None:
                self._limiter.give_back(batches)
            self.steals += not message.drained
            self._stolen += sum(len(batch.units) for batch in batches)
            self._backlog.add(batches, first=True)

    def _deal(self) -> None:
        """Fill the queues, the emptiest first; when there is nothing left, have the fullest ranks give back."""
        ranks = self._ranks
        while self._backlog.ending or (self._backlog and not self._draining):
            rank = ranks.emptiest()
            if rank is None or not self._grant(rank):
                return
        # As many as are idle, so that at the end all of a thousand ranks get something in one round trip.
        while ranks.asked < len(ranks.idle) and not self._draining:
            victim = ranks.fullest()
            if victim is None:
                return
            victim.asked = True
            ranks.asked += 1
            ranks.changed(victim)
            self.outbox.append((victim.share.rank, Reclaim()))

    def _target(self, rank: Rank) -> float:
        """Return how many seconds the next chunk is to take on a usual rank, if it is for this one.

        Towards the end less and less, so that all ranks end together. A slow rank gets less for the same time.
        """
        slots = self._ranks.slots
        fair = self._backlog.weight / (QUEUE_DEPTH * slots)
        shortest = max(SHORTEST_SECONDS, SERVED_SECONDS * slots)
        return min(self._chunk_seconds, max(shortest, fair)) / rank.slowness

    def _cut(self, target: float, rank: int) -> Chunk | None:
        if self._limiter is None:
            return self._backlog.cut(target, rank)
        return self._backlog.cut_open(target, self._limiter.closed, self._limiter.most(self._ranks.slots), rank)

    def _grant(self, rank: Rank) -> bool:
        """Give a rank the next chunk; return whether there was one that may be granted."""
        chunk = self._cut(self._target(rank), rank.share.rank)
        if chunk is None:
            return False
        kind, entries, amount, units = chunk.batches[0].kind, 0, 0, 0
        for batch in chunk.batches:
            entries += batch.units.entries
            amount += batch.units.amount
            units += len(batch.units)
        if self._limiter is not None:
            self._limiter.grant(kind, entries, amount)
        seconds = self._costs.seconds(kind, entries, amount) * rank.slowness
        kept = GrantRecord(chunk.batches, self.whole) if self._remember else None
        rank.granted[chunk.number] = OutstandingChunk(kind, entries, amount, seconds, kept)
        rank.unstarted += seconds
        rank.wants_work = False
        self._ranks.changed(rank)
        if self._stolen > 0:
            self._stolen -= units
            rank.share.stolen += 1
        number = rank.share.rank
        if self.outbox and self.outbox[-1][0] == number and isinstance(self.outbox[-1][1], Grant):
            last = self.outbox[-1][1]
            self.outbox[-1] = (number, Grant((*last.chunks, chunk), (*last.seconds, seconds)))
        else:
            self.outbox.append((number, Grant((chunk,), (seconds,))))
        return True
