"""Fixtures for all tests: places for trees, and the rule that CI skips nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import everyone as everyone_module

pytest_plugins = [
    "pytester",
    "tests.support.ci_guard",
    "tests.support.second_chance",
    "tests.support.parts",
    "tests.support.effort",
]

DISK = os.environ.get("HPCP_MPI_TEST_DISK", "/var/tmp")


def _fresh(parent: str) -> Iterator[Path]:
    """A directory that every user may enter, unlike pytest's tmp_path; removed whatever is in it."""
    made = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir=parent))
    made.chmod(0o755)
    yield made
    # chmod for ordinary users, who cannot remove from a read-only directory; rm knows paths beyond PATH_MAX.
    if os.geteuid() != 0:
        subprocess.run(["find", made, "-type", "d", "!", "-perm", "-u=rwx", "-exec", "chmod", "u+rwx", "{}", ";"])
    subprocess.run(["rm", "-rf", "--", made], check=True)


@pytest.fixture
def on_tmpfs() -> Iterator[Path]:
    """A directory in memory."""
    yield from _fresh("/dev/shm")


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory on a disk file system ($HPCP_MPI_TEST_DISK, else /var/tmp)."""
    yield from _fresh(DISK)


@pytest.fixture(params=["tmpfs", "disk"])
def place(request: pytest.FixtureRequest) -> Path:
    """Each of the two, one after the other."""
    found = request.getfixturevalue(f"on_{request.param}")
    assert isinstance(found, Path)
    return found


@pytest.fixture
def everyone() -> Callable[[Path], Path]:
    """everyone(path) gives path and all below it to `nobody`, for run(user="nobody"), and returns it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    everyone_module.source()

    def give(path: Path) -> Path:
        path.mkdir(exist_ok=True)
        shutil.chown(path, "nobody")
        subprocess.run(["chown", "-hR", "nobody:", path], check=True)
        return path

    return give
