"""Under srun of a real Slurm: a rank is killed or stopped, a node loses power or its network. The copy is completed.

With MPICH: the plugin for Open MPI cancels the whole step when a task of it is gone. Where a node is gone srun waits
for Slurm to find out: rank 0's last line is what counts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import Cluster, eventually, missing, on_slow_storage
from tests.support import oracle
from tests.support.copies import stages
from tests.support.marks import needs_commands, needs_fuse
from tests.support.trees import Dir, File, HardLink, Node, build, flat

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    needs_commands("rsync"),
    needs_fuse,
    pytest.mark.mpi,
    pytest.mark.root,
]
MIB = 1 << 20
TIMEOUT = 3  # seconds of silence
# Between nodes MPICH goes over UCX, which ends all ranks with a segmentation fault when a connection is closed, as that
# of a rank that leaves is. Over OFI it does not, but hangs at the start once in twenty times: not in every build.
CHAOS = bool(os.environ.get("HPCP_MPI_CHAOS"))
NETWORK = {"MPIR_CVAR_CH4_NETMOD": "ofi"} if CHAOS else {}
SURVIVING = ("--no-kill", "--kill-on-bad-exit=0", "--wait=0")
PATIENCE = 60.0


@dataclass
class Run:
    """A run that is under way on six ranks, two a node."""

    cluster: Cluster
    srun: subprocess.Popen[str]
    src: Path
    backing: Path
    report: Path
    output: Path

    def at_work(self, rank: int) -> None:
        """Wait until a rank has a stage."""
        pattern = f"*/.hpcp-mpi.*.{rank}.*"
        find = ["find", self.backing, "-path", pattern, "-print", "-quit"]
        quiet: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        eventually(f"rank {rank} at work", lambda: subprocess.run(find, **quiet).stdout or self.over(), PATIENCE)
        assert not self.over(), self.said()

    def over(self) -> bool:
        return self.report.exists() or self.srun.poll() is not None

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def says(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.said(), re.MULTILINE)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r}:\n{self.said()}"
            time.sleep(0.02)
        return found

    def process(self, rank: int) -> tuple[int, str]:
        """The pid of a rank, as this machine sees it, and its host."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if not entry.name.isdecimal() or os.fsencode(self.report) not in (entry / "cmdline").read_bytes():
                    continue
                words = dict(word.split(b"=", 1) for word in (entry / "environ").read_bytes().split(b"\0") if word)
                threads = len(list((entry / "task").iterdir()))
                if words.get(b"SLURM_PROCID") == b"%d" % rank and b"PMI_RANK" in words and threads > 1:
                    return int(entry.name), words[b"SLURMD_NODENAME"].decode()
        raise AssertionError(f"no rank {rank}\n{self.said()}")

    def completed(self, lost: dict[int, str]) -> None:
        """Wait for the end: all is copied, and the report names who was lost. lost: nodes by rank"""
        last = self.says(r"hpcp-mpi: (done: .* in \S+|.*\(exit code \d+\))$")
        assert last[1].startswith("done: "), self.said()
        eventually("a report", self.report.exists, PATIENCE)
        report = json.loads(self.report.read_text())
        assert report["exit_code"] == 0 and report["failures"] == [], self.said()
        assert {each["rank"]: each["node"] for each in report["ranks"] if each["lost"]} == lost, self.said()
        for rank, node in lost.items():
            assert f"lost: rank {rank} on {node} " in self.said()
        assert "Traceback" not in self.said() and "Segmentation" not in self.said()
        assert stages(self.backing) == []
        oracle.assert_equal_trees(self.src, self.backing)


@pytest.fixture
def running(cluster: Cluster) -> Iterator[Run]:
    """A copy of small files, big ones and links to a slow destination."""
    src, backing, mount = (cluster.place / name for name in ("src", "backing", "mount"))
    more: dict[str, Node] = {
        "big": Dir({f"big{i}": File(os.urandom(6 * MIB), mtime_ns=6) for i in range(3)}, mtime_ns=10),
        "twins": Dir({f"twin{i}": HardLink(f"dir00000/file{i:07}") for i in range(20)}, mtime_ns=11),
    }
    build(src, {**flat(1200, per_directory=50), **more})
    report, output = cluster.place / "report.json", cluster.place / "output"
    with on_slow_storage(cluster.lab, backing, mount, data_us=4000):
        words = ["--heartbeat-timeout", f"{TIMEOUT}", "-f", "15", "-j", "2", "--split-size", "1M", "--json", report]
        command = cluster.command([*words, f"{src}/", f"{mount}/"], options=SURVIVING)
        with output.open("w") as file:
            srun = cluster.lab.start(
                command,
                env=cluster.environment("mpich") | NETWORK,
                cwd=cluster.place,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Run(cluster, srun, src, backing, report, output)
        finally:
            end(cluster, srun)


def end(cluster: Cluster, srun: subprocess.Popen[str]) -> None:
    cluster.slurm("scancel", "--signal=KILL", "--user=root")
    cluster.slurm("scancel", "--user=root")
    srun.kill()
    srun.wait()


@contextmanager
def mended(mend: Callable[[str], None], host: str) -> Iterator[None]:
    """Have a host be as before in any case."""
    try:
        yield
    finally:
        mend(host)


def test_a_rank_is_killed_and_the_next_run_goes_on(running: Run) -> None:
    running.at_work(3)
    pid, host = running.process(3)
    os.kill(pid, signal.SIGKILL)
    # Over UCX MPICH ends the others with a segmentation fault, or they find out that rank 0 is gone: nobody stays.
    assert running.srun.wait(PATIENCE) > 128, running.said()
    assert f"{host}: task 3: Killed" in running.said(), running.said()
    mount = running.backing.parent / "mount"
    again = running.cluster.srun([f"{running.src}/", f"{mount}/", "--split-size", "1M"])
    assert again.returncode == 0, again.stderr
    assert stages(running.backing) == []
    oracle.assert_equal_trees(running.src, running.backing)


def test_a_node_loses_power(running: Run) -> None:
    running.at_work(5)
    _, host = running.process(5)
    with mended(running.cluster.lab.boot, host):
        running.cluster.lab.off(host)
        try:
            running.completed({4: host, 5: host})
        finally:
            end(running.cluster, running.srun)  # else Slurm takes the host for busy


def is_zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


if CHAOS:

    def test_a_rank_is_stopped_and_goes_on_later(running: Run) -> None:
        running.at_work(4)
        pid, host = running.process(4)
        os.kill(pid, signal.SIGSTOP)
        running.says(rf"rank 4 on {host} sent no heartbeat for {TIMEOUT} s; its work goes to other ranks")
        os.kill(pid, signal.SIGCONT)
        running.says("rank 4 on .* leaves: ")
        running.completed({4: host})
        assert running.srun.wait(PATIENCE) == 75, "srun tells of the rank that had to leave"

    def test_a_node_is_cut_off_and_comes_back(running: Run) -> None:
        running.at_work(2)
        pid, host = running.process(2)
        with mended(running.cluster.lab.join, host):
            running.cluster.lab.cut(host)
            running.says(rf"rank 2 on {host} (sent no heartbeat|is unreachable)")
            eventually("it leaves", lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid), PATIENCE)
        running.completed({2: host, 3: host})
