"""The facts about a job in the environment that Slurm gives it."""

from __future__ import annotations

import pytest

from hpcp_mpi.cluster.slurm import default_ledger, restarts

JOB = {"SLURM_JOB_ID": "12", "SLURM_SUBMIT_DIR": "/home/me"}
ARRAY = {**JOB, "SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "3"}


@pytest.mark.parametrize(
    "environment, ledger",
    [
        ({}, None),
        ({"SLURM_SUBMIT_DIR": "/home/me"}, None),
        ({"SLURM_JOB_ID": ""}, None),
        ({"SLURM_JOB_ID": "12"}, b"hpcp-mpi-12.ledger"),
        (JOB, b"/home/me/hpcp-mpi-12.ledger"),
        (ARRAY, b"/home/me/hpcp-mpi-10_3.ledger"),
        ({**JOB, "SLURM_STEP_ID": "0"}, b"/home/me/hpcp-mpi-12.ledger"),
        ({**JOB, "SLURM_STEP_ID": "2"}, b"/home/me/hpcp-mpi-12.2.ledger"),
        ({**JOB, "SLURM_STEP_ID": "4294967291"}, b"/home/me/hpcp-mpi-12.ledger"),  # the batch script
        ({**JOB, "SLURM_STEP_ID": "batch"}, b"/home/me/hpcp-mpi-12.ledger"),
        ({**JOB, "SLURM_SUBMIT_DIR": "/home/\udcff"}, b"/home/\xff/hpcp-mpi-12.ledger"),
    ],
)
def test_a_ledger_is_named_after_the_job_and_its_step(environment: dict[str, str], ledger: bytes | None) -> None:
    assert default_ledger(environment) == ledger


def test_a_job_that_starts_again_finds_its_ledger() -> None:
    again = {**ARRAY, "SLURM_RESTART_COUNT": "2", "SLURM_STEP_ID": "0"}
    assert default_ledger(again) == default_ledger(ARRAY)
    assert (restarts(ARRAY), restarts(again), restarts({"SLURM_RESTART_COUNT": "x"})) == (0, 2, 0)
