"""Fixtures of the tests of ranges: a copy that is about to begin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ranging import Copying, started


@pytest.fixture
def copying_in(place: Path) -> Callable[..., Copying]:
    """copying_in(**options): from `src` to `dst`, on each file system."""
    return lambda **options: started(place, **options)


@pytest.fixture
def quick(on_tmpfs: Path) -> Callable[..., Copying]:
    """The same in memory only."""
    return lambda **options: started(on_tmpfs, **options)
