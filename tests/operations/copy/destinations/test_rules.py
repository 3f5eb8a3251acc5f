"""Which destination a name belongs to."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.copy.destinations.rules import DestinationHash, PromisedSpace

shares = st.lists(st.floats(0, 1e15), min_size=1, max_size=9)


@given(shares, st.binary(max_size=9), st.binary(max_size=9))
def test_every_name_has_one_home_and_keeps_it(parts: list[float], key: bytes, name: bytes) -> None:
    home = DestinationHash(parts, key).home(name)
    assert 0 <= home < len(parts) and home == DestinationHash(list(parts), key).home(name)


@given(shares, st.binary(max_size=9))
def test_nothing_goes_where_there_is_no_share(parts: list[float], name: bytes) -> None:
    if any(parts):
        assert parts[DestinationHash(parts, b"").home(name)] > 0


@pytest.mark.parametrize("parts", [[1, 1], [1, 3], [5, 0, 3, 2], [0, 0]])
def test_homes_are_as_many_as_shares_are_large(parts: list[float]) -> None:
    counts = Counter(DestinationHash(parts, b"key").home(b"name %d" % number) for number in range(20_000))
    total = sum(parts) or len(parts)
    for index, part in enumerate(parts):
        assert counts[index] / 20_000 == pytest.approx((part if sum(parts) else 1) / total, abs=0.02)


def test_another_key_is_another_choice() -> None:
    names = [b"%d" % number for number in range(100)]
    assert [DestinationHash([1, 1], b"a").home(name) for name in names] != [
        DestinationHash([1, 1], b"b").home(name) for name in names
    ]


@given(st.integers(0, 10**7), st.lists(st.integers(0, 10**6), max_size=50))
def test_no_more_is_promised_than_there_is(free: int, sizes: list[int]) -> None:
    room = PromisedSpace(free)
    taken = [size for size in sizes if room.take(size)]
    assert sum(taken) <= free
