"""Rule: what may take long goes first, the rest in the order it came; a chunk is of one kind and of about the target.

The order: big files whose ranges are all copied, as only their end gives them a name; what was given back; what makes
new work (big files to begin, directories to list); units that alone are a good part of a chunk and ranges of big files,
the heaviest first, since a giant that is started last decides when the run ends, but a file's ranges are not begun
before those of the file before are granted; everything else. What makes new work is held back while the backlog is
full, so a tree of any size passes through limited memory.

A chunk of one kind can be learnt from, and one `cp` may do much of it.

A batch is of one directory. Who has been given a part of one gets the rest before anything else that is light, and
others get it only when nothing is left that no rank has begun: what one rank writes in a directory, it need not ask
other nodes for.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import accumulate, chain, compress

from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.vocab.units import Batch, Chunk, Kind, Units

# A unit of more than this part of a chunk is heavy. Simulated on 1,024 ranks with Pareto sizes: with an eighth a run
# takes 1.013 of the ideal time and rank 0 serves 18,300 chunks/s, with a quarter 1.023 and 20,600.
HEAVY = 4
ROOM = 32 << 20  # bytes of memory below which directories are listed before anything is copied
UNIT_MEMORY = 100  # bytes of memory that a unit takes beside its name
BATCH_MEMORY = 400  # bytes of memory that a batch takes beside its units

_BLOCK = 16  # units that are weighed at once, at least
_NO_LIMITS = (float("inf"), float("inf"))
_FIRST = float("-inf")
_NEAR = 0.001  # of a target: nearer to it is reached


class _Piece:
    """What is left of a batch: all from unit `at` on. So a batch that is cut a thousand times is copied once."""

    __slots__ = ("amount", "at", "batch", "entries", "load", "memory", "order")

    def __init__(self, batch: Batch, memory: int, order: int, load: list[int]) -> None:
        self.batch = batch
        self.at = 0
        self.entries = batch.units.entries
        self.amount = batch.units.amount
        self.memory = memory  # bytes
        self.order = order
        self.load = load  # of all pieces of its kind: entries, bytes

    def first(self, costs: tuple[float, float]) -> float:
        """Return the seconds of the next unit."""
        one = self.batch.units[self.at : self.at + 1]
        return one.entries * costs[0] + one.amount * costs[1]


class Backlog:
    """The work that no rank was granted yet. Every unit that is put in is cut out exactly once.

    units:  how many there are
    memory: bytes of memory they take, about
    """

    def __init__(self, weights: CostModel) -> None:
        self._weights = weights
        self._returned: deque[_Piece] = deque()
        self._lanes: dict[Kind, deque[_Piece]] = {kind: deque() for kind in Kind}
        self._end = self._lanes.pop(Kind.FINISH_FILE)
        self._begin = self._lanes.pop(Kind.START_FILE)
        self._listing = self._lanes.pop(Kind.LIST)
        self._begun: dict[int, _Piece] = {}  # light ones, by the rank that has a part of each
        self._heavy: list[tuple[float, int, _Piece]] = []  # a heap by -seconds, then by order
        self._loads: dict[Kind, list[int]] = {}  # entries, bytes
        self._order = 0
        self._number = 0
        self.units = 0
        self.memory = 0

    def __bool__(self) -> bool:
        return self.units > 0

    @property
    def ending(self) -> bool:
        """Whether there are big files that are only to be finished."""
        return bool(self._end)

    @property
    def weight(self) -> float:
        """Seconds of a slot that all of it takes, as far as is known by now."""
        return self.weight_but(None)

    def weight_but(self, left_out: Kind | None) -> float:
        """Return the same without what is of one kind."""
        seconds = 0.0
        for kind, (entries, amount) in self._loads.items():
            if entries and kind is not left_out:
                entry, byte = self._weights.costs(kind)
                seconds += entries * entry + amount * byte
        return seconds

    def amount(self, kinds: Collection[Kind]) -> int:
        """Return the bytes of what there is of some kinds."""
        return sum(load[1] for kind, load in self._loads.items() if kind in kinds)

    def pending(self) -> Iterator[Batch]:
        """Yield all that there is, in no order. Names of plain files to copy or compare may be too many."""
        heavy = (piece for _, _, piece in self._heavy)
        lanes = (self._end, self._returned, self._begin, self._listing, heavy, self._begun.values())
        for piece in chain(*lanes, *self._lanes.values()):
            batch = piece.batch
            brief = batch.units.plain and batch.kind in (Kind.COPY, Kind.CHECK)
            yield batch if brief or not piece.at else batch.with_units(batch.units[piece.at :])

    def add(self, batches: Iterable[Batch], first: bool = False) -> None:
        """Put batches in. first: what a rank gave back, the oldest work."""
        pieces = []
        for batch in batches:
            if not len(batch.units):
                continue
            if batch.kind is Kind.FINISH_FILE:
                self._end.append(self._piece(batch))
            elif first:
                pieces.append(self._piece(batch))
            elif batch.kind is Kind.START_FILE:
                self._begin.append(self._piece(batch))
            elif batch.kind is Kind.LIST:
                self._listing.append(self._piece(batch))
            else:
                self._place(batch)
        self._returned.extendleft(reversed(pieces))

    def _piece(self, batch: Batch) -> _Piece:
        units = batch.units
        memory = BATCH_MEMORY + UNIT_MEMORY * len(units.names) + sum(map(len, units.names))
        self.memory += memory
        self.units += len(units.names)
        self._order += 1
        load = self._loads.setdefault(batch.kind, [0, 0])
        load[0] += units.entries
        load[1] += units.amount
        return _Piece(batch, memory, self._order, load)

    def _place(self, batch: Batch) -> None:
        """Put a batch where it belongs; heavy units become batches of their own."""
        kind, units = batch.kind, batch.units
        entry, byte = self._weights.costs(kind)
        heavy = self._weights.chunk_seconds / HEAVY
        seconds = units.entries * entry + units.amount * byte
        if kind is Kind.RANGE or (len(units) == 1 and seconds > heavy):
            self._push(batch, seconds)
            return
        alone: list[int] = []
        if seconds <= heavy or len(units) == 1:
            pass
        elif units.more is not None:
            alone = [at for at, (count, size) in enumerate(units.loads()) if count * entry + size * byte > heavy]
        elif entry + max(units.amounts) * byte > heavy:
            enough = (heavy - entry) / byte
            alone = [at for at, size in enumerate(units.amounts) if size > enough]
        for at in alone:
            one = units[at : at + 1]
            self._push(batch.with_units(one), one.entries * entry + one.amount * byte)
        if len(alone) < len(units):
            self._lanes[kind].append(self._piece(batch.with_units(_without(units, alone)) if alone else batch))

    def _push(self, batch: Batch, seconds: float) -> None:
        piece = self._piece(batch)
        heappush(self._heavy, (-seconds, piece.order, piece))

    def cut(self, target: float, rank: int | None = None) -> Chunk:
        """Return a chunk of about target seconds: at least one unit; of light ones no more than reach the target.

        rank: the one that gets it
        """
        chunk = self.cut_open(target, frozenset(), {}, rank)
        assert chunk is not None, "nothing is left to cut"
        return chunk

    def cut_open(
        self,
        target: float,
        closed: frozenset[Kind],
        most: Mapping[Kind, tuple[float, float]],
        rank: int | None = None,
    ) -> Chunk | None:
        """Return such a chunk of a kind that is not closed; None where there is no work of another kind.

        most: (entries, bytes) that a chunk of a kind may hold, if it is more than one unit
        """
        taken: list[Batch] = []
        kind, costs, left = None, (0.0, 0.0), target
        while self.units:
            head = self._head(closed, rank)
            if head is None:
                break
            piece, remove = head
            if kind is None:
                kind = piece.batch.kind
                costs = self._weights.costs(kind)
                entries, amount = most.get(kind, _NO_LIMITS)
                longest = min(self._weights.longest(kind), entries * costs[0], amount * costs[1])
                left = target = min(target, longest)
            elif piece.batch.kind is not kind or (remove == self._pop_heavy and piece.first(costs) > left):
                break
            batch = self._take(piece, left, costs)
            if piece.at == len(piece.batch.units):
                remove()
            elif remove == self._pop_heavy:
                self._go_on_with(piece)
            elif rank is not None:
                self._begin_lane(piece, rank)
            taken.append(batch)
            left -= batch.units.entries * costs[0] + batch.units.amount * costs[1]
            if left < target * _NEAR:
                break
        if not taken:
            return None
        self._number += 1
        return Chunk(self._number, tuple(taken))

    def _go_on_with(self, piece: _Piece) -> None:
        """Have the first of the heavy pieces, of which a part was taken, stay the first, whatever comes."""
        if self._heavy[0][0] > _FIRST:
            self._pop_heavy()
            heappush(self._heavy, (_FIRST, piece.order, piece))

    def _begin_lane(self, piece: _Piece, rank: int) -> None:
        """Note that a rank has a part of a piece, if it is the first of its lane."""
        lane = self._lanes.get(piece.batch.kind)
        if lane and lane[0] is piece and rank not in self._begun:
            self._begun[rank] = lane.popleft()

    def _head(self, closed: frozenset[Kind], rank: int | None) -> tuple[_Piece, Callable[[], object]] | None:
        """Return the next piece of a kind that is not closed, and what removes it; None where there is none."""
        if self._end:
            return self._end[0], self._end.popleft
        if self._returned and self._returned[0].batch.kind not in closed:
            return self._returned[0], self._returned.popleft
        if self._begin and Kind.START_FILE not in closed:
            return self._begin[0], self._begin.popleft
        if self._listing and self.memory < ROOM:
            return self._listing[0], self._listing.popleft
        if self._heavy and self._heavy[0][2].batch.kind not in closed:
            return self._heavy[0][2], self._pop_heavy
        if rank in self._begun and self._begun[rank].batch.kind not in closed:
            return self._begun[rank], partial(self._begun.pop, rank)
        oldest = None
        for kind, lane in self._lanes.items():
            if lane and kind not in closed and (oldest is None or lane[0].order < oldest[0].order):
                oldest = lane
        if oldest is not None:
            return oldest[0], oldest.popleft
        for other, piece in self._begun.items():
            if piece.batch.kind not in closed:
                return piece, partial(self._begun.pop, other)
        if self._listing:
            return self._listing[-1], self._listing.pop  # depth first: fewest directories wait at the same time
        return None

    def _pop_heavy(self) -> None:
        heappop(self._heavy)

    def _take(self, piece: _Piece, target: float, costs: tuple[float, float]) -> Batch:
        """Return a batch of the piece's next units: as few as reach target seconds."""
        batch, at = piece.batch, piece.at
        end = count = len(batch.units)
        seconds = piece.entries * costs[0] + piece.amount * costs[1]
        if seconds > target:
            end = _reach(batch.units, at, target, costs, int(1.25 * (count - at) * target / seconds))
        if at or end < count:
            batch = batch.with_units(batch.units[at:end])
        memory = piece.memory * (end - at) // (count - at)
        entries, amount = batch.units.entries, batch.units.amount
        piece.at = end
        piece.entries -= entries
        piece.amount -= amount
        piece.memory -= memory
        piece.load[0] -= entries
        piece.load[1] -= amount
        self.memory -= memory
        self.units -= end - at
        return batch


def _reach(units: Units, at: int, target: float, costs: tuple[float, float], likely: int) -> int:
    """Return where the units from `at` on reach target seconds; likely: how many it may take."""
    entry, byte = costs
    block = max(_BLOCK, likely)
    while at < len(units):
        stop = min(at + block, len(units))
        amounts = list(accumulate(units.amounts[at:stop]))
        counts: Sequence[int] = range(1, stop - at + 1)
        if units.more is not None:
            counts = list(accumulate(tally.entries or 1 for tally, _ in units.more[at:stop]))
        seconds = partial(_seconds, counts, amounts, entry, byte)
        if seconds(stop - at - 1) >= target:
            return at + 1 + bisect_left(range(stop - at), target, key=seconds)
        target -= seconds(stop - at - 1)
        at = stop
        block *= 2
    return at


def _seconds(counts: Sequence[int], amounts: Sequence[int], entry: float, byte: float, at: int) -> float:
    return counts[at] * entry + amounts[at] * byte


def _without(units: Units, left_out: list[int]) -> Units:
    """Return units without those at some positions."""
    kept = bytearray(b"\1" * len(units))
    for at in left_out:
        kept[at] = 0
    more = None if units.more is None else list(compress(units.more, kept))
    return Units(list(compress(units.names, kept)), list(compress(units.amounts, kept)), more)
