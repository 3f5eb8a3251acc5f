"""Every test is in one part of `make test`, and what shares something is run by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import parts

TESTS = Path(__file__).parent
WRITES = """
import os, pytest
@pytest.mark.parametrize("number", range(4))
def test_x(number):
    with open({!r}, "a") as told:
        told.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


@pytest.mark.parametrize("name", [*parts.GROUPS, *parts.SERIAL, *parts.QUICK, *parts.SECONDS])
def test_what_the_tables_name_is_there(name: str) -> None:
    assert (TESTS / name).exists()


def test_a_folder_of_a_group_is_the_group_and_any_other_file_one_of_its_own() -> None:
    assert parts.group_of("slurm/test_lab.py") == "slurm"
    assert parts.group_of("cluster/test_slurm.py") == "cluster/test_slurm.py"


def test_quick_tests_share_nothing_with_the_serial_ones() -> None:
    assert not [name for name in parts.SERIAL if parts.is_in(name, parts.QUICK)]


def test_a_file_is_in_the_parallel_or_in_the_serial_part(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_TESTS", pytester.path)
    monkeypatch.setattr(parts, "SERIAL", ("test_two.py",))
    monkeypatch.setattr(parts, "QUICK", ("test_three.py",))
    pytester.makepyfile(**{f"test_{name}": f"def test_{name}(): ..." for name in ("one", "two", "three")})
    for part, expected in (("parallel", {"one", "three"}), ("serial", {"two"}), ("quick", {"three"})):
        ran = pytester.inline_run("-p", "tests.support.parts", "--part", part).listoutcomes()[0]
        assert {report.nodeid.partition("::test_")[2] for report in ran} == expected


def test_a_group_is_run_by_one_process_though_others_have_nothing_to_do(pytester: pytest.Pytester) -> None:
    (pytester.path / "slurm").mkdir()
    for name in ("slurm/test_a.py", "slurm/test_b.py", "test_c.py"):
        told = str(pytester.path / ("told-slurm" if name.startswith("slurm") else "told-other"))
        (pytester.path / name).write_text(WRITES.format(told))
    pytester.runpytest("-n2", "-p", "tests.support.parts").assert_outcomes(passed=12)
    (of_group,) = set((pytester.path / "told-slurm").read_text().split())
    assert set((pytester.path / "told-other").read_text().split()) == {"gw0", "gw1"} - {of_group}
