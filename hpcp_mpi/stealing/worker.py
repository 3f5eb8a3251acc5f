"""A worker rank's state: a queue of granted chunks that its slots bite pieces off. Pure.

Slots share the queue: an idle slot takes the next bite of a chunk that another slot works on, so stealing inside a
rank needs no messages. What no slot has started can be given back, the tail of a running chunk included. A free slot's
next bite is set aside for it at once and counts as started: else a rank could be asked to give it back before the slot
woke up, the next rank likewise, and the same work would be passed around.
"""

from collections import deque
from dataclasses import dataclass, field

from hpcp_mpi.stealing.messages import Done, GaveBack
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.units import Batch, Chunk


@dataclass(slots=True)
class _Work:
    """A granted chunk."""

    number: int
    rest: deque[Batch]  # not started
    running: int = 0  # bites that slots are at
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def weight(self) -> int:
        return sum(batch.weight for batch in self.rest)


class Worker:
    """take() and finish() are called by slots, the others by the rank's message loop; one lock guards all."""

    def __init__(self, bite_weight: int, slots: int) -> None:
        self._bite_weight = bite_weight
        self._free = slots  # that nothing is set aside for
        self._ready: deque[tuple[int, list[Batch]]] = deque()  # set aside for slots
        self._latest = 0  # the number of the last chunk that came
        self._told = True  # rank 0 knows whether a slot is free; that all are, Hello has told
        self._chunks: dict[int, _Work] = {}  # in the order they were granted
        self._finished: list[tuple[int, Outcome]] = []

    @property
    def unstarted(self) -> int:
        """The weight that no slot has started."""
        return sum(work.weight for work in self._chunks.values())

    def grant(self, chunks: tuple[Chunk, ...]) -> None:
        """Queue chunks."""
        for chunk in chunks:
            self._chunks[chunk.number] = _Work(chunk.number, deque(chunk.batches))
            self._latest, self._told = chunk.number, False
            self._settle(chunk.number)  # an empty chunk is done at once
        self._set_aside()

    def take(self) -> tuple[int, list[Batch]] | None:
        """Return a slot's next bite: a chunk's number and batches of about a bite's weight; None when there is none."""
        return self._ready.popleft() if self._ready else None

    def _set_aside(self) -> None:
        for work in self._chunks.values():
            while work.rest and self._free:
                self._free -= 1
                work.running += 1
                self._ready.append((work.number, self._bite(work)))
            if not self._free:
                return

    def _bite(self, work: _Work) -> list[Batch]:
        kind, target, bite = work.rest[0].kind, self._bite_weight, []
        while work.rest and target > 0 and work.rest[0].kind is kind:
            batch = work.rest.popleft()
            if batch.weight > target and len(batch.units) > 1:
                # Batches are cut to bites when they are made; this one is heavier only if its sizes were guessed.
                batch, rest = batch.split(max(1, len(batch.units) * target // batch.weight))
                work.rest.appendleft(rest)
            target -= batch.weight
            bite.append(batch)
        return bite

    def finish(self, number: int, outcome: Outcome) -> None:
        """Note that a bite of chunk number is done."""
        work = self._chunks[number]
        work.running -= 1
        work.outcome.add(outcome)
        self._settle(number)
        self._free += 1
        self._set_aside()

    def _settle(self, number: int) -> None:
        work = self._chunks[number]
        if not work.running and not work.rest:
            del self._chunks[number]
            self._finished.append((number, work.outcome))

    def give_back(self) -> GaveBack:
        """Return about half of the unstarted weight, the latest first, and forget it."""
        target = (self.unstarted + 1) // 2
        parts: list[tuple[int, tuple[Batch, ...]]] = []
        for number in reversed(list(self._chunks)):
            work = self._chunks[number]
            given: list[Batch] = []
            while work.rest and target > 0:
                batch = work.rest.pop()
                if batch.weight > target and len(batch.units) > 1:
                    kept, batch = batch.split(len(batch.units) - max(1, len(batch.units) * target // batch.weight))
                    if kept.units:
                        work.rest.append(kept)
                target -= batch.weight
                given.append(batch)
            if given:
                parts.append((number, tuple(reversed(given))))
                self._settle(number)
        return GaveBack(tuple(parts), self.unstarted, self._latest, self._free > 0)

    def results(self) -> Done | None:
        """Return what was finished since the last call, or that a slot got free; None when there is no news."""
        hungry = self._free > 0
        if not self._finished and (self._told or not hungry):
            return None
        finished, self._finished = self._finished, []
        self._told = hungry
        return Done(tuple(finished), self.unstarted, self._latest, hungry)
