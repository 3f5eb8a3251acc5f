"""Repetition of failed tests in CI: those that start processes, once each, a few times a run; every time is shown.

Some 2,000 tests start launchers, daemons and attackers on a machine that others use too. A test that fails once in ten
thousand starts would fail every fifth run of all, and a red build would mean nothing any more. A test that fails
twice in a row is a failure; so is a run in which many tests had to be repeated; and tests of pure rooms are never
repeated. Of several processes of pytest-xdist each repeats its own, and the one that hands out the tests counts and
tells. .ci/run shows the lines that begin with REPEATED once more. A pytest plugin; tests/conftest.py loads it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ci_guard import is_strict

MOST = 5  # repetitions in a run
_DELAY = 2  # seconds, after which a machine that was busy may not be
_PURE = frozenset({"vocab", "formats", "rules", "scheduling", "simulate", "test_import_rules.py", "test_ci_guard.py"})
_PURE_FILES = frozenset({"test_rules.py", "test_unit_builder.py", "test_unit_builder_cases.py", "test_deferred.py"})
_TESTS = Path(__file__).resolve().parents[1]


class SecondChances:
    """A counter of repetitions."""

    def __init__(self) -> None:
        self.repeated: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if not _is_pure(item.path):
                item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=_DELAY))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]
            self.repeated.append(f"REPEATED {report.nodeid} ({report.when})\n{report.longreprtext}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if len(self.repeated) > MOST:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.repeated:
            terminalreporter.section(f"{len(self.repeated)} failed once and were repeated")
        for each in self.repeated:
            terminalreporter.write_line(each + "\n")
        if len(self.repeated) > MOST:
            terminalreporter.write_line(f"More than {MOST} repetitions: that is no accident, the run has failed.")


def _is_pure(path: Path) -> bool:
    if not path.is_relative_to(_TESTS):
        return False
    return path.relative_to(_TESTS).parts[0] in _PURE or path.name in _PURE_FILES


def pytest_configure(config: pytest.Config) -> None:
    if is_strict():
        config.pluginmanager.register(SecondChances(), "second-chances")
