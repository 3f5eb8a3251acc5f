"""One engine for all tests of this directory, with both images in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.engine import Engine, missing


@pytest.fixture(scope="package")
def engine() -> Iterator[Engine]:
    """It runs in a network of its own, so nothing in it can ask anybody outside."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with Engine() as engine:
        with engine.up("host"):
            engine.load_base()
            engine.build("hpcp-mpi")
            engine.build("hpcp-mpi-slurm", "--target=slurm")
        with engine.up("private"):
            yield engine
