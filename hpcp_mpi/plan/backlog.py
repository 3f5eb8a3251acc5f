"""Rule: what may take long goes first, the rest in the order it came; a chunk is of one kind and of about the target.

The order: what was given back; what makes new work (big files to begin, directories to list); units that alone are a
good part of a chunk and ranges of big files, the heaviest first, since a giant that is started last decides when the
run ends; everything else. What makes new work is held back while the backlog is full, so a tree of any size passes
through limited memory.

A chunk of one kind can be learnt from, and one `cp` may do much of it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import compress
from typing import Protocol

from hpcp_mpi.vocab.units import Batch, Chunk, Kind, Units

HEAVY = 8  # a unit of more than this part of a chunk is heavy
ROOM = 32 << 20  # bytes of memory below which directories are listed before anything is copied
UNIT_MEMORY = 100  # bytes of memory that a unit takes beside its name
BATCH_MEMORY = 400  # bytes of memory that a batch takes beside its units

_BLOCK = 64  # units that are weighed at once, at first
_NEAR = 0.001  # of a target: nearer to it is reached


class Weights(Protocol):
    """How long work takes."""

    @property
    def chunk_seconds(self) -> float: ...
    def entry_cost(self, kind: Kind) -> float: ...
    def byte_cost(self, kind: Kind) -> float: ...
    def seconds(self, kind: Kind, entries: int, amount: int) -> float: ...
    def longest(self, kind: Kind) -> float: ...


class _Piece:
    """What is left of a batch: all from unit `at` on. So a batch that is cut a thousand times is copied once."""

    __slots__ = ("amount", "at", "batch", "entries", "memory", "order")

    def __init__(self, batch: Batch, memory: int, order: int) -> None:
        self.batch = batch
        self.at = 0
        self.entries = batch.units.entries
        self.amount = batch.units.amount
        self.memory = memory  # bytes
        self.order = order


class Backlog:
    """Work that nobody has been granted yet. Every unit that is put in is cut out exactly once.

    units:  how many there are
    memory: bytes of memory they take, about
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._returned: deque[_Piece] = deque()
        self._lanes: dict[Kind, deque[_Piece]] = {kind: deque() for kind in Kind}
        self._heavy: list[tuple[float, int, _Piece]] = []  # a heap by -seconds, then by order
        self._loads: dict[Kind, list[int]] = {}  # entries and bytes
        self._order = 0
        self._number = 0
        self.units = 0
        self.memory = 0

    def __bool__(self) -> bool:
        return self.units > 0

    @property
    def weight(self) -> float:
        """Seconds of a slot that all of it takes."""
        return sum(self._weights.seconds(kind, *load) for kind, load in self._loads.items() if load[0])

    def add(self, batches: Iterable[Batch], first: bool = False) -> None:
        """Put batches in. first: what a rank gave back, the oldest work."""
        pieces = []
        for batch in batches:
            units = batch.units
            if not len(units):
                continue
            self.units += len(units)
            load = self._loads.setdefault(batch.kind, [0, 0])
            load[0] += units.entries
            load[1] += units.amount
            if first:
                pieces.append(self._piece(batch))
            else:
                self._place(batch)
        self._returned.extendleft(reversed(pieces))

    def _piece(self, batch: Batch) -> _Piece:
        names = batch.units.names
        memory = BATCH_MEMORY + UNIT_MEMORY * len(names) + sum(map(len, names))
        self.memory += memory
        self._order += 1
        return _Piece(batch, memory, self._order)

    def _place(self, batch: Batch) -> None:
        """Put a batch where it belongs; heavy units become batches of their own."""
        weights, kind, units = self._weights, batch.kind, batch.units
        heavy = weights.chunk_seconds / HEAVY
        seconds = weights.seconds(kind, units.entries, units.amount)
        if kind is Kind.RANGE or (len(units) == 1 and seconds > heavy):
            self._push(batch, seconds)
            return
        if seconds > heavy and len(units) > 1 and kind not in (Kind.LIST, Kind.BEGIN):
            entry, byte = weights.entry_cost(kind), weights.byte_cost(kind)
            if units.more is not None or entry + max(units.amounts) * byte > heavy:
                seconds_of = (entries * entry + amount * byte for entries, amount in units.loads())
                alone = [at for at, seconds in enumerate(seconds_of) if seconds > heavy]
                for at in alone:
                    one = units[at : at + 1]
                    self._push(replace(batch, units=one), one.entries * entry + one.amount * byte)
                if len(alone) == len(units):
                    return
                if alone:
                    batch = replace(batch, units=_without(units, alone))
        self._lanes[kind].append(self._piece(batch))

    def _push(self, batch: Batch, seconds: float) -> None:
        piece = self._piece(batch)
        heappush(self._heavy, (-seconds, piece.order, piece))

    def cut(self, target: float) -> Chunk:
        """Return a chunk of about target seconds: at least one unit; of light ones no more than reach the target."""
        taken: list[Batch] = []
        kind: Kind | None = None
        left = target
        while self.units:
            piece, remove = self._head()
            if kind is None:
                kind = piece.batch.kind
                left = target = min(target, self._weights.longest(kind))
            elif piece.batch.kind is not kind or (remove == self._pop_heavy and self._first(piece) > left):
                break
            batch = self._take(piece, left)
            if piece.at == len(piece.batch.units):
                remove()
            taken.append(batch)
            left -= self._weights.seconds(kind, batch.units.entries, batch.units.amount)
            if left < target * _NEAR:
                break
        self._number += 1
        return Chunk(self._number, tuple(taken))

    def _head(self) -> tuple[_Piece, Callable[[], object]]:
        """Return the next piece, and what removes it."""
        if self._returned:
            return self._returned[0], self._returned.popleft
        lanes = self._lanes
        begin, listing = lanes[Kind.BEGIN], lanes[Kind.LIST]
        if begin:
            return begin[0], begin.popleft
        if listing and self.memory < ROOM:
            return listing[0], listing.popleft
        if self._heavy:
            return self._heavy[0][2], self._pop_heavy
        others = [lane for kind, lane in lanes.items() if lane and kind is not Kind.LIST]
        if others:
            oldest = min(others, key=lambda lane: lane[0].order)
            return oldest[0], oldest.popleft
        return listing[-1], listing.pop  # depth first: fewest directories wait at the same time

    def _pop_heavy(self) -> None:
        heappop(self._heavy)

    def _first(self, piece: _Piece) -> float:
        """Return the seconds of the piece's next unit."""
        one = piece.batch.units[piece.at : piece.at + 1]
        return self._weights.seconds(piece.batch.kind, one.entries, one.amount)

    def _take(self, piece: _Piece, target: float) -> Batch:
        """Return a batch of the piece's next units: as few as reach target seconds."""
        batch, at = piece.batch, piece.at
        units, kind = batch.units, batch.kind
        end = len(units)
        if self._weights.seconds(kind, piece.entries, piece.amount) > target:
            end = _reach(units, at, target, self._weights.entry_cost(kind), self._weights.byte_cost(kind))
        if at or end < len(units):
            batch = replace(batch, units=units[at:end])
        memory = piece.memory * (end - at) // (len(units) - at)
        piece.at = end
        piece.entries -= batch.units.entries
        piece.amount -= batch.units.amount
        piece.memory -= memory
        self.memory -= memory
        self.units -= end - at
        load = self._loads[kind]
        load[0] -= batch.units.entries
        load[1] -= batch.units.amount
        return batch


def _reach(units: Units, at: int, target: float, entry: float, byte: float) -> int:
    """Return where the units from `at` on reach target seconds, when an entry and a byte cost so much.

    Whole blocks are summed, 15 ns a unit; only in the one that reaches the target the units are looked at.
    """
    block, growth = _BLOCK, 2
    while at < len(units):
        part = units[at : at + block]
        seconds = part.entries * entry + part.amount * byte
        if seconds >= target and len(part) > _BLOCK:
            block, growth = len(part) // 2, 1
            continue
        if seconds >= target:
            for count, (entries, amount) in enumerate(part.loads(), 1):
                target -= entries * entry + amount * byte
                if target <= 0:
                    return at + count
        target -= seconds
        at += len(part)
        block *= growth
    return len(units)


def _without(units: Units, left_out: list[int]) -> Units:
    """Return units without those at some positions."""
    kept = bytearray(b"\1" * len(units))
    for at in left_out:
        kept[at] = 0
    more = None if units.more is None else list(compress(units.more, kept))
    return Units(list(compress(units.names, kept)), list(compress(units.amounts, kept)), more)
