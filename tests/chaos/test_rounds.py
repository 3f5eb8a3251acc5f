"""Runs that something happens to at a random moment are resumed: a few of the rounds that `make crashes` plays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rounds import planned, play
from tests.support.effort import TO_THE_END, few
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse

SEEDS = range(2001, 2026)  # about four seconds each


def seeds() -> list[int]:
    """All of them, or so few that each deed, moment, launcher and state of the destination occurs."""
    if TO_THE_END:
        return list(SEEDS)
    rounds = [planned(seed) for seed in SEEDS]
    facts = [
        ("deed", lambda each: each.deed),
        ("moment", lambda each: each.moment[0]),
        ("launcher", lambda each: each.world.flavour),
        ("second launcher", lambda each: each.again.flavour),
        ("destination", lambda each: each.dest),
        ("slow", lambda each: each.slow),
        ("all list", lambda each: "-pfl" in each.options),
        ("verify", lambda each: "--verify" in each.options),
        ("mirror", lambda each: each.extras),
        ("twice", lambda each: each.twice),
    ]
    numbers = {name: sorted({str(ask(each)) for each in rounds}) for name, ask in facts}
    cases = [frozenset((name, numbers[name].index(str(ask(each)))) for name, ask in facts) for each in rounds]
    return [SEEDS[at] for at in few(cases, 1)]


@needs_fuse
@needs_commands("rsync", "cp")
@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.skipif(bool(World("mpich").missing()), reason="no MPICH (`make test` makes it)")
@pytest.mark.skipif(bool(World("openmpi").missing()), reason="no Open MPI (`make test` makes it)")
@pytest.mark.parametrize("seed", seeds(), ids=lambda seed: str(planned(seed)).replace("[", "(").replace("]", ")"))
def test_what_was_begun_is_ended(seed: int, on_tmpfs: Path) -> None:
    print(play(seed, on_tmpfs))


def test_a_round_is_the_same_each_time() -> None:
    assert str(planned(77)) == str(planned(77)) and len({str(planned(seed)) for seed in range(50)}) == 50
