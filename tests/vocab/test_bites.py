"""Parts hold every unit once and in order, and each ends when it is heavy enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.vocab.units import Units
from tests.vocab.test_units import some_units

FILE_COST = 5


def weight(units: Units) -> int:
    return units.entries * FILE_COST + units.amount


@given(some_units(), st.sampled_from([1, 7, 1000, 2**21, 2**45]))
def test_parts_are_all_units_once_in_order(units: Units, limit: int) -> None:
    parts = units.parts(limit, FILE_COST)
    assert [unit for part in parts for unit in part] == list(units)
    assert all(len(part) for part in parts)
    assert sum(weight(part) for part in parts) == weight(units)


@given(some_units(), st.sampled_from([1, 7, 1000, 2**21, 2**45]))
def test_a_part_is_too_heavy_by_its_last_unit_only_and_none_but_the_last_too_light(units: Units, limit: int) -> None:
    parts = units.parts(limit, FILE_COST)
    assert all(weight(part[: len(part) - 1]) < limit for part in parts if len(part) > 1)
    assert all(weight(part) >= limit for part in parts[:-1])


def test_nothing_has_no_parts() -> None:
    assert Units([], []).parts(1, FILE_COST) == []
