"""The words of progress: which of them, and how they fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.cli.progress.words import line, row, short_count, short_duration, short_size
from hpcp_mpi.vocab.progress import Progress

COPYING = Progress(
    "copying",
    seconds=3725.0,
    entries=3005,
    entries_total=6010,
    bytes=1320 << 30,
    bytes_total=2640 << 30,
    total_known=True,
    files=1000,
    bytes_moved=1 << 40,
    entries_per_second=150.0,
    files_per_second=100.0,
    bytes_per_second=1.21 * 2**30,
    average_entries=140.0,
    average_files=90.0,
    average_bytes=1.1 * 2**30,
    remaining=192.4,
    identical=2000,
    active=2,
    ranks=3,
)
HUGE = replace(
    COPYING,
    entries=999_999_999,
    entries_total=1_000_000_000,
    bytes=2 << 50,
    bytes_total=3 << 50,
    identical=999_999_999,
    failed=999_999_999,
    active=1023,
    ranks=1023,
    remaining=1e7,
    bytes_per_second=1e12,
)
REMOVING = Progress(
    "removing", entries=400, entries_total=1000, total_known=True, entries_per_second=40.4, remaining=15.0, ranks=3
)


def text(progress: Progress, width: int) -> str:
    return "".join(piece for piece, _ in row(progress, width))


def test_a_line_tells_what_is_done_of_what_how_fast_and_how_long_it_will_take() -> None:
    assert line(COPYING, 60) == "copying 50%: 1.29 of 2.58 TiB, 1.21 GiB/s, 3m12s left"
    assert line(COPYING, 200) == (
        "copying 50%: 1.29 of 2.58 TiB, 1.21 GiB/s, 3m12s left, 3,005 of 6,010 entries, average 1.10 GiB/s, "
        "2,000 identical, 100 files/s, 2 of 3 ranks busy, 1h02m elapsed"
    )


def test_a_phase_that_moves_no_content_tells_of_entries() -> None:
    assert line(REMOVING, 60) == "removing 40%: 400 of 1,000 entries, 40 entries/s, 15s left"


def test_while_the_scan_goes_on_nobody_knows_how_much_is_left() -> None:
    scanning = replace(COPYING, total_known=False, remaining=None)
    assert line(scanning, 80).startswith("copying: 1.29 of 2.58+ TiB, 1.21 GiB/s, scanning")
    assert "scanning" in text(scanning, 79) and "%" not in text(scanning, 79)


def test_a_list_is_as_long_as_what_was_found() -> None:
    listing = Progress("listing", entries=1000, entries_total=1000, entries_per_second=100.0, ranks=3)
    assert line(listing, 60).startswith("listing: 1,000 entries, 100 entries/s, scanning")


def test_failures_are_said_where_other_words_have_no_room_and_stand_out() -> None:
    failed = replace(COPYING, failed=4)
    assert "4 failed" in line(failed, 30)
    assert ("4 failed", "failed") in row(failed, 20)
    assert "failed" not in line(COPYING, 200)


@pytest.mark.parametrize("width", [79, 99, 119, 139, 200])
def test_a_wider_bar_says_more(width: int) -> None:
    said = text(COPYING, width)
    for least, words in (
        (79, ("copying", "━", "50%", "1.29 of 2.58 TiB", "1.21 GiB/s", "3m12s left")),
        (99, ("3,005 of 6,010 entries",)),
        (119, ("1h02m elapsed",)),
        (139, ("2/3 busy" if width < 200 else "2 of 3 ranks busy",)),
        (200, ("average 1.10 GiB/s", "100 files/s")),
    ):
        if width >= least:
            assert all(word in said for word in words), said


def test_the_bar_is_full_when_all_is_done_and_not_before() -> None:
    almost = text(replace(COPYING, bytes=COPYING.bytes_total - 1), 79)
    assert "99%" in almost and "─" in almost
    done = text(replace(COPYING, bytes=COPYING.bytes_total), 79)
    assert "100%" in done and "─" not in done


def test_a_bar_without_an_end_moves() -> None:
    scanning = replace(COPYING, total_known=False, remaining=None)
    places = [text(replace(scanning, seconds=at / 5), 79).index("━") for at in range(40)]
    assert min(places) == len("copying  ") and len(set(places)) > 5
    assert all(abs(one - other) <= 1 for one, other in pairwise(places))


def test_an_ascii_bar_has_no_other_characters() -> None:
    assert "".join(piece for piece, _ in row(COPYING, 200, ascii_only=True)).isascii()


_counts = st.integers(0, 10**10)
_rates = st.floats(0, 1e13)


@given(
    st.builds(
        Progress,
        phase=st.sampled_from(["copying", "removing", "verifying", "setting directory metadata"]),
        seconds=st.floats(0, 1e8),
        entries=_counts,
        entries_total=_counts,
        bytes=st.integers(0, 2**60),
        bytes_total=st.integers(0, 2**60),
        total_known=st.booleans(),
        files=_counts,
        entries_per_second=_rates,
        files_per_second=_rates,
        bytes_per_second=_rates,
        average_bytes=_rates,
        average_entries=_rates,
        remaining=st.none() | st.floats(0, 1e12),
        identical=_counts,
        failed=_counts,
        active=st.integers(0, 10_000),
        ranks=st.integers(1, 10_000),
    ),
    st.integers(1, 300),
)
def test_whatever_the_counts_are_it_fits(progress: Progress, width: int) -> None:
    assert len(line(progress, width)) <= width
    assert 0 < len(text(progress, width)) <= width
    # A log's line is what 80 columns hold beside the time, and it has what matters in full.
    assert line(progress, 60).startswith(progress.phase)
    if progress.failed:
        assert line(progress, 60).endswith("failed") or " failed" in line(progress, 60)


def test_the_greatest_counts_leave_room_for_what_matters() -> None:
    assert line(HUGE, 60) == "copying: 2.0 of 3.0 PiB, 931 GiB/s, 115d left, 1.00G failed"


@pytest.mark.parametrize(
    "shown, expected",
    [
        (short_size(999, 2), "999 B"),
        (short_size(1023, 2), "1.00 KiB"),
        (short_size(1_048_575, 2), "1.00 MiB"),
        (short_size(12.34 * 2**30, 2), "12.3 GiB"),
        (short_size(123.4 * 2**30, 1), "123 GiB"),
        (short_size(2**63, 2), "8.00 EiB"),
        (short_count(999), "999"),
        (short_count(999.6), "1.00k"),
        (short_count(1_234_567), "1.23M"),
        (short_duration(59.4), "59s"),
        (short_duration(59.6), "1m00s"),
        (short_duration(3599.7), "1h00m"),
        (short_duration(90_000), "1d01h"),
        (short_duration(9_000_000), "104d"),
    ],
)
def test_amounts_have_three_digits_at_most(shown: str, expected: str) -> None:
    assert shown == expected
