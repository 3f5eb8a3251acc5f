"""A worker rank's state: a queue of granted chunks that its slots bite pieces off. Pure.

Slots share the queue: an idle slot takes the next bite of a chunk that another slot works on, so stealing inside a
rank needs no messages. What no slot has started can be given back, the tail of a running chunk included. A free slot's
next bite is set aside for it at once and counts as started: else a rank could be asked to give it back before the slot
woke up, the next rank likewise, and the same work would be passed around.

A bite is a quarter of its chunk, so that a thief can take the rest of one. Rank 0 makes chunks that last about as long
on a slow rank as on a fast one, so that holds on both: a bite of fixed weight would keep the slots of a rank that is
ten times slower busy for ten times as long, and nothing of it could be stolen.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hpcp_mpi.scheduling.grants import CONTENT
from hpcp_mpi.scheduling.messages import Progress, Reclaimed
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Chunk, Kind

BITES = 4  # in a chunk
SHORTEST_BITE = 0.15  # seconds; starting a `cp` takes some milliseconds, and a bite may need several
# No command gets these, and what a directory weighs is a guess. In bites of 25, 60,000 directories of one file each
# took three ranks twice the CPU time: for messages.
_WALKS = frozenset({Kind.REMOVE, Kind.COUNT, Kind.REMOVE_COPIED})


@dataclass(slots=True)
class _QueuedChunk:
    """A granted chunk. Loads are in bytes: an entry counts as file_cost bytes."""

    number: int
    rest: deque[Batch]  # not started
    load: int  # of rest
    bite: float  # the load of a bite
    pace: float  # seconds of a unit of load, as rank 0 said
    running: int = 0  # bites that slots are at
    done: list[Batch] = field(default_factory=list)  # what must not be done twice, and was not sent yet
    outcome: Outcome = field(default_factory=Outcome)

    def take_outcome(self) -> Outcome:
        """Return the outcome of what is done, to be sent now; the chunk's seconds are sent at its end."""
        outcome, self.outcome = self.outcome, Outcome(seconds=self.outcome.seconds)
        outcome.seconds, self.done = 0.0, []
        return outcome


class WorkerQueue:
    """take() and finish() are called by slots, the others by the rank's message loop; one lock guards all."""

    def __init__(self, bite_weight: int, file_cost: int, slots: int) -> None:
        """bite_weight: the heaviest bite, bytes; file_cost: what an entry counts beside its bytes, bytes."""
        self._bite_weight = bite_weight
        self._file_cost = file_cost
        self._free = slots  # that nothing is set aside for
        self._ready: deque[tuple[int, list[Batch]]] = deque()  # set aside for slots
        self._latest = 0  # the number of the last chunk that came
        self._reported = True  # rank 0 knows whether a slot is free; that all are, Hello has said
        self._chunks: dict[int, _QueuedChunk] = {}  # in the order they were granted
        self._finished: list[tuple[int, Outcome]] = []
        self._new_work: list[Batch] = []  # found, and not sent yet
        self._findings: list[Any] = []

    @property
    def unstarted(self) -> float:
        """The seconds of a slot that none has started, as rank 0 said."""
        return sum(work.load * work.pace for work in self._chunks.values())

    def grant(self, chunks: tuple[Chunk, ...], seconds: tuple[float, ...]) -> None:
        """Queue chunks, which are to take so many seconds each."""
        for chunk, duration in zip(chunks, seconds, strict=True):
            load = sum(map(self._load, chunk.batches))
            bite = load * max(1 / BITES, min(1.0, SHORTEST_BITE / max(duration, SHORTEST_BITE)))
            pace = duration / max(load, 1)
            if not chunk.batches or chunk.batches[0].kind not in _WALKS:
                bite = min(bite, self._bite_weight)
            work = _QueuedChunk(chunk.number, deque(chunk.batches), load, bite, pace)
            self._chunks[chunk.number] = work
            self._latest, self._reported = chunk.number, False
            self._settle(chunk.number)  # an empty chunk is done at once
        self._set_aside()

    @property
    def ready(self) -> int:
        """The number of bites that are set aside for slots and not taken."""
        return len(self._ready)

    def remove_slots(self, count: int) -> None:
        """Record that there are so many slots less. What is set aside for them others take when they are free."""
        self._free -= count

    def take(self) -> tuple[int, list[Batch]] | None:
        """Return a slot's next bite: a chunk's number and batches of one kind; None when there is none."""
        return self._ready.popleft() if self._ready else None

    def _load(self, batch: Batch) -> int:
        return batch.weight(self._file_cost)

    def _set_aside(self) -> None:
        # Big files that are only to be finished go first: until then all of one may be lost.
        ending = [work for work in self._chunks.values() if work.rest and work.rest[0].kind is Kind.FINISH_FILE]
        for work in [*ending, *self._chunks.values()]:
            while work.rest and self._free > 0:
                self._free -= 1
                work.running += 1
                self._ready.append((work.number, self._bite(work)))
            if self._free <= 0:
                return

    def _bite(self, work: _QueuedChunk) -> list[Batch]:
        """Take a bite off the front: whole batches, in order, so that neighbours stay neighbours."""
        kind, target = work.rest[0].kind, work.bite
        bite: list[Batch] = []
        while work.rest and target > 0 and work.rest[0].kind is kind:
            batch = work.rest.popleft()
            load = self._load(batch)
            if load > target and len(batch.units) > 1:
                if bite and 2 * target < work.bite:
                    work.rest.appendleft(batch)
                    break
                # In bites at once: to cut one bite off again and again would copy the rest as often.
                batch, *rest = map(batch.with_units, batch.units.parts(work.bite, self._file_cost))
                work.rest.extendleft(reversed(rest))
                load = self._load(batch)
            target -= load
            work.load -= load
            bite.append(batch)
        return bite

    def finish(self, number: int, outcome: Outcome, batches: Iterable[Batch] = ()) -> None:
        """Note that a bite of chunk number, batches, is done."""
        # What was found is sent at once: others may be waiting for it, and the rest of the chunk may last.
        self._new_work += outcome.new_work
        self._findings += outcome.findings
        outcome.new_work, outcome.findings = [], []
        work = self._chunks[number]
        work.running -= 1
        work.done += (batch for batch in batches if batch.kind not in CONTENT)
        work.outcome.add(outcome)
        self._settle(number)
        self._free += 1
        self._set_aside()

    def _settle(self, number: int) -> None:
        work = self._chunks[number]
        if not work.running and not work.rest:
            del self._chunks[number]
            self._finished.append((number, work.outcome))

    def give_back(self) -> Reclaimed:
        """Return about half of the unstarted seconds, the latest first, and forget it."""
        target = self.unstarted / 2
        parts: list[tuple[int, tuple[Batch, ...]]] = []
        for number in reversed(list(self._chunks)):
            work = self._chunks[number]
            given: list[Batch] = []
            while work.rest and target > 0:
                batch = work.rest.pop()
                load = self._load(batch)
                if load * work.pace > target and len(batch.units) > 1:
                    kept, batch = self._tail(batch, target / work.pace)
                    if kept.units:
                        work.rest.append(kept)
                    load = self._load(batch)
                target -= load * work.pace
                work.load -= load
                given.append(batch)
            if given:
                parts.append((number, tuple(reversed(given))))
                self._settle(number)
        return Reclaimed(tuple(parts), self.unstarted, self._latest, self._free > 0)

    def drain(self) -> Reclaimed:
        """Return all that no slot has started, and forget it; but big files that are only to be finished are."""
        parts: dict[int, list[Batch]] = {}
        ready, self._ready = self._ready, deque()
        for number, bite in ready:
            if bite[0].kind is Kind.FINISH_FILE:
                self._ready.append((number, bite))
                continue
            parts.setdefault(number, []).extend(bite)
            self._chunks[number].running -= 1
            self._free += 1
        for number, work in list(self._chunks.items()):
            if work.rest and work.rest[0].kind is Kind.FINISH_FILE:
                continue
            given = [*parts.get(number, ()), *work.rest]
            work.rest.clear()
            work.load = 0
            if given:
                parts[number] = given
            self._settle(number)
        self._set_aside()
        return Reclaimed(
            tuple((number, tuple(given)) for number, given in parts.items()), 0.0, self._latest, True, True
        )

    def _tail(self, batch: Batch, target: float) -> tuple[Batch, Batch]:
        """Return batch without its tail, and the tail: as few units as reach the target load."""
        count = len(batch.units)
        for entries, amount in reversed(list(batch.units.loads())):
            count -= 1
            target -= entries * self._file_cost + amount
            if target <= 0:
                break
        return batch.split(count)

    def under_way(self, moved: int) -> Tally:
        """Return about how much is done of what no outcome was sent of. moved: bytes of what slots are at"""
        tally = Tally(bytes=moved)
        for work in self._chunks.values():
            tally = tally.plus(work.outcome.copied).plus(work.outcome.verified)
        for _, outcome in self._finished:
            tally = tally.plus(outcome.copied).plus(outcome.verified)
        return tally

    def results(self, moved: int = 0) -> Progress | None:
        """Return what was finished or found since the last call, or that a slot got free; None when nothing is new.

        moved: as for under_way()
        """
        wants_work = self._free > 0
        found = self._new_work or self._findings
        if not self._finished and not found and (self._reported or not wants_work):
            return None
        finished, self._finished = self._finished, []
        new_work, self._new_work = self._new_work, []
        findings, self._findings = self._findings, []
        partly = []
        for number, work in self._chunks.items() if new_work or findings else ():
            if work.done:
                partly.append((number, tuple(work.done), work.take_outcome()))
        self._reported = wants_work
        news = tuple(new_work), tuple(findings), tuple(partly)
        return Progress(tuple(finished), self.unstarted, self._latest, wants_work, *news, self.under_way(moved))
