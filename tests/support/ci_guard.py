"""A guard against skips in CI: with $CI set and as root, a skip that is not expected is a failure.

A pytest plugin; tests/conftest.py loads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

# Reasons (patterns) that a fully equipped machine may have. Keep it short: each is something CI does not
# test.
EXPECTED_SKIPS: tuple[str, ...] = (
    "userfaultfd is not allowed",  # by the usual profile of containers
    "the kernel cannot be traced",  # the same
    "the kernel does not tell of FUSE requests",  # before Linux 6.10
)


def is_strict() -> bool:
    return bool(os.environ.get("CI")) and os.geteuid() == 0


def _reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    # (file, line, "Skipped: the reason")
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not is_strict():
        return
    reason = _reason_of(report)
    if not any(re.search(pattern, reason) for pattern in EXPECTED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything must run: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _judge(report)
    return report
