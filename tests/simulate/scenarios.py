"""What is copied and by whom: batches as a scan finds them, and how fast ranks are. Same seed, same scenario.

Names are not unique: what is done is checked by its sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from random import Random

from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units

MIB = 1 << 20
CHUNK_SECONDS = 2.0  # as in Options, like the next three
CHUNK_FILES = 8000
CHUNK_SIZE = 512 * MIB
RANGE_SIZE = 256 * MIB

ENTRY = 0.001  # seconds; four times what is guessed at first
BYTE = 1 / (400 * MIB)  # seconds; two thirds of it
CHUNKS = 30  # of CHUNK_SECONDS, that each slot has to do
PART = 256  # units in a batch
NAMES = [b"%d" % at for at in range(PART)]
BIG = BigFile(name=b"big", target=b"big", size=0, stage=b"stage", identity=())


@dataclass(frozen=True)
class Scenario:
    """A feed, and a fleet. Seconds are those of a slot of a rank that is not slow."""

    name: str
    ranks: int
    slots: int  # of each rank
    feed: Callable[[float], Iterator[Batch]]  # takes how many seconds of work are wanted
    slowness: dict[int, float] = field(default_factory=dict)  # of ranks that are slow
    noise: float = 0.2  # standard deviation of the logarithm of a bite's seconds

    @property
    def speed(self) -> float:
        """Seconds of work that are done in a second."""
        return self.slots * sum(1 / self.slowness.get(rank, 1.0) for rank in range(1, self.ranks + 1))

    def batches(self) -> Iterator[Batch]:
        return self.feed(CHUNKS * CHUNK_SECONDS * self.ranks * self.slots)


def seconds_of(batch: Batch) -> float:
    """Return what a batch takes on a rank that is not slow, without noise."""
    return batch.entries * ENTRY + batch.amount * BYTE


def pareto(alpha: float, seed: int = 1) -> Callable[[float], Iterator[Batch]]:
    """Files of 3 MiB to 64 GiB; big ones in ranges. A fifth of the batches are subtrees of small files."""

    def feed(wanted: float) -> Iterator[Batch]:
        chance = Random(seed)
        while wanted > 0:
            if chance.random() < 0.2:
                made = [_trees(chance)]
            else:
                sizes = [min(int(3 * MIB * chance.paretovariate(alpha)), 65536 * MIB) for _ in range(PART)]
                made = [_files([size for size in sizes if size <= RANGE_SIZE])]
                made += [_ranges(size) for size in sizes if size > RANGE_SIZE]
            for batch in made:
                wanted -= seconds_of(batch)
                yield batch

    return feed


def equal(size: int = 12 * MIB) -> Callable[[float], Iterator[Batch]]:
    """Files of one size."""

    def feed(wanted: float) -> Iterator[Batch]:
        while wanted > 0:
            batch = _files([size] * PART)
            wanted -= seconds_of(batch)
            yield batch

    return feed


def giant(part: float) -> Callable[[float], Iterator[Batch]]:
    """Small files, and after a third of them one that cannot be divided and takes this part of the ideal seconds."""

    def feed(wanted: float) -> Iterator[Batch]:
        seconds = part * CHUNKS * CHUNK_SECONDS
        left = wanted - seconds
        there = False
        for batch in equal(3 * MIB)(left):
            left -= seconds_of(batch)
            if not there and left < 0.67 * wanted:
                there = True
                yield _files([int(seconds / BYTE)])
            yield batch

    return feed


def _files(sizes: list[int]) -> Batch:
    return Batch(Kind.COPY, 0, b"", b"", Units(NAMES[: len(sizes)], sizes))


def _ranges(size: int) -> Batch:
    count = ceil(size / RANGE_SIZE)
    sizes = [RANGE_SIZE] * (count - 1) + [size - (count - 1) * RANGE_SIZE]
    return Batch(Kind.RANGE, 0, b"", b"", Units([b"%d" % at for at in range(count)], sizes), big=BIG)


def _trees(chance: Random) -> Batch:
    tallies = [Tally(files=int(chance.paretovariate(1.0)) % 400 + 4, directories=1) for _ in range(PART)]
    units = (Unit(name, tally, tally.files * 8192) for name, tally in zip(NAMES, tallies, strict=True))
    return Batch(Kind.COPY, 0, b"", b"", Units.of(units))


def slots_for(ranks: int) -> int:
    """So many that a run takes seconds: 4,096 ranks have one."""
    return 4 if ranks <= 64 else 2 if ranks <= 1024 else 1


def scenarios(ranks: int) -> list[Scenario]:
    """All of them, for so many ranks."""
    slots = slots_for(ranks)
    return [
        Scenario("pareto 1.1", ranks, slots, pareto(1.1)),
        Scenario("pareto 1.3", ranks, slots, pareto(1.3)),
        Scenario("one giant", ranks, slots, giant(0.5)),
        Scenario("all equal", ranks, slots, equal()),
        Scenario("one rank 10 times slower", ranks, slots, pareto(1.2), {1: 10.0}),
    ]
