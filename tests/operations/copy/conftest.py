"""Fixtures of several modules here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import filesystems


@pytest.fixture(scope="module")
def mounts() -> Iterator[dict[str, Path]]:
    """One of each file system, by kind."""
    with filesystems.all_mounted() as found:
        yield found
