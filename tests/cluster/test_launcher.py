"""The detection of launchers from the environment: tables of the variables that they set."""

from __future__ import annotations

import pytest

from hpcp_mpi.cluster.launcher import first_task, launched, no_mpi, on_one_node, refuse_lonely_tasks, tasks
from hpcp_mpi.vocab.errors import FatalError

HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "4", "PMI_FD": "9"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"}
SRUN = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2"}
SRUN_PMI2 = {**SRUN, "PMI_FD": "5", "PMI_RANK": "2", "PMI_SIZE": "3"}
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}  # sbatch: not a step

# environment, tasks, started by a launcher, the first task
TABLE = [
    ("a shell", {"HOME": "/root"}, 1, False, True),
    ("hydra", HYDRA, 4, True, False),
    ("hydra alone", {"PMI_RANK": "0", "PMI_SIZE": "1"}, 1, True, True),
    ("open mpi", OPEN_MPI, 4, True, True),
    ("srun without PMI", SRUN, 3, True, False),
    ("srun pmi2", SRUN_PMI2, 3, True, False),
    ("srun alone", {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 1, True, True),
    ("batch script", BATCH_SCRIPT, 1, False, True),
    ("mpiexec in a batch script", {**BATCH_SCRIPT, **HYDRA}, 4, True, False),
    ("pmix only", {"PMIX_RANK": "1"}, 1, True, False),
    ("mvapich", {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "1"}, 2, True, False),
    ("pals", {"PALS_NRANKS": "16", "PALS_RANKID": "0"}, 16, True, True),
    ("flux", {"FLUX_JOB_SIZE": "2"}, 2, True, True),
    ("nonsense", {"PMI_SIZE": "many"}, 1, True, True),
    ("empty", {"PMI_SIZE": ""}, 1, True, True),
]


@pytest.mark.parametrize(
    "environment, count, by_launcher, first", [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_the_environment_tells_who_started_how_many(
    environment: dict[str, str], count: int, by_launcher: bool, first: bool
) -> None:
    assert tasks(environment)[0] == count
    assert launched(environment) is by_launcher
    assert first_task(environment) is first


@pytest.mark.parametrize(
    "environment, who", [(HYDRA, "mpiexec of MPICH"), (OPEN_MPI, "Open MPI's mpirun"), (SRUN, "srun")]
)
def test_tasks_alone_in_their_worlds_are_refused_with_who_and_what_to_do(environment: dict[str, str], who: str) -> None:
    with pytest.raises(FatalError) as refused:
        refuse_lonely_tasks(environment, world=1)
    assert who in refused.value.message and f"{tasks(environment)[0]} tasks" in refused.value.message
    assert "srun --mpi=pmi2" in refused.value.remedy and "--mpi=pmix" in refused.value.remedy
    assert "mpiexec" in refused.value.remedy
    assert refused.value.exit_code == 1


@pytest.mark.parametrize(
    "environment, world", [(HYDRA, 4), (SRUN, 3), ({}, 1), ({"PMI_SIZE": "1"}, 1), (BATCH_SCRIPT, 1), (OPEN_MPI, 2)]
)
def test_a_world_as_large_as_meant_and_a_single_task_are_not_refused(environment: dict[str, str], world: int) -> None:
    refuse_lonely_tasks(environment, world)


def test_without_mpi_several_tasks_are_refused_and_one_goes_on_alone() -> None:
    why = ImportError("No module named 'mpi4py'")
    refusal = no_mpi(SRUN, why)
    assert refusal is not None
    assert "srun started 3 tasks" in refusal.message and "No module named 'mpi4py'" in refusal.message
    assert "pip install" in refusal.remedy and "--mpi=pmi2" in refusal.remedy
    assert no_mpi({"PMI_SIZE": "1"}, why) is None
    assert no_mpi({}, why) is None


@pytest.mark.parametrize(
    "environment, alone",
    [
        ({}, False),
        ({"PMI_SIZE": "4", "MPI_LOCALNRANKS": "4"}, True),
        ({"PMI_SIZE": "4", "MPI_LOCALNRANKS": "2"}, False),
        ({"PMI_SIZE": "4", "SLURM_STEP_NUM_NODES": "1"}, True),
        ({"PMI_SIZE": "4", "SLURM_STEP_NUM_NODES": "2"}, False),
    ],
)
def test_whether_all_tasks_are_on_one_node_is_what_the_launcher_says(environment: dict[str, str], alone: bool) -> None:
    assert on_one_node(environment) is alone
