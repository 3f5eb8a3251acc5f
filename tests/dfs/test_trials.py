"""Copies by ranks on different clients are right, as another client sees them, also if servers are lost meanwhile.

HPCP_MPI_CHAOS=N makes N trials of each kind, each with another tree and another moment (`make chaos`). Without it there
is one of those kinds that no other test has.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.dfs.places import Place
from tests.dfs.trials import LOSSES, QUIET, Trial, play
from tests.support.launch import World
from tests.support.marks import needs_commands

MISSING = World("mpich", 3).missing()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING or ""),
    pytest.mark.mpi,
    needs_commands("rsync", "setfacl", "getfacl"),
]
RUNS = int(os.environ.get("HPCP_MPI_CHAOS", "0"))
KINDS = QUIET if RUNS else ["verified", "resumed"]
LOST = LOSSES if RUNS else ["storage lost"]


def played(trials: list[Trial]) -> None:
    """Carry out trials and fail with what is wrong with them."""
    play(trials)
    wrong = [str(trial) for trial in trials if trial.problems]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("number", range(RUNS or 1))
def test_what_ranks_on_several_clients_made_another_client_finds_right(
    number: int, on_dfs: Place, on_disk: Path
) -> None:
    played([Trial(kind, number, on_dfs, on_disk) for kind in KINDS])


@pytest.mark.parametrize("number", range(RUNS or 1))
@pytest.mark.parametrize("kind", LOST)
def test_a_run_ends_by_itself_when_servers_are_lost_and_come_back_and_one_more_gets_it_right(
    kind: str, number: int, on_dfs: Place, on_disk: Path
) -> None:
    played([Trial(kind, number, on_dfs, on_disk)])
