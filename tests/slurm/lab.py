"""Hosts with addresses, names and mounts of their own on this one machine, and a Slurm cluster on them.

    with Lab(["n1", "n2", "n3"]) as lab:
        lab.run(["srun", "-N3", "hostname"])            # on the head
        lab.run(["mount", ...], host="n2")
        lab.off("n3")                                   # as when it loses power

All hosts see this machine's files, `lab.shared` among them, but have a /run and a /dev/shm of their own, and so does
the head. Everything is in namespaces that end with one process (keeper.py), and that with this one: nothing is left of
a lab, and several do not see each other. Needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.everyone import REPOSITORY
from tests.support.namespaces import UNSHARE, end, enter, locked, remove, sweep

DAEMONS = ("slurmctld", "slurmd", "srun", "munged", "ip", "unshare", "nsenter")
_PREFIX = "hpcp-mpi-slurm-"
_IN = 'cd "$1" && shift && exec "$@"'

Argument = str | os.PathLike[str]


class LabError(AssertionError):
    """The hosts did not come up, or did not obey."""


class Lab:
    """The cluster, while it lasts."""

    def __init__(self, hosts: Sequence[str], parent: str = "/var/tmp") -> None:
        self.hosts = tuple(hosts)
        sweep(Path(parent), _PREFIX)
        self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self.directory.chmod(0o755)
        self.shared = self.directory / "shared"
        self.shared.mkdir(mode=0o1777)
        self.environment = {"SLURM_CONF": str(self.directory / "slurm.conf"), "TMPDIR": "/run/node"}
        with locked(self.directory) as lock:
            # In a session of its own: Ctrl-C at the terminal is for whoever wants the lab.
            self._keeper = subprocess.Popen(
                [*UNSHARE, sys.executable, "-m", "tests.slurm.keeper", self.directory, *self.hosts],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
                pass_fds=[lock],
                start_new_session=True,
            )
        try:
            self._expect_done()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, and wait for it."""
        end(self._keeper, 10)
        remove(self.directory)

    @property
    def pid(self) -> int:
        """Of the process on which everything depends."""
        return self._keeper.pid

    def command(self, words: Sequence[Argument], *, host: str | None = None, cwd: Argument = "/") -> list[str]:
        """The command that runs words on a host, by default the head."""
        inner = enter((self.directory / f"{host}.pid").read_text()) if host is not None else []
        return [*enter(str(self._keeper.pid)), *inner, "sh", "-c", _IN, "sh", *map(os.fspath, (cwd, *words))]

    def start(
        self,
        words: Sequence[Argument],
        *,
        host: str | None = None,
        cwd: Argument = "/",
        env: Mapping[str, str] | None = None,
        **setting: Any,
    ) -> subprocess.Popen[str]:
        """Start words on a host. Nothing it starts outlives the lab."""
        surroundings = {**os.environ, **self.environment, **(env or {})}
        command = self.command(words, host=host, cwd=cwd)
        return subprocess.Popen(command, env=surroundings, text=True, errors="surrogateescape", **setting)

    def run(
        self, words: Sequence[Argument], *, timeout: float = 60, **setting: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run words on a host, by default the head, and wait. The caller judges the exit code."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.start(words, **{**quiet, **setting})
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def off(self, host: str) -> None:
        """Have a host lose power."""
        self._tell(f"off {host}")

    def boot(self, host: str) -> None:
        """Boot a host that is off, and wait until Slurm may use it."""
        self._tell(f"boot {host}")

    def cut(self, host: str) -> None:
        """Take a host off the network."""
        self._tell(f"cut {host}")

    def join(self, host: str) -> None:
        """Bring it back to the network."""
        self._tell(f"join {host}")

    def _tell(self, line: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(line + "\n")
        self._keeper.stdin.flush()
        self._expect_done()

    def _expect_done(self) -> None:
        assert self._keeper.stdout is not None
        answer = self._keeper.stdout.readline().strip()
        if answer != "done":
            raise LabError(f"{answer or 'the keeper of the hosts has ended'}\n{self.logs()}")

    def logs(self) -> str:
        """The last lines of what the daemons say."""
        tails = []
        for path in sorted((self.directory / "log").glob("*")):
            tails += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(tails)
