"""An external sort is a sorted set, however little of it fits into memory, and leaves nothing on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import external_sort as spilling
from hpcp_mpi.host.external_sort import ExternalSort
from tests.support.effort import many

RECORDS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=2), st.tuples(st.integers(0, 2**64)))))


@pytest.mark.parametrize("most", [1, 2, 5, 1000])
def test_a_spill_is_a_sorted_set(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilling, "_BLOCK", 2)
    monkeypatch.setattr(spilling, "_MOST_RUNS", 3)  # so that runs are merged, and merged again

    @settings(max_examples=many(50))
    @given(RECORDS)
    def check(batches: list[list[tuple[int, bytes, tuple[int]]]]) -> None:
        spill = ExternalSort(most)
        for records in batches:
            spill.add(records)
        expected = sorted({record for records in batches for record in records})
        assert list(spill) == expected
        assert list(spill) == expected, "it can be read again"

    check()


def test_what_is_added_while_it_is_read_comes_out_the_next_time() -> None:
    spill = ExternalSort(2)
    spill.add([(1,), (3,), (5,)])
    reading = iter(spill)
    assert next(reading) == (1,)
    spill.add([(2,), (4,)])
    assert list(reading) == [(3,), (5,)]
    assert list(spill) == [(1,), (2,), (3,), (4,), (5,)]


def test_nothing_is_left_on_disk_and_few_records_never_get_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    few, many = ExternalSort(), ExternalSort(10)
    few.add((number,) for number in range(100))
    assert set(os.listdir("/proc/self/fd")) == before
    for number in range(1000):
        many.add([(number, b"x")])
    assert os.listdir(tmp_path) == [], "the file has no name even while it is used"
    assert len(list(many)) == 1000
    del many
    assert set(os.listdir("/proc/self/fd")) == before


def test_memory_holds_no_more_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilling, "_BLOCK", 4)
    spill = ExternalSort(10)
    for number in range(200):
        spill.add([(number % 7, number)])
        assert len(spill._held) < 10
    assert list(spill) == sorted((number % 7, number) for number in range(200))


def test_a_disk_that_is_full_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*anything: object) -> int:
        raise OSError(28, "No space left on device")

    spill = ExternalSort(1)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        spill.add([(1,)])
