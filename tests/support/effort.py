"""How far tests go: `make test` part of the way, each time, `make test-all` (HPCP_MPI_CHAOS is set) to the end.

many(count)    so many random examples or rounds, in `make test` a third of them
@each_value    of all combinations of a test's parameters, in `make test` so many that each value occurs
@each_pair     ... so many that any two values of different parameters occur together
to_the_end     a mark of tests that `make test` leaves out: the toy cluster of containers, as Slurm has its own lab,
               and ways to end that one
seldom(values) values of a parameter that `make test` leaves out

The two with @ are for tests whose parameters do not meet in the code, e.g. an error of the storage and the launcher.
pytest without --part runs all combinations. A pytest plugin; tests/conftest.py loads it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from hypothesis import HealthCheck, settings

TO_THE_END = bool(os.environ.get("HPCP_MPI_CHAOS"))
each_value = pytest.mark.combinations(1)
each_pair = pytest.mark.combinations(2)
Value = tuple[str, int]  # of a parameter: its name, and which of its values it is


def seldom(values: Iterable[object]) -> list[object]:
    """The values of a parameter, each with the mark to_the_end: what others show already, but for rare accidents."""
    return [_marked(value) for value in values]


def _marked(value: Any) -> object:
    known = value if isinstance(value, ParameterSet) else pytest.param(value)
    return pytest.param(*known.values, id=known.id, marks=[*known.marks, pytest.mark.to_the_end])


def many(count: int) -> int:
    return count if TO_THE_END else max(count // 3, min(count, 10))


def _met(values: frozenset[Value], size: int) -> Iterator[frozenset[Value]]:
    return (frozenset(some) for some in combinations(sorted(values), min(size, len(values))))


def few(cases: list[frozenset[Value]], size: int) -> list[int]:
    """Choose cases such that whatever `size` values are together in one of all are together in one of these.

    Each takes in as many as possible that the others have not, of equals the one whose values were used least.
    """
    missing = {met for case in cases for met in _met(case, size)}
    used: Counter[Value] = Counter()
    chosen = []
    while missing:
        gains = [sum(met in missing for met in _met(case, size)) for case in cases]
        best = max(range(len(cases)), key=lambda at: (gains[at], -sum(used[value] for value in cases[at]), -at))
        chosen.append(best)
        used.update(cases[best])
        missing.difference_update(_met(cases[best], size))
    return sorted(chosen)


def _values_of(item: pytest.Item) -> frozenset[Value]:
    # The same object in all cases, and not each can be compared or hashed.
    return frozenset((name, id(value)) for name, value in item.callspec.params.items())  # type: ignore[attr-defined]


def pytest_configure(config: pytest.Config) -> None:
    for marker in ("combinations(size)", "to_the_end"):
        config.addinivalue_line("markers", f"{marker}: see tests/support/effort.py")
    # As many as many(100) where a test says nothing. How long an example takes tells of the machine, not of the code:
    # pytest-timeout ends what hangs.
    patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("hpcp-mpi", settings(), max_examples=many(settings().max_examples), **patient)
    settings.load_profile("hpcp-mpi")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if TO_THE_END or config.getoption("part") is None:
        return
    of_function: dict[tuple[str, int], list[pytest.Item]] = {}
    for item in items:
        mark = item.get_closest_marker("combinations")
        if mark is not None:
            of_function.setdefault((item.nodeid.partition("[")[0], mark.args[0]), []).append(item)
    later = {item for item in items if item.get_closest_marker("to_the_end")}
    for (_, size), cases in of_function.items():
        chosen = few([_values_of(item) for item in cases], size)
        later.update(item for at, item in enumerate(cases) if at not in chosen)
    if later:
        config.hook.pytest_deselected(items=[item for item in items if item in later])
        items[:] = [item for item in items if item not in later]
