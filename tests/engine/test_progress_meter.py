"""Progress: what is under way counts once, what is shown does not go back, and rates are of the last seconds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.engine.progress_meter import Counted, ProgressMeter, amounts
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.progress import InRanges, Progress
from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file
from tests.support.effort import many

MIB = 1 << 20


def counted(seconds: float, done: Tally, found: Tally, phase: str = "copying", **more: object) -> Counted:
    known = {"scan_done": True, **more}
    outcome = Outcome(verified=done) if phase == "verifying" else Outcome(copied=done)
    return Counted(phase, found, outcome=outcome, active=1, ranks=1, seconds=seconds, **known)  # type: ignore[arg-type]


def test_ranges_and_running_work_count_while_their_files_are_not_done() -> None:
    found = Tally(files=10, bytes=1000)
    now = amounts(counted(1, Tally(3, bytes=300), found, under_way=Tally(1, bytes=120), in_ranges=InRanges(80)))
    assert (now.entries, now.files, now.bytes, now.bytes_moved) == (4, 4, 500, 500)
    assert now.total_known and now.fraction == 0.5


def test_what_an_earlier_run_copied_of_a_file_is_done_and_was_not_moved_by_this_one() -> None:
    found = Tally(files=1, bytes=1000)
    first, last = (counted(at, done, found, in_ranges=InRanges(some, 600)) for at, done, some in (
        (1, NOTHING, 700), (2, one_file(1000), 0),
    ))  # fmt: skip
    assert (amounts(first).bytes, amounts(first).bytes_moved) == (700, 100)
    assert (amounts(last).bytes, amounts(last).bytes_moved) == (1000, 400)


def test_holes_of_big_files_are_neither_done_nor_to_be_done() -> None:
    """Of two files one is finished, with 400 bytes of holes; of the other 150 of 300 bytes of data are copied."""
    found, holes = Tally(files=2, bytes=500 + 1000), 400 + 700
    now = amounts(counted(1, one_file(500), found, in_ranges=InRanges(150, 0, holes, 400)))
    assert (now.bytes, now.bytes_total, now.bytes_moved) == (250, 400, 250)
    end = amounts(counted(2, Tally(2, bytes=1500), found, in_ranges=InRanges(0, 0, holes, holes)))
    assert (end.bytes, end.bytes_total, end.fraction) == (400, 400, 1.0)


def test_what_the_scan_saw_to_be_identical_and_what_failed_is_done_too() -> None:
    outcome = Outcome(skipped=one_file(5), updated=one_file(7), failures=[Failure(b"x", "EIO", attempted=one_file(11))])
    found = Tally(files=4, bytes=23 + 100)
    all_done = Counted(
        "copying", found, True, outcome, 1, 1, 9.0, identical=Tally(1, bytes=100), failed=one_file(11)
    )  # fmt: skip
    now = amounts(all_done)
    assert (now.entries, now.bytes, now.identical, now.failed) == (4, 123, 2, 1)
    assert now.bytes_moved == 0 and now.fraction == 1.0


def test_while_parts_are_read_again_bytes_move_and_nothing_of_it_was_copied() -> None:
    reading = Counted(
        "verifying", one_file(100), True, Outcome(copied=one_file(100)), 1, 1, 5.0, under_way=Tally(bytes=40)
    )
    now = amounts(reading)
    assert (now.bytes, now.bytes_total, now.bytes_moved, now.entries) == (40, 100, 40, 0)


@settings(max_examples=many(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 50)), max_size=20))
def test_whatever_ranks_say_nothing_that_is_shown_goes_back_in_a_phase(told: list[tuple[int, int, int]]) -> None:
    meter, before = ProgressMeter(), Progress("")
    done = NOTHING
    for at, (under_way, in_ranges, more) in enumerate(told, 1):
        done = done.plus(one_file(more))
        found = Tally(1000, bytes=10_000)
        now = meter.read(counted(at, done, found, under_way=Tally(bytes=under_way), in_ranges=InRanges(in_ranges)))
        assert (now.entries, now.files) >= (before.entries, before.files)
        assert now.bytes >= max(before.bytes, done.bytes) and now.bytes_moved >= before.bytes_moved
        assert now.bytes_per_second >= 0 and now.average_bytes >= 0
        before = now


def test_rates_are_of_the_last_ten_seconds_and_beside_them_the_average() -> None:
    meter, found = ProgressMeter(), Tally(1000, bytes=1000 * MIB)
    for second in range(1, 41):
        done = min(second, 20) * MIB  # then it stalls
        now = meter.read(counted(second, Tally(second, bytes=done), found))
    assert now.bytes_per_second == 0 and now.files_per_second == pytest.approx(1)
    assert now.average_bytes == pytest.approx(MIB / 2) and now.average_files == pytest.approx(1)


def test_a_phase_that_counts_from_nothing_has_a_time_left_of_its_own() -> None:
    meter, found = ProgressMeter(), Tally(10, bytes=10 * MIB)
    for second in range(1, 11):
        meter.read(counted(second, Tally(second, bytes=second * MIB), found))
    outcome = Outcome(copied=found)
    for second in range(4):
        outcome.verified = Tally(2 * second, bytes=2 * second * MIB)
        now = meter.read(Counted("verifying", found, True, outcome, 1, 1, 10.0 + second))
        assert now.remaining is None or second
    assert now.remaining == pytest.approx(2.0) and now.average_bytes == pytest.approx(2 * MIB)


def test_nobody_knows_how_much_is_left_before_all_is_found_or_anything_is_done() -> None:
    found = Tally(10, bytes=10 * MIB)
    assert ProgressMeter().read(counted(1, one_file(MIB), found, scan_done=False)).remaining is None
    assert ProgressMeter().read(counted(1, NOTHING, found)).remaining is None


def test_no_more_is_done_than_was_found_while_a_resumed_run_scans() -> None:
    now = amounts(counted(1, NOTHING, NOTHING, scan_done=False, in_ranges=InRanges(32, 32)))
    shown = ProgressMeter().read(counted(1, NOTHING, NOTHING, scan_done=False, in_ranges=InRanges(32, 32)))
    assert now.bytes == 32, "what is known of before"
    assert (shown.bytes, shown.bytes_total, shown.total_known) == (32, 32, False)
