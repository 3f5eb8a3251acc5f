"""The engine itself: nothing of it outlives whoever wanted it, and the machine's network stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.engine import missing
from tests.slurm.cluster import eventually
from tests.support.effort import each_value
from tests.support.everyone import REPOSITORY
from tests.support.marks import needs_commands

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    needs_commands("gcc"),
    pytest.mark.root,
    pytest.mark.slow,
]

# Starts an engine with a container on it, says where it is, and waits.
OWNER = """
import subprocess, sys
from tests.docker.engine import DOCKER, Engine
with Engine(sys.argv[1]) as engine:
    with engine.up(sys.argv[2]):
        context = engine.directory / "context"
        context.mkdir()
        compile = ["gcc", "-static", "-w", "-x", "c", "-", "-o", context / "wait"]
        subprocess.run(compile, input=b"int main() { pause(); }", check=True)
        subprocess.run(["tar", "-cf", context / "all.tar", "-C", context, "wait"], check=True)
        engine.docker("import", context / "all.tar", "box")
        net = [] if sys.argv[2] == "private" else ["--network=none"]
        engine.docker("run", "--detach", "--stop-timeout=1", *net, "box", "/wait")
        print(engine.directory, flush=True)
        sys.stdin.read()
        raise AssertionError("asked to end")
"""


@each_value
@pytest.mark.parametrize("network", ["host", "private"])
@pytest.mark.parametrize("how", ["failure", "killed"])
def test_nothing_outlives_whoever_wanted_it(how: str, network: str, on_disk: Path) -> None:
    links = set(os.listdir("/sys/class/net"))
    command = [sys.executable, "-c", OWNER, on_disk, network]
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, **quiet) as owner:
        assert owner.stdout is not None and owner.stdin is not None
        directory = owner.stdout.readline().strip()
        assert len(processes_about(directory)) > 3
        if how == "killed":
            owner.kill()
        owner.stdin.close()
        owner.wait(60)
    eventually("its files are gone", lambda: not Path(directory).exists())
    eventually("its processes are gone", lambda: processes_about(directory) == [])
    groups = [*Path("/sys/fs/cgroup").glob(f"*/{Path(directory).name}"), Path("/sys/fs/cgroup") / Path(directory).name]
    eventually("its cgroups are gone", lambda: not any(group.exists() for group in groups))
    assert set(os.listdir("/sys/class/net")) <= links


def processes_about(directory: str) -> list[str]:
    """The processes that name the directory of an engine, and those in its containers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_text(errors="replace").split("\0")
                groups = (entry / "cgroup").read_text()
            except OSError:
                continue
            if any(directory in word for word in words) or Path(directory).name in groups:
                found.append(entry.name)
    return found
