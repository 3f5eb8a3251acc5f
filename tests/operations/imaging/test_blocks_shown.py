"""Progress moves while blocks of a partition are copied: bytes of all, their rate, and the time that is left."""

from __future__ import annotations

import time

import pytest

from hpcp_mpi.operations.imaging.blocks_shown import showing_blocks
from hpcp_mpi.vocab.progress import Progress


class Kept:
    """A watcher that is due every time."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []

    def due(self) -> bool:
        return True

    def show(self, progress: Progress) -> None:
        self.seen.append(progress)


def test_each_piece_that_is_copied_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watcher = Kept()
    moved = showing_blocks(watcher, "copying blocks", 1000)
    for _ in range(5):
        now[0] += 1.0
        moved(100)
    assert [each.bytes for each in watcher.seen] == [100, 200, 300, 400, 500]
    last = watcher.seen[-1]
    assert (last.phase, last.bytes_total, last.fraction) == ("copying blocks", 1000, 0.5)
    assert last.bytes_per_second == pytest.approx(100) and last.remaining == pytest.approx(5)
