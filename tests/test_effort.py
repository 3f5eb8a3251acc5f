"""Of the combinations of parameters `make test` runs few, and none of what they are to show is lost."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.effort import few

TEST = """
import pytest
@pytest.mark.combinations({})
@pytest.mark.parametrize("a", range(3))
@pytest.mark.parametrize("b, c", [(1, 2), (3, 4)])
@pytest.mark.parametrize("d", "xyz")
def test_x(a, b, c, d): ...
"""


def cases(*sizes: int) -> list[frozenset[tuple[str, int]]]:
    return [frozenset((f"p{axis}", value) for axis, value in enumerate(each)) for each in product(*(map(range, sizes)))]


@pytest.mark.parametrize("sizes", [(2, 3), (3, 3, 2), (9, 2), (4, 3, 2, 2), (1,)])
def test_each_value_occurs(sizes: tuple[int, ...]) -> None:
    every = cases(*sizes)
    chosen = [every[at] for at in few(every, 1)]
    assert set().union(*chosen) == set().union(*every)
    assert len(chosen) == max(sizes)


@pytest.mark.parametrize("sizes", [(2, 3), (3, 3, 2), (4, 3, 2, 2)])
def test_any_two_values_meet(sizes: tuple[int, ...]) -> None:
    every = cases(*sizes)
    chosen = [every[at] for at in few(every, 2)]
    for one, other in {(x, y) for case in every for x in case for y in case}:
        assert any({one, other} <= case for case in chosen)
    assert len(chosen) == len(every) if len(sizes) == 2 else len(chosen) < len(every)


def test_values_that_only_come_with_others_are_kept() -> None:
    every = [*cases(2, 2), frozenset({("p0", 0)}), frozenset({("p0", 7), ("p2", 0)})]
    assert {("p0", 7), ("p2", 0)} <= set().union(*(every[at] for at in few(every, 2)))


@pytest.mark.parametrize("size, expected", [(1, 3), (2, 10)])
def test_the_others_are_deselected_in_a_part_and_run_without_one(
    size: int, expected: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.effort.TO_THE_END", False)
    plugins = ("-p", "tests.support.parts", "-p", "tests.support.effort")
    pytester.makepyfile(TEST.format(size))
    pytester.runpytest(*plugins).assert_outcomes(passed=18)
    pytester.runpytest(*plugins, "--part", "parallel").assert_outcomes(passed=expected, deselected=18 - expected)
    monkeypatch.setattr("tests.support.effort.TO_THE_END", True)
    pytester.runpytest(*plugins, "--part", "parallel").assert_outcomes(passed=18)
