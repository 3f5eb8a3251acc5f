"""Runs that something happens to at a random moment are gone on with: a few of the rounds that `make crashes` plays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rounds import planned, play
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse

SEEDS = range(2001, 2026)  # about four seconds each


@needs_fuse
@needs_commands("rsync", "cp")
@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.skipif(bool(World("mpich").missing()), reason="no MPICH (`make test` makes it)")
@pytest.mark.skipif(bool(World("openmpi").missing()), reason="no Open MPI (`make test` makes it)")
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: str(planned(seed)).replace("[", "(").replace("]", ")"))
def test_what_was_begun_is_ended(seed: int, on_tmpfs: Path) -> None:
    print(play(seed, on_tmpfs))


def test_a_round_is_the_same_each_time() -> None:
    assert str(planned(77)) == str(planned(77)) and len({str(planned(seed)) for seed in range(50)}) == 50
