"""Look-ups that this node's cache may make stale are repeated, and no thread waits twice for the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.host import stale_looks
from hpcp_mpi.host.mounts import stale_seconds
from hpcp_mpi.host.stale_looks import StaleLooks
from tests.support import faultfs


class Clock:
    """A clock that advances only during sleep()."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stale_looks, "time", clock)
    return clock


def never() -> bool:
    return False


def looks_until(looks: StaleLooks, good: Callable[[], bool]) -> bool:
    return any(good() for _ in looks.each())


def test_where_all_see_the_same_one_look_is_all_and_nothing_waits(clock: Clock) -> None:
    assert len(list(StaleLooks(0, never).each())) == 1
    assert clock.now == 100


def test_a_look_that_is_stale_for_a_second_is_right_after_little_more(clock: Clock) -> None:
    assert looks_until(StaleLooks(3, never), lambda: clock.now > 101)
    assert 101 < clock.now < 102.5


def test_what_stays_wrong_is_looked_at_last_when_no_look_can_be_stale(clock: Clock) -> None:
    seen = [clock.now for _ in StaleLooks(3, never).each()]
    assert seen[-1] == pytest.approx(103, abs=0.001) and len(seen) < 12


def test_those_who_doubt_later_wait_only_for_the_rest(clock: Clock) -> None:
    looks = StaleLooks(3, never)
    list(looks.each())
    first = clock.now
    list(looks.each())  # another look that was wrong by then
    assert clock.now == first
    clock.now += 1000
    list(looks.each())
    assert clock.now == pytest.approx(first + 1003, abs=0.001)


def test_another_phase_is_doubted_anew(clock: Clock) -> None:
    looks = StaleLooks(3, never)
    looks.begin("linking")
    list(looks.each())
    looks.begin("linking")
    first = clock.now
    assert len(list(looks.each())) == 1
    looks.begin("verifying")
    list(looks.each())
    assert clock.now == pytest.approx(first + 3, abs=0.001)


def test_a_run_that_ends_waits_for_nothing(clock: Clock) -> None:
    looks = StaleLooks(3, lambda: True)
    assert len(list(looks.each())) == 1
    looks.wait_for_earlier_runs()
    assert clock.now == 100


def test_what_an_earlier_run_wrote_is_waited_for_once(clock: Clock) -> None:
    looks = StaleLooks(3, never)
    clock.now += 1
    looks.wait_for_earlier_runs()
    assert clock.now == pytest.approx(103, abs=0.001)
    looks.wait_for_earlier_runs()
    assert clock.now == pytest.approx(103, abs=0.001)


def test_local_file_systems_remember_nothing_of_others_and_fuse_ones_may(place: Path, tmp_path: Path) -> None:
    assert stale_seconds(os.fsencode(place)) == 0
    if reason := faultfs.unavailable():
        pytest.skip(reason)
    with faultfs.mounted(tmp_path) as mountpoint:
        assert stale_seconds(os.fsencode(mountpoint)) > 1
