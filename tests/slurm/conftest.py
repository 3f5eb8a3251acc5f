"""One cluster for all tests of this directory; each test has a place on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.slurm.lab import Lab

HOSTS = ("n1", "n2", "n3", "n4")


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """The hosts. A test that takes one down brings it back."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with Lab(HOSTS) as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Cluster]:
    """The cluster with nothing on it, and a fresh directory that all hosts see."""
    place = Path(tempfile.mkdtemp(dir=lab.shared))
    place.chmod(0o755)
    yield Cluster(lab, place)
    lab.run(["scancel", "--user=root"])
    shutil.rmtree(place, ignore_errors=True)
