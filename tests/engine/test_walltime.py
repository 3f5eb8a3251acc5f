"""When a batch job's time is over, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.cluster.slurm import parsed_end
from hpcp_mpi.engine import walltime as job_end
from hpcp_mpi.engine.walltime import before_the_end
from hpcp_mpi.vocab.errors import EXIT_RESUMABLE, FatalError

NOW = time.mktime((2025, 3, 1, 12, 0, 0, 0, 0, -1))
FORMAT = "%Y-%m-%dT%H:%M:%S"

# As `scontrol show --oneliner job` of several versions prints it, shortened in the middle.
SLURM_17 = (
    "JobId=4711 JobName=copy UserId=me(1000) GroupId=me(1000) MCS_label=N/A Priority=4294901755 Nice=0 Account=(null)"
    " QOS=normal JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0"
    " RunTime=00:00:05 TimeLimit={limit} TimeMin=N/A SubmitTime=2025-03-01T11:59:54 EligibleTime=2025-03-01T11:59:54"
    " StartTime=2025-03-01T11:59:55 EndTime={end} Deadline=N/A PreemptTime=None SuspendTime=None SecsPreSuspend=0"
)
SLURM_23 = (
    "JobId=4711 ArrayJobId=4709 ArrayTaskId=1 ArrayTaskThrottle=5 JobName=copy UserId=me(1000) GroupId=me(1000)"
    " JobState=RUNNING Reason=None RunTime=00:00:05 TimeLimit={limit} TimeMin=N/A SubmitTime=2025-03-01T11:59:54"
    " AccrueTime=2025-03-01T11:59:54 StartTime=2025-03-01T11:59:55 EndTime={end} Deadline=N/A SuspendTime=None"
    " LastSchedEval=2025-03-01T11:59:55 Scheduler=Main Partition=main AllocNode:Sid=head:99 TresPerJob=cres/x:1"
)


@pytest.mark.parametrize("words", [SLURM_17, SLURM_23])
def test_scontrol_tells_the_end(words: str) -> None:
    told = words.format(limit="01:00:00", end="2025-03-01T12:59:55")
    assert parsed_end(told, "4711", NOW) == NOW + 3595
    assert parsed_end(told + "\n", "4711", NOW) == NOW + 3595


@pytest.mark.parametrize("words", [SLURM_17, SLURM_23])
@pytest.mark.parametrize(
    "limit, end",
    [
        ("UNLIMITED", "2026-03-01T12:00:00"),  # a year ahead, as Slurm says then
        ("UNLIMITED", "CannotVerify"),
        ("Partition_Limit", "2025-03-01T12:59:55"),
        ("01:00:00", "CannotVerify"),
        ("01:00:00", "2025-03-01T11:59:00"),  # over: it is running all the same
    ],
)
def test_a_job_without_an_end_has_none(words: str, limit: str, end: str) -> None:
    assert parsed_end(words.format(limit=limit, end=end), "4711", NOW) is None


def test_of_an_array_only_the_job_itself_counts() -> None:
    """The array's number is that of its last task: asked for it, scontrol shows all tasks."""
    others = [("4709", "2025-03-01T12:10:00"), ("4710", "2025-03-01T12:20:00"), ("4711", "2025-03-01T12:30:00")]
    told = "\n".join(SLURM_23.replace("4711", job).format(limit="01:00:00", end=end) for job, end in others)
    assert [parsed_end(told, job, NOW) for job, _ in others] == [NOW + 600, NOW + 1200, NOW + 1800]


@pytest.mark.parametrize("told", ["", "slurm_load_jobs error: Invalid job id specified", "JobId=47110 EndTime=x"])
def test_what_is_not_understood_tells_nothing(told: str) -> None:
    assert parsed_end(told, "4711", NOW) is None


class Slurm:
    """Answers for scontrol."""

    def __init__(self) -> None:
        self.end: float | None = None
        self.request = 0

    def __call__(self, *command: str) -> str | None:
        assert command == ("scontrol", "show", "--oneliner", "job", "4711")
        self.request += 1
        if self.end is None:
            return None  # there is no such command
        return SLURM_23.format(limit="01:00:00", end=time.strftime(FORMAT, time.localtime(self.end)))


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    request = Slurm()
    monkeypatch.setattr(job_end, "output_of", request)
    return request


JOB = {"SLURM_JOB_ID": "4711"}


def stopped(minutes: float | None, environment: Mapping[str, str], patience: float = 5.0) -> tuple[StopRequest, str]:
    """The request of a run that goes on until it is asked to stop, or for patience seconds; and what was said."""
    stop, said = StopRequest(), []
    with before_the_end(minutes, environment, stop, said.append):
        deadline = time.monotonic() + patience
        while not stop.code and time.monotonic() < deadline:
            time.sleep(0.01)
    return stop, "\n".join(said)


def test_the_run_is_asked_to_stop_before_the_end(slurm: Slurm) -> None:
    end = int(time.time()) + 8
    stop, said = stopped(7 / 60, JOB | {"SLURM_JOB_END_TIME": str(end)})
    assert (stop.code, stop.name, stop.urgent) == (EXIT_RESUMABLE, "the time limit of the job", False)
    assert stop.patience == pytest.approx(3.5)  # half of what is left then, and a minute at most
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end - 7)) in said
    assert slurm.request == 0


def test_unasked_it_is_a_tenth_of_a_short_job(slurm: Slurm) -> None:
    end = int(time.time()) + 600
    stop, said = stopped(None, JOB | {"SLURM_JOB_END_TIME": str(end)}, 0.05)
    assert stop.code == 0
    moments = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end - early)) for early in (58, 59, 60)]
    assert any(moment in said for moment in moments), said


def test_an_end_that_is_over_was_put_off_so_slurm_is_asked(slurm: Slurm) -> None:
    slurm.end = time.time() + 3600
    stop, said = stopped(None, JOB | {"SLURM_JOB_END_TIME": str(int(time.time()) - 5)}, 0.2)
    assert (stop.code, slurm.request) == (0, 1)
    assert "time limit stops this run at" in said


def test_where_no_end_is_known_nothing_happens_unless_it_was_asked_for(slurm: Slurm) -> None:
    for environment in ({}, JOB):
        assert stopped(None, environment, 0.02)[1] == ""
        with pytest.raises(FatalError, match="--stop-before: the time limit of this job is unknown"):
            stopped(5, environment)


def test_more_than_is_left_is_refused(slurm: Slurm) -> None:
    with pytest.raises(FatalError, match=r"only (1\.9|2\.0) minutes are left"):
        stopped(10, JOB | {"SLURM_JOB_END_TIME": str(int(time.time()) + 120)})


def test_a_run_that_ended_is_asked_nothing_any_more(slurm: Slurm) -> None:
    stop = StopRequest()
    with before_the_end(1 / 60, JOB | {"SLURM_JOB_END_TIME": str(int(time.time()) + 2)}, stop, lambda _: None):
        pass
    time.sleep(1.2)
    assert stop.code == 0
