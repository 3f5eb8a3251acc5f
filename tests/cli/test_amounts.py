"""Amounts as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.cli.amounts import duration
from hpcp_mpi.vocab.amounts import parse_rate, parse_size, size


@pytest.mark.parametrize(
    "text, count",
    [
        ("0", 0), ("65536", 65536), ("64K", 65536), ("64k", 65536), ("64KiB", 65536), ("64KB", 65536),
        ("1.5G", 3 << 29), ("2M", 2 << 20), ("1T", 1 << 40), (" 7 ", 7), ("7B", 7),
    ],
)  # fmt: skip
def test_sizes_are_read_in_powers_of_1024(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "K", "1X", "1 2", "--1", "-1", "-1K", "0x10", "1KK", "inf", "nan", "1e400", "infK"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    "text, rate",
    [
        ("0", 0), ("500", 500), ("10K", 10_000), ("10k", 10_000), ("10Ki", 10_240), ("1.5M", 1_500_000),
        ("10MB/s", 10_000_000), ("10MiB/s", 10 << 20), ("1Gi", 1 << 30), (" 7 ", 7),
    ],
)  # fmt: skip
def test_rates_are_read_in_hpcps_units(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "K", "-1", "fast", "1e5", "inf", "0.5", "10X", "1/s/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


@given(st.integers(0, 2**60))
def test_every_whole_number_of_bytes_is_read_exactly(count: int) -> None:
    assert parse_size(str(count)) == count


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (3 << 29, "1.50 GiB"),
        (1 << 40, "1.00 TiB"),
        (5 << 50, "5.00 PiB"),
    ],
)
def test_sizes_are_shown_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0.0s"),
        (4.24, "4.2s"),
        (59.94, "59.9s"),
        (59.97, "1m00s"),
        (60, "1m00s"),
        (3599.6, "1h00m00s"),
        (3723, "1h02m03s"),
    ],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
