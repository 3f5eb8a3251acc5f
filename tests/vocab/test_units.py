"""Units in batches in chunks: after any cut, packing or sending, every unit is there once and in order."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file, total_of
from hpcp_mpi.vocab.units import Batch, BigFile, Chunk, Kind, Unit, Units, link_paths, link_unit

# As file systems have them: any bytes but NUL and `/`; a root has the empty name.
NAMES = st.binary(max_size=6).map(lambda name: bytes(byte for byte in name if byte not in b"\0/"))
COUNTS = st.integers(0, 2**62)
TALLIES = st.builds(Tally, *[st.integers(0, 10)] * 4, COUNTS)


@st.composite
def some_units(draw: st.DrawFn) -> Units:
    """A strategy for units: columns of plain files, or of any entries."""
    names = draw(st.lists(NAMES, max_size=8))
    amounts = [draw(st.integers(0, 2**40)) for _ in names]
    if draw(st.booleans()):
        return Units(names, amounts, most=draw(st.none() | st.integers(0, 2**20)))
    return Units(names, amounts, [(draw(TALLIES), draw(st.none() | NAMES)) for _ in names])


def columns(units: Units) -> tuple[object, ...]:
    return units.names, units.amounts, units.more, units.most, units.amount, units.entries


def batch_of(names: list[bytes], kind: Kind = Kind.COPY) -> Batch:
    units = Units.of(Unit(name, one_file(5), 3) for name in names)
    return Batch(kind, 2, b"from", b"to", units, True, True, True, True, True)


def units_of(*batches: Batch) -> list[Unit]:
    return [unit for batch in batches for unit in batch.units]


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    sizes = draw(st.lists(st.integers(1, 6), max_size=6))
    batches = [batch_of([b"%d.%d" % (at, number) for number in range(size)]) for at, size in enumerate(sizes)]
    return Chunk(7, tuple(batches))


@given(some_units())
def test_units_arrive_as_they_were_sent(units: Units) -> None:
    arrived = pickle.loads(pickle.dumps(units))
    assert arrived == units and hash(arrived) == hash(units)
    assert columns(arrived) == columns(units)
    assert list(arrived) == list(units) and arrived.plain == units.plain


@given(some_units(), st.sampled_from(Kind), st.booleans(), st.booleans())
def test_a_batch_arrives_as_it_was_sent(units: Units, kind: Kind, one: bool, other: bool) -> None:
    big = BigFile(b"f", b"t", 2**60, b".stage", (1, -5, 2**63), -1, "why", one) if other else None
    flags = one, not one, other, not other, one
    batch = Batch(kind, 3, b"\xff", b"d/e", units, *flags, big)
    arrived = pickle.loads(pickle.dumps(batch))
    assert arrived == batch and arrived.big == big and columns(arrived.units) == columns(units)


def test_many_names_travel_as_little_more_than_their_bytes() -> None:
    units = Units([b"file%07d" % number for number in range(100_000)], list(range(100_000)))
    assert len(pickle.dumps(units)) < 100_000 * (len(b"file0000000\0") + 8) + 1000


@given(some_units(), st.integers(0, 9), st.integers(0, 9))
def test_a_slice_is_what_a_slice_of_a_list_is(units: Units, begin: int, end: int) -> None:
    part = units[begin:end]
    assert list(part) == list(units)[begin:end] and len(part) == len(list(part))
    assert list(part.loads()) == list(units.loads())[begin:end]
    assert part.most == units.most and part.plain == units.plain


@given(some_units())
def test_loads_add_up_and_read_no_more_than_the_most(units: Units) -> None:
    loads = list(units.loads())
    assert (units.entries, units.amount) == (sum(entries for entries, _ in loads), sum(amount for _, amount in loads))
    most = units.most
    assert [amount for _, amount in loads] == [each if most is None else min(each, most) for each in units.amounts]
    assert [entries for entries, _ in loads] == [unit.entries for unit in units]


@given(some_units())
def test_units_come_out_as_they_were_put_in(units: Units) -> None:
    assert list(Units.of(units)) == list(units)
    assert Units.of(units) == units
    assert [unit.tally for unit in units if units.plain] == [one_file(size) for size in units.amounts if units.plain]


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=8), st.integers(0, 10))
def test_splitting_a_batch_keeps_every_unit_once_and_all_else(names: list[bytes], count: int) -> None:
    batch = batch_of(names)
    head, rest = batch.split(count)
    assert [*head.units, *rest.units] == list(batch.units)
    assert len(head.units) == min(count, len(names))
    assert (head.amount + rest.amount, head.entries + rest.entries) == (batch.amount, batch.entries)
    for part in (head, rest):
        assert (part.kind, part.source, part.source_dir, part.dest_dir) == (Kind.COPY, 2, b"from", b"to")
        flags = part.over, part.restore, part.new, part.above, part.equal
        assert flags == (True, True, True, True, True)


@given(chunks())
def test_a_chunk_counts_what_its_units_do(chunk: Chunk) -> None:
    units = units_of(*chunk.batches)
    assert chunk.amount == 3 * len(units)
    assert chunk.entries == len(units)


def test_a_unit_lands_under_its_own_name_unless_it_has_another() -> None:
    assert Unit(b"a").target == b"a"
    assert Unit(b"a", NOTHING, 1, b"b").target == b"b"
    assert Unit(b"a", NOTHING, 1, b"").target == b""


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_a_link_has_its_target_and_its_leader(target: bytes, leader: bytes) -> None:
    target, leader = (b"/".join(part for part in path.split(b"/") if part) or b"n" for path in (target, leader))
    assert link_paths(link_unit(b"s/n", Tally(1), target, leader)) == (target, leader)


@given(st.lists(some_units(), min_size=1, max_size=4))
def test_units_that_are_joined_are_all_of_them_in_order(parts: list[Units]) -> None:
    joined = Units.joined(parts)
    assert list(joined) == [unit for part in parts for unit in part]
    assert joined.plain == all(part.plain for part in parts)
    assert joined.tally == total_of(unit.tally for unit in joined)
    assert joined.targets == [unit.target for unit in joined]
