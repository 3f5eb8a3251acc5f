"""Equal times: the copy's is the nearest to the source's that the destination can store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.vocab.abilities import StoredTimes

S = 10**9
TIMES = st.integers(-(2**62), 2**62)
MOOSE = StoredTimes(S, 0, 2**32 * S - 1, clamps=False)


@given(TIMES, st.sampled_from([1, 100, 1000, S, 2 * S]), TIMES, st.integers(0, 2**62))
def test_a_time_is_the_same_as_what_a_file_system_makes_of_it(time_ns: int, step: int, first: int, length: int) -> None:
    times = StoredTimes(step, first, first + length)
    clamped = min(max(time_ns, first), first + length)
    for kept in (clamped, clamped // step * step):
        assert times.same(time_ns, kept)


@given(TIMES, TIMES, st.sampled_from([1, S]))
def test_of_what_can_be_stored_only_what_is_within_a_step_is_the_same(one: int, other: int, step: int) -> None:
    assert StoredTimes(step, -(2**80), 2**80).same(one, other) == (abs(one - other) < step)


@given(TIMES)
def test_nothing_goes_astray_where_times_are_clamped(time_ns: int) -> None:
    assert not StoredTimes(S, 0, 2**31 * S).goes_astray(time_ns)


def test_what_goes_astray_is_out_of_range() -> None:
    assert [MOOSE.goes_astray(t) for t in (-1, 0, 2**32 * S - 1, 2**32 * S)] == [True, False, False, True]
    assert [MOOSE.nearest(t) for t in (-1, 5, 2**32 * S)] == [0, 5, 2**32 * S - 1]


def test_a_file_system_that_nobody_tried_ends_where_others_do() -> None:
    """A compare writes nothing, so it cannot know; a copy that was given the nearest time has such a one."""
    assert StoredTimes(S).same(-5 * S, 0) and StoredTimes().same(2**40 * S, (2**31 - 1) * S)
    assert not StoredTimes().same(-5 * S, 1) and not StoredTimes().same(5 * S, 0)
