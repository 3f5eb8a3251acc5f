"""Which tests run at the same time, which one after the other, and which alone on the machine.

A pytest plugin; tests/conftest.py loads it. `make test` runs `--part parallel` in several processes of pytest-xdist and
then `--part serial` in one; `make quick` runs `--part quick`. Without --part everything runs, in one process.

In parallel a file is what a process takes at a time, and those of a group are one after the other in one process. The
longest come first, so that no process is left with one of them at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).resolve().parents[1]

# What shares something made once that is expensive: hosts with Slurm, a Docker engine, volumes.
GROUPS = ("slurm", "docker", "dfs")
# What measures time, CPU or memory, and finds other figures while the CPUs do something else.
SERIAL = (
    "test_bench_parts.py",
    "test_bench_runs.py",
)
# Pure rooms, and what starts no ranks and few processes.
QUICK = (
    "vocab",
    "formats",
    "rules",
    "scheduling",
    "simulate",
    "host",
    "engine",
    "ledger",
    "cli/test_amounts.py",
    "cli/test_hpcp_options.py",
    "cli/test_option_conflicts.py",
    "cli/test_parser.py",
    "cli/progress",
    "cli/test_report.py",
    "cluster/test_launcher.py",
    "cluster/test_slurm.py",
    "operations/compare/test_compare.py",
    "operations/copy/big_files/test_rules.py",
    "operations/copy/destinations/test_rules.py",
    "operations/copy/test_check.py",
    "operations/list_files/test_values.py",
    "operations/remove/test_rules.py",
    "operations/scan/test_deferred.py",
    "operations/scan/test_listing.py",
    "operations/scan/test_symlinks.py",
    "operations/scan/test_unit_builder.py",
    "operations/scan/test_unit_builder_cases.py",
    "operations/test_open_ledger.py",
    "test_import_rules.py",
)
# Seconds that a group or file took on two CPUs, of those that take long. Only the order counts.
SECONDS = {
    "slurm": 400,
    "docker": 300,
    "dfs": 250,
    "cluster/test_lost.py": 120,
    "operations/copy/test_torture.py": 110,
    "operations/copy/test_storage_errors.py": 110,
    "operations/copy/test_signals.py": 70,
    "chaos/test_rounds.py": 65,
    "operations/copy/test_drain.py": 60,
    "operations/scan/test_listing_ranks.py": 55,
    "operations/copy/test_faults.py": 50,
}
_OTHERS = 0.1  # seconds a test


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hpcp-mpi")
    group.addoption("--part", choices=("quick", "parallel", "serial"), help="which tests (see tests/support/parts.py)")


def is_in(path: str, places: Sequence[str]) -> bool:
    """Whether a path below tests is one of the files, or in one of the folders."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def group_of(path: str) -> str:
    """What is run in one process with the file of this path below tests."""
    return next((group for group in GROUPS if is_in(path, [group])), path)


def _below_tests(path: Path) -> str:
    return path.relative_to(_TESTS).as_posix() if path.is_relative_to(_TESTS) else path.as_posix()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files, before they are imported."""
    part, path = config.getoption("part"), _below_tests(collection_path)
    if part is None or collection_path.is_dir() or collection_path.suffix != ".py":
        return None
    wanted = is_in(path, QUICK) if part == "quick" else is_in(path, SERIAL) == (part == "serial")
    return None if wanted else True


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The longest groups first; what is in one group stays as it is."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(_below_tests(item.path)), []).append(item)
    taken = {name: SECONDS.get(name, _OTHERS * len(inside)) for name, inside in groups.items()}
    return [item for name in sorted(groups, key=lambda name: -taken[name]) for item in groups[name]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give out groups, in the order in which they were collected."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0].removeprefix("tests/"))

    config.option.loadscopereorder = False
    return Groups(config, log)
