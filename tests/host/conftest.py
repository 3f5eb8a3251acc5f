"""Fixtures of several modules of tests/host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.staging import notes


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """A descriptor of tmp_path, with an empty list of remarks."""
    notes.clear()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)
