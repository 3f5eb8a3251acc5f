"""Test disks, made once in a session; a test gets copies that it may change."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import disks


@pytest.fixture(scope="session")
def original_disk() -> Iterator[Callable[[str], disks.Disk]]:
    """original_disk(kind) is the one of disks.KINDS that all tests share. Nobody writes to it."""
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir="/dev/shm"))
    made: dict[str, disks.Disk] = {}

    def of(kind: str) -> disks.Disk:
        if kind not in made:
            (place / kind).mkdir(exist_ok=True)
            made[kind] = disks.make(kind, place / kind)
        return made[kind]

    yield of
    shutil.rmtree(place)


@pytest.fixture
def a_disk(original_disk: Callable[[str], disks.Disk], on_tmpfs: Path) -> Callable[[str], disks.Disk]:
    """a_disk(kind) is a copy of such a disk at on_tmpfs/a.img."""
    return lambda kind: original_disk(kind).copied(on_tmpfs / "a.img")
