"""In CI what starts processes is repeated once, not more, not often, and not in silence."""

from __future__ import annotations

import os

import pytest

PLUGINS = ("-p", "tests.support.ci_guard", "-p", "tests.support.second_chance")
# Processes of pytest-xdist do not know what was changed in this one.
EVERYWHERE = """
import os
from tests.support import second_chance
os.geteuid = lambda: 0
second_chance._DELAY = 0
"""
# Each of the tests fails as often as its number says.
TESTS = """
import pathlib, pytest

@pytest.mark.parametrize("failures", {})
@pytest.mark.parametrize("number", range({}))
def test_x(failures, number):
    seen = pathlib.Path(f"seen-{{failures}}-{{number}}")
    times = len(seen.read_text()) if seen.exists() else 0
    seen.write_text("x" * (times + 1))
    assert times >= failures, "the reason"
"""


@pytest.fixture(autouse=True)
def in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("tests.support.second_chance._DELAY", 0)


def test_a_test_that_fails_once_passes_and_its_failure_is_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format([0, 1], 1))
    result = pytester.runpytest(*PLUGINS)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 failed once and were repeated*", "REPEATED *test_x*", "*Error: the reason*"])


def test_a_test_that_fails_twice_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format([2], 1))
    result = pytester.runpytest(*PLUGINS)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*1 failed*"])


def test_a_run_in_which_many_were_repeated_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format([1], 6))
    result = pytester.runpytest(*PLUGINS)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*6 failed once*", "*no accident*"])


def test_several_processes_repeat_and_one_of_them_tells(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(EVERYWHERE)
    pytester.makepyfile(TESTS.format([0, 1], 2))
    result = pytester.runpytest(*PLUGINS, "-n2")
    assert result.ret == 0
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*2 failed once and were repeated*", "REPEATED *test_x*", "*Error: the reason*"])
    # Once each, in the summary.
    assert result.stdout.str().count("AssertionError: the reason") == 2


def test_repetitions_of_all_processes_are_counted_together(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(EVERYWHERE)
    pytester.makepyfile(TESTS.format([1], 6))
    result = pytester.runpytest(*PLUGINS, "-n3")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*6 failed once*", "*no accident*"])


def test_what_fails_twice_in_another_process_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(EVERYWHERE)
    pytester.makepyfile(TESTS.format([0, 2], 1))
    result = pytester.runpytest(*PLUGINS, "-n2")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)


def test_outside_ci_nothing_is_repeated(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    pytester.makepyfile(TESTS.format([1], 1))
    assert pytester.runpytest(*PLUGINS).ret == 1


def test_pure_rooms_have_no_second_chance() -> None:
    from tests.support import second_chance

    assert second_chance._is_pure(second_chance._TESTS / "rules" / "test_landing.py")
    assert second_chance._is_pure(second_chance._TESTS / "operations" / "remove" / "test_rules.py")
    assert not second_chance._is_pure(second_chance._TESTS / "operations" / "move" / "test_move.py")
