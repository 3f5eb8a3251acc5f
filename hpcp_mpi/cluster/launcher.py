"""The launcher of this process and its number of tasks, from environment variables; on every rank.

A launcher of the wrong flavour gives every task a world of its own: N copies of "rank 0 of 1", each copying everything.
Its environment variables show how many it meant to start.
"""

from collections.abc import Mapping

from hpcp_mpi.vocab.errors import FatalError

# (variable with the number of tasks, who sets it). Slurm's is the step's: inside a batch script there is none.
_SIZES = (
    ("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"),
    ("PMI_SIZE", "a PMI launcher (mpiexec of MPICH or Intel MPI, or srun --mpi=pmi2)"),
    ("MV2_COMM_WORLD_SIZE", "MVAPICH's mpirun"),
    ("PALS_NRANKS", "PALS"),
    ("FLUX_JOB_SIZE", "Flux"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
)
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK", "PALS_RANKID", "SLURM_PROCID")
_OTHERS = ("PMIX_RANK", "PMI_FD", "PMI_PORT")  # these show that there is a launcher, not how many tasks

_SLURM = "With srun, name the flavour: srun --mpi=pmi2 for MPICH and Intel MPI, --mpi=pmix for Open MPI."
_REMEDY = (
    f"{_SLURM} With mpiexec, use the one that belongs to the MPI library that mpi4py loads "
    "(hpcp-mpi -V names it; python -m pip install 'hpcp-mpi[mpich]' installs one with its mpiexec)."
)


def tasks(environment: Mapping[str, str]) -> tuple[int, str]:
    """Return the number of tasks that a launcher says it started, and its name; (1, "") where there is none."""
    counts = [(int(value), who) for name, who in _SIZES if (value := environment.get(name, "")).isdigit()]
    return max(counts, default=(1, ""))


def launched(environment: Mapping[str, str]) -> bool:
    """Return whether a launcher started this process, so that MPI is to be used."""
    return any(name in environment for name, _ in _SIZES) or any(name in environment for name in _OTHERS)


def speaks_pmix(environment: Mapping[str, str]) -> bool:
    """Return whether the launcher speaks PMIx to its tasks, and nothing else."""
    return "PMIX_RANK" in environment and not any(name in environment for name in ("PMI_FD", "PMI_PORT"))


def on_one_node(environment: Mapping[str, str]) -> bool:
    """Return whether the launcher says that all its tasks are on this node."""
    if "SLURM_STEP_NUM_NODES" in environment:
        return environment["SLURM_STEP_NUM_NODES"] == "1"
    return "MPI_LOCALNRANKS" in environment and environment["MPI_LOCALNRANKS"] == environment.get("PMI_SIZE")


def first_task(environment: Mapping[str, str]) -> bool:
    """Return whether this task prints for all of them when MPI cannot say its rank."""
    ranks = [environment[name] for name in _RANKS if name in environment]
    return all(rank == "0" for rank in ranks)


def refuse_lonely_tasks(environment: Mapping[str, str], world: int) -> None:
    """Raise FatalError if a launcher started several tasks and this one is alone in its world."""
    count, who = tasks(environment)
    if world == 1 and count > 1:
        raise FatalError(
            f"{who} started {count} tasks, but each of them is rank 0 of 1: every one would copy everything",
            _REMEDY,
        )


def no_mpi(environment: Mapping[str, str], error: ImportError | RuntimeError) -> FatalError | None:
    """Return the error for an MPI that cannot be loaded; None if this process is alone and needs none."""
    count, who = tasks(environment)
    if count <= 1:
        return None
    return FatalError(
        f"{who} started {count} tasks, but MPI cannot be loaded: {error}",
        "Install mpi4py and an MPI library (python -m pip install 'hpcp-mpi[mpich]'), or load the site's MPI module. "
        + _REMEDY,
    )
