"""A volume of a distributed file system on this one machine, with clients of its own. What both of them share.

    with MooseFS() as volume:
        (volume.clients[0] / "file").touch()    # client 1 writes
        volume.settle()                         # no client believes in what it has cached before
        (volume.judge / "file").stat()          # a client that nobody works on
        run([...], wrapper=volume.wrapper)      # ranks that see clients 1 and 2 in turns at volume.shared

The servers run in namespaces that end with one process (keeper.py), and that with this one. The clients are mounted for
everyone to see. Needs root and FUSE.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.support import namespaces
from tests.support.everyone import REPOSITORY

PREFIX = "hpcp-mpi-dfs-"
PATIENCE = 60.0  # seconds for a server or a client to come up
_NAME, _ADDRESS = "storage", "10.88.0.1"
_CLIENTS = ("client1", "client2", "judge")

Argument = str | os.PathLike[str]
Self = TypeVar("Self", bound="Volume")


class VolumeError(AssertionError):
    """The file system did not come up, or a server did not obey."""


class Volume(ABC):
    """The volume, while it lasts."""

    name: str  # what it is called, for people
    programs: tuple[str, ...]  # without which there is none
    time_step_ns: int  # what it rounds times down to
    cache_seconds: float  # after which no client believes any more in what it saw before
    host, address = _NAME, _ADDRESS  # of the servers, in their own network

    def __init__(self, parent: str = "/var/tmp") -> None:
        namespaces.sweep(Path(parent), PREFIX)
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self.directory.chmod(0o755)
        self.clients = [self.directory / name for name in _CLIENTS[:2]]
        self.judge = self.directory / _CLIENTS[2]
        self.shared = self.directory / "mnt"
        for place in (*self.clients, self.judge, self.shared, self.directory / "log"):
            place.mkdir()
        with namespaces.locked(self.directory) as lock:
            # In a session of its own: Ctrl-C at the terminal is for whoever wants the volume.
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.dfs.keeper", self.directory, str(lock), _NAME, _ADDRESS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
                pass_fds=[lock],
                start_new_session=True,
            )
        try:
            self._servers = self._answer()
            if not self._servers.isdecimal():
                raise VolumeError(self._servers or "the keeper of the volume has ended")
            self.start_servers()
            for mountpoint in (*self.clients, self.judge):
                self._mount(mountpoint)
            self.made()
        except BaseException:
            self.close()
            raise

    @classmethod
    def missing(cls) -> str | None:
        """What is needed for it and not there."""
        if os.geteuid() != 0:
            return "needs root"
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        needed = (*cls.programs, "ip", "unshare", "nsenter", "setpriv")
        absent = [name for name in needed if shutil.which(name, path=path) is None]
        if absent:
            return f"not installed: {' '.join(absent)}"
        return None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "no access to /dev/fuse"

    @property
    @abstractmethod
    def version(self) -> str:
        """Which release it is."""

    @property
    @abstractmethod
    def storage_servers(self) -> int:
        """How many there are; they count from 1."""

    @abstractmethod
    def start_servers(self) -> None:
        """Start all servers and wait until clients can be."""

    @abstractmethod
    def client_command(self, mountpoint: Path) -> list[Argument]:
        """The command that mounts a client and stays in the foreground, in the servers' network."""

    @abstractmethod
    def lose_storage(self, number: int) -> None:
        """Kill a storage server."""

    @abstractmethod
    def bring_back_storage(self, number: int) -> None:
        """Start a storage server that was lost, and wait until it serves."""

    @abstractmethod
    def lose_metadata(self) -> None:
        """Kill the server that knows the names, or what comes closest."""

    @abstractmethod
    def bring_back_metadata(self) -> None:
        """Start it again, and wait until it serves."""

    @abstractmethod
    def made(self) -> None:
        """What is left to do when all clients are mounted, before they can be used."""

    @property
    def wrapper(self) -> list[str]:
        """What ranks are started by so that they see the clients, in turns, at `shared`."""
        return ["sh", str(Path(__file__).with_name("as_client.sh")), str(self.directory)]

    def settle(self) -> None:
        """Wait until no client believes in what it has cached."""
        time.sleep(self.cache_seconds)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, and wait for it."""
        namespaces.end(self._keeper, 20)
        namespaces.remove(self.directory)

    @property
    def pid(self) -> int:
        """Of the process on which everything depends."""
        return self._keeper.pid

    def run(self, words: Sequence[Argument], *, timeout: float = PATIENCE) -> str:
        """Run words beside the servers; what they print. Raises VolumeError."""
        done = self.tried(words, timeout=timeout)
        if done.returncode:
            command = " ".join(map(str, words))
            raise VolumeError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{self.logs()}")
        return done.stdout

    def tried(self, words: Sequence[Argument], *, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run words beside the servers. The caller judges the exit code."""
        in_directory = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", self.directory]
        command = [*namespaces.enter(self._servers), *in_directory, *words]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(command, text=True, timeout=timeout, **quiet)  # type: ignore[call-overload, no-any-return]

    def in_network(self, words: Sequence[Argument]) -> list[Argument]:
        """The command that runs words in the servers' network, but where the clients are mounted."""
        return ["nsenter", f"--net=/proc/{self._servers}/ns/net", "--", *words]

    def start(self, label: str, words: Sequence[Argument]) -> None:
        """Start a server that stays in the foreground; its output goes to log/LABEL, its number to LABEL.pid."""
        script = 'exec >"log/$1" 2>&1; label=$1; shift; "$@" & echo $! >"$label.pid"'
        self.run(["sh", "-c", script, "sh", label, *words])

    def kill(self, label: str) -> None:
        """Kill a server that `start` started, and wait until it has gone."""
        self.kill_process((self.directory / f"{label}.pid").read_text().strip())

    def kill_process(self, number: str) -> None:
        """Kill a process beside the servers, and wait until it has gone."""
        self.run(["sh", "-c", 'kill -KILL "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.02; done', "sh", number])

    def until(self, what: str, happened: Callable[[], object]) -> None:
        """Wait until happened() is true."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                raise VolumeError(f"{self.name}: not within {PATIENCE:.0f} s: {what}\n{self.logs()}")
            time.sleep(0.02)

    def _mount(self, mountpoint: Path) -> None:
        words = self.in_network(self.client_command(mountpoint))
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(json.dumps([os.fspath(word) for word in words]) + "\n")
        self._keeper.stdin.flush()
        if self._answer() != "done":
            raise VolumeError(f"the keeper of the volume has ended\n{self.logs()}")
        self.until(f"mounted at {mountpoint}", lambda: str(mountpoint) in namespaces.mounts(self.directory))

    def _answer(self) -> str:
        assert self._keeper.stdout is not None
        return self._keeper.stdout.readline().strip()

    def logs(self) -> str:
        """The last lines of what the servers and clients say."""
        tails = []
        for path in sorted((self.directory / "log").rglob("*")):
            if path.is_file():
                tails += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join(tails)
