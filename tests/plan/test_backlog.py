"""The backlog gives out every unit exactly once, in chunks of about the weight that is asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.plan.backlog import Backlog
from hpcp_mpi.vocab.units import Batch, Kind, Unit

WEIGHTS = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=8), max_size=8)


def batches_of(weights: list[list[int]], mark: bytes = b"") -> list[Batch]:
    return [
        Batch(Kind.COPY, 0, b"s%d" % at, b"d", tuple(Unit(mark + b"%d.%d" % (at, n), w) for n, w in enumerate(inner)))
        for at, inner in enumerate(weights)
    ]


def units_in(batches: list[Batch]) -> list[tuple[bytes, Unit]]:
    return [(batch.source_dir, unit) for batch in batches for unit in batch.units]


@given(WEIGHTS, st.data())
def test_every_unit_is_cut_once_and_in_order_whatever_the_targets(
    weights: list[list[int]], data: st.DataObject
) -> None:
    backlog = Backlog()
    batches = batches_of(weights)
    backlog.add(batches)
    cut, numbers = [], []
    while backlog:
        before = backlog.weight
        target = data.draw(st.integers(1, 200), label="target")
        chunk = backlog.cut(target)
        last = chunk.batches[-1].units[-1]
        assert chunk.weight - last.weight < target, "it held enough without its last unit"
        assert chunk.weight >= target or not backlog
        assert before == backlog.weight + chunk.weight
        assert all(batch.units for batch in chunk.batches)
        cut += units_in(list(chunk.batches))
        numbers.append(chunk.number)
        assert backlog.units == len(units_in(batches)) - len(cut)
    assert cut == units_in(batches)
    assert (backlog.weight, backlog.units) == (0, 0)
    assert len(set(numbers)) == len(numbers)


@given(WEIGHTS, WEIGHTS)
def test_what_was_given_back_comes_before_everything_else(
    weights: list[list[int]], given_back: list[list[int]]
) -> None:
    backlog = Backlog()
    later, first = batches_of(weights), batches_of(given_back, b"again ")
    backlog.add(later)
    backlog.add(first, first=True)
    chunk = backlog.cut(10**9)
    assert units_in(list(chunk.batches)) == units_in(first) + units_in(later)


def test_a_unit_heavier_than_the_target_is_a_chunk_of_its_own() -> None:
    backlog = Backlog()
    backlog.add(batches_of([[1000, 1]]))
    assert [len(backlog.cut(1).batches[0].units) for _ in range(2)] == [1, 1]
    assert not backlog
