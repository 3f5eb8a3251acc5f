"""The lab itself: hosts are separate, can be lost and come back, and nothing of it outlives whoever wanted it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, eventually, missing
from tests.slurm.lab import Lab
from tests.support.everyone import REPOSITORY

pytestmark = [pytest.mark.skipif(missing() is not None, reason=missing() or ""), pytest.mark.root]

# Brings up a lab with a job on it, says where it is, and waits.
OWNER = """
import sys
from tests.slurm.lab import Lab
with Lab(["n1", "n2"], sys.argv[1]) as lab:
    job = lab.start(["srun", "-N2", "sh", "-c", "echo > $0/$(hostname); exec sleep 1000", lab.shared])
    print(lab.pid, lab.directory, flush=True)
    job.wait()
    raise AssertionError("the job ended")
"""


def test_hosts_share_files_but_not_names_addresses_and_memory(cluster: Cluster) -> None:
    (cluster.place / "shared").touch()
    for host in ("n1", "n4"):
        words = ["sh", "-c", f"hostname; hostname -i; ls {cluster.place}; touch /dev/shm/of-{host}; ls -d /dev/shm/of*"]
        said = cluster.lab.run(words, host=host).stdout.split()
        assert said == [host, f"10.77.0.{host[1:]}", "shared", f"/dev/shm/of-{host}"]
    assert os.uname().nodename != "n4" and not Path("/dev/shm/of-n4").exists()


def test_a_host_that_loses_power_takes_its_processes_with_it_and_comes_back(cluster: Cluster) -> None:
    alive = cluster.place / "alive"
    with cluster.lab.start(["srun", "-w", "n4", "sh", "-c", f"echo > {alive}; exec sleep 1001"]) as srun:
        eventually("the job runs", alive.exists)
        cluster.lab.off("n4")
        assert processes("sleep", "1001") == []
        cluster.slurm("scontrol", "update", "NodeName=n4", "State=down", "Reason=off")
        srun.wait(20)
    assert cluster.lab.run(["ping", "-c1", "-W1", "n4"]).returncode != 0
    cluster.lab.boot("n4")
    assert cluster.slurm("srun", "-w", "n4", "hostname") == "n4\n"


def test_a_host_can_be_cut_off_and_joined_again(cluster: Cluster) -> None:
    reach = ["bash", "-c", "exec 3<>/dev/tcp/n3/6818"]
    cluster.lab.cut("n3")
    try:
        assert cluster.lab.run(["timeout", "0.3", *reach]).returncode != 0
    finally:
        cluster.lab.join("n3")
    eventually("n3 answers", lambda: cluster.lab.run(["timeout", "1", *reach]).returncode == 0)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("ctrl-c", marks=pytest.mark.to_the_end),
        "killed",
        pytest.param("keeper killed", marks=pytest.mark.to_the_end),
        "keeper's child killed",
    ],
)
def test_nothing_outlives_whoever_wanted_it(how: str, on_disk: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, on_disk],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        eventually("the job runs", lambda: len(list(Path(directory, "shared").iterdir())) == 2)
        assert processes("slurmd") and processes("sleep", "1000")
        victims = {"ctrl-c": (owner.pid, signal.SIGINT), "killed": (owner.pid, signal.SIGKILL)}
        victim, number = victims.get(how, (int(pid), signal.SIGKILL))
        if how == "keeper's child killed":
            victim = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        os.kill(victim, number)
        eventually("all processes are gone", lambda: not tree_of(directory))
        if how == "killed":
            eventually("its directory is gone", lambda: not Path(directory).exists())
    finally:
        owner.kill()
        owner.communicate()

    def removed_by_the_next_one() -> bool:  # which lives; what was killed may still be on its way out
        with Lab(["n1"], os.fspath(on_disk)) as lab:
            return list(on_disk.iterdir()) == [lab.directory]

    eventually("what was left is removed", removed_by_the_next_one)
    assert list(on_disk.iterdir()) == []


def test_two_labs_do_not_see_each_other(cluster: Cluster, on_disk: Path) -> None:
    with Lab(["n1", "n2"], os.fspath(on_disk)) as other:
        assert other.run(["sinfo", "-h", "-o", "%D"]).stdout == "2\n"
        assert cluster.slurm("sinfo", "-h", "-o", "%D") == "4\n"


def test_hosts_that_do_not_come_up_say_why_and_leave_nothing(on_disk: Path) -> None:
    with pytest.raises(AssertionError, match="a host is without slurmd instead of up"):
        Lab(["n1", "bad name"], os.fspath(on_disk))
    assert list(on_disk.iterdir()) == []


def processes(*words: str) -> list[int]:
    """The processes with these words in their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_text(errors="replace").split("\0")
            except OSError:
                continue
            if all(word in line for word in words):
                found.append(int(entry.name))
    return found


def tree_of(directory: str) -> list[int]:
    """The processes that have to do with the lab in that directory: by its name in arguments or environment."""
    wanted = os.fsencode(directory)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / "cmdline").read_bytes() or wanted in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
