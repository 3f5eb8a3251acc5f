"""A Docker engine of our own, with the images of this repository in it.

    with Engine() as engine:
        with engine.up("host"):
            engine.build("hpcp-mpi")
        with engine.up("private"):
            engine.docker("run", "--rm", "hpcp-mpi", "id")

It is in namespaces (engine.sh): the machine's own Docker, its network and its firewall rules are not touched, and
nothing is left of it, be this process killed. It cannot reach the network from a network of its own, so images are
built in the machine's. Needs root.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.docker import base
from tests.docker.commands import Argument, insist, run
from tests.support.everyone import REPOSITORY

# Debian's: others may be in front of it on PATH.
DOCKER = "/usr/bin/docker"
COMPOSE = "/usr/bin/docker-compose"
COMMANDS = (DOCKER, COMPOSE, "dockerd", "containerd", "runc", "iptables", "ip", "unshare", "mmdebstrap")
DOCKERFILE = REPOSITORY / "docker/Dockerfile"
_PATIENCE = 60.0  # seconds for the daemon to come up


class Engine:
    """The engine. Off at first; images stay while it is off."""

    def __init__(self, parent: str = "/var/tmp") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hpcp-mpi-docker-", dir=parent))
        self._keeper = subprocess.Popen(
            ["sh", Path(__file__).with_name("engine.sh"), self.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is for this process
        )

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait(60)
        self._keeper.stdout.close()

    @contextmanager
    def up(self, network: str) -> Iterator[None]:
        """Have the daemon run, in the `host` network or in a `private` one."""
        self._tell(network)
        try:
            self._wait_for_daemon()
            yield
        finally:
            self._tell("stop")
            assert self._keeper.stdout is not None
            self._keeper.stdout.readline()

    def _tell(self, line: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(line + "\n")
        self._keeper.stdin.flush()

    def _wait_for_daemon(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while run([DOCKER, "version"], env=self.environment).returncode:
            if time.monotonic() > deadline:
                raise AssertionError(f"dockerd does not answer after {_PATIENCE:.0f} s:\n{self.log()}")
            time.sleep(0.1)

    @property
    def environment(self) -> Mapping[str, str]:
        """For docker and docker-compose. The configuration of whoever runs the tests is not used."""
        kept = {key: value for key, value in os.environ.items() if not re.match("DOCKER_|COMPOSE_", key)}
        return {
            **kept,
            "DOCKER_HOST": f"unix://{self.directory}/docker.sock",
            "DOCKER_CONFIG": str(self.directory / "config"),
            # Both build alike, so that what one has built is the other's cache. Debian has no BuildKit client.
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_DOCKER_CLI_BUILD": "1",
            "PATH": f"/usr/bin:{os.environ.get('PATH', os.defpath)}",
        }

    def log(self) -> str:
        """The last lines of what the daemon said."""
        log = self.directory / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) if log.exists() else ""

    def run(self, *words: Argument, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """docker with these words; the caller judges the exit code."""
        return run([DOCKER, *words], env=self.environment, timeout=timeout)

    def docker(self, *words: Argument, timeout: float = 120) -> str:
        """docker with these words; what it printed. Fails with everything that was said."""
        return insist([DOCKER, *words], env=self.environment, timeout=timeout)

    def compose(self, *words: Argument, timeout: float = 120) -> str:
        """docker-compose with these words in the directory of compose.yaml."""
        return insist([COMPOSE, *words], env=self.environment, timeout=timeout, cwd=DOCKERFILE.parent)

    def load_base(self) -> None:
        """Have an image of the name that the Dockerfile starts from; no registry is asked."""
        self.docker("import", base.tarball(), "debian:of-the-mirror")
        context = self.directory / "base"
        context.mkdir()
        base.write_context(context, "debian:of-the-mirror")
        self.docker("build", "-t", base.NAME, context)

    def build(self, tag: str, *options: str) -> None:
        """Build what docker/README.md says. Steps that load packages are tried again; those that succeeded are kept."""
        words = [DOCKER, "build", "--network=host", "-t", tag, *options, "-f", DOCKERFILE, REPOSITORY]
        insist(words, env=self.environment, timeout=400, attempts=2)


def missing() -> str | None:
    """What is needed for all this and not there."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in COMMANDS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    return f"not installed: {' '.join(absent)}" if absent else None
