"""Units in batches in chunks: whatever is cut off, every unit stays once and in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Chunk, Kind, Unit


def batch_of(names: list[bytes], kind: Kind = Kind.COPY) -> Batch:
    return Batch(kind, 2, b"from", b"to", tuple(Unit(name, 3, one_file(5)) for name in names), b"leader", True)


def units_of(*batches: Batch) -> list[Unit]:
    return [unit for batch in batches for unit in batch.units]


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    sizes = draw(st.lists(st.integers(1, 6), max_size=6))
    batches = [batch_of([b"%d.%d" % (at, number) for number in range(size)]) for at, size in enumerate(sizes)]
    return Chunk(7, tuple(batches))


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=8), st.integers(0, 10))
def test_splitting_a_batch_keeps_every_unit_once_and_all_else(names: list[bytes], count: int) -> None:
    batch = batch_of(names)
    head, rest = batch.split(count)
    assert head.units + rest.units == batch.units
    assert len(head.units) == min(count, len(names))
    assert head.weight + rest.weight == batch.weight
    for part in (head, rest):
        assert (part.kind, part.source, part.source_dir, part.dest_dir) == (Kind.COPY, 2, b"from", b"to")
        assert (part.leader, part.over) == (b"leader", True)


@given(chunks(), st.integers(0, 40))
def test_a_chunk_without_its_tail_holds_the_units_before_it(chunk: Chunk, count: int) -> None:
    before = units_of(*chunk.batches)
    shorter = chunk.without_tail(count)
    assert units_of(*shorter.batches) == before[: max(0, len(before) - count)]
    assert shorter.number == chunk.number
    assert all(batch.units for batch in shorter.batches)


@given(chunks())
def test_a_chunk_weighs_and_counts_what_its_units_do(chunk: Chunk) -> None:
    units = units_of(*chunk.batches)
    assert chunk.weight == 3 * len(units)
    assert chunk.tally == Tally(files=len(units), bytes=5 * len(units))


def test_a_unit_lands_under_its_own_name_unless_it_has_another() -> None:
    assert Unit(b"a", 1).target == b"a"
    assert Unit(b"a", 1, NOTHING, b"b").target == b"b"
    assert Unit(b"a", 1, NOTHING, b"").target == b""
