"""Facts about the job that Slurm puts in its environment: number, restarts, end; read by rank 0."""

import os
import re
import time
from collections.abc import Mapping

_NO_STEPS = 0xFFFFFFF0  # numbers from here on stand for the batch script, an interactive shell and the like


def default_ledger(environment: Mapping[str, str]) -> bytes | None:
    """Return the default path of the ledger of a run in a job; None outside of a job.

    It is in the directory that the job was submitted from, and named after what a restarted job keeps: its number.
    Runs that are different steps of a job must not share a file, so all but step 0 add theirs. A restarted job counts
    its steps from 0 again, so each finds its own, if the script starts the same ones in the same order.
    """
    job = environment.get("SLURM_JOB_ID", "")
    if not job:
        return None
    array, task = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    if array and task:
        job = f"{array}_{task}"
    step = _number(environment, "SLURM_STEP_ID")
    if 0 < step < _NO_STEPS:
        job += f".{step}"
    return os.path.join(os.fsencode(environment.get("SLURM_SUBMIT_DIR", "")), os.fsencode(f"hpcp-mpi-{job}.ledger"))


def restarts(environment: Mapping[str, str]) -> int:
    """Return how often Slurm restarted the job."""
    return _number(environment, "SLURM_RESTART_COUNT")


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def job_number(environment: Mapping[str, str]) -> str:
    """Return the number of the job that this process is in; empty outside of one."""
    return environment.get("SLURM_JOB_ID", "")


def end_time(environment: Mapping[str, str]) -> float | None:
    """Return when the job's time is over, in seconds since 1970, where newer Slurms say so in the environment."""
    end = _number(environment, "SLURM_JOB_END_TIME")
    return float(end) if end else None


def parsed_end(described: str, job: str, now: float) -> float | None:
    """Return the end in seconds since 1970, from `scontrol show --oneliner job JOB`; None without a limit.

    For the number of an array, which is that of its last task, scontrol prints a line for each task.
    """
    lines = [line for line in described.splitlines() if re.search(rf"\bJobId={re.escape(job)}\b", line)]
    line = lines[0] if lines else ""
    found = re.search(r"\bEndTime=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\b", line)
    limit = re.search(r"\bTimeLimit=(\S+)", line)
    if found is None or (limit is not None and limit[1] in ("UNLIMITED", "Partition_Limit")):
        return None
    end = time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    return end if end > now else None
