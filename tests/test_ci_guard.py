"""In CI no test passes by skipping."""

from __future__ import annotations

import os

import pytest

SKIPPING = {
    "test": "import pytest\ndef test_x():\n    pytest.skip('tool missing')\n",
    "mark": "import pytest\n@pytest.mark.skipif(True, reason='tool missing')\ndef test_x(): ...\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('tool missing')\ndef test_x(f): ...\n",
    "module": "import pytest\npytest.skip('tool missing', allow_module_level=True)\n",
}


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("CI", "true")


@pytest.mark.parametrize("where", SKIPPING)
def test_an_unexpected_skip_fails_and_names_its_reason(where: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SKIPPING[where])
    result = pytester.runpytest("-p", "tests.support.ci_guard")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*skipped in CI, where everything must run: tool missing*"])


@pytest.mark.parametrize("where", SKIPPING)
def test_so_it_does_when_several_processes_run_the_tests(where: str, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import os\nos.geteuid = lambda: 0\n")  # in each of them
    pytester.makepyfile(test_one=SKIPPING[where], test_other="def test_y(): ...")
    result = pytester.runpytest("-n2", "-p", "tests.support.ci_guard")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*skipped in CI, where everything must run: tool missing*"])


def test_an_expected_skip_is_a_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.ci_guard.EXPECTED_SKIPS", ("^tool miss",))
    pytester.makepyfile(SKIPPING["test"])
    result = pytester.runpytest("-p", "tests.support.ci_guard")
    assert result.ret == 0
    result.assert_outcomes(skipped=1)


def test_an_expected_failure_is_no_skip(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\ndef test_x():\n    pytest.xfail('known')\n")
    assert pytester.runpytest("-p", "tests.support.ci_guard").ret == 0


def test_outside_ci_a_skip_is_a_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    pytester.makepyfile(SKIPPING["test"])
    pytester.runpytest("-p", "tests.support.ci_guard").assert_outcomes(skipped=1)
