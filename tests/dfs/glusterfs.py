"""GlusterFS: bricks of XFS, and one volume of them, of the kind that is asked for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.dfs.volume import Argument, Volume

# How many bricks each kind has, and what `volume create` says for it.
_KINDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "distribute": (3, ()),
    "replica": (2, ("replica", "2")),
    "disperse": (3, ("disperse", "3", "redundancy", "1")),
}
_VOLUME = "v"
_DAEMON = """\
volume management
    type mgmt/glusterd
    option working-directory {directory}/glusterd
    option transport-type socket
    option transport.socket.bind-address 127.0.0.1
    option transport.socket.listen-port 24007
    option ping-timeout 0
    option base-port 49152
    option max-port 60999
end-volume
"""
_CLI = ("gluster", "--mode=script")


@dataclass(frozen=True)
class _Brick:
    """A brick, as `volume status` tells of it."""

    path: str
    online: bool
    pid: str


class GlusterFS(Volume):
    programs = ("glusterd", "gluster", "glusterfs", "mkfs.xfs")
    time_step_ns = 1
    cache_seconds = 2.5  # the kernel's 1 s, and after it md-cache's

    def __init__(self, parent: str = "/var/tmp", *, kind: str = "distribute", brick_size: str = "6G") -> None:
        self.kind, self.brick_size = kind, brick_size
        self.name = f"GlusterFS ({kind})"
        super().__init__(parent)

    @property
    def version(self) -> str:
        return subprocess.run(["glusterfs", "--version"], capture_output=True, text=True).stdout.split()[1]

    @property
    def storage_servers(self) -> int:
        return _KINDS[self.kind][0]

    def start_servers(self) -> None:
        logs = self.directory / "log/gluster"
        for place in (logs, self.directory / "glusterd"):
            place.mkdir()
        self.run(["mount", "--bind", logs, "/var/log/glusterfs"])
        self._hide_replication()
        (self.directory / "glusterd.vol").write_text(_DAEMON.format(directory=self.directory))
        self._start_daemon()
        bricks = [self._make_brick(number) for number in range(1, self.storage_servers + 1)]
        self._gluster("create", _VOLUME, *_KINDS[self.kind][1], "transport", "tcp", *bricks, "force")
        self._gluster("start", _VOLUME)
        # The clients are in the servers' network, but know no names of it.
        volfile = self.run([*_CLI, "system::", "getspec", _VOLUME])
        (self.directory / "client.vol").write_text(volfile.replace(f"remote-host {self.host}", "remote-host 127.0.0.1"))

    def client_command(self, mountpoint: Path) -> list[Argument]:
        log = self.directory / f"log/{mountpoint.name}"
        volfile = self.directory / "client.vol"
        return ["glusterfs", "--acl", "-f", volfile, "--process-name", "fuse", "-N", "-l", log, mountpoint]

    def made(self) -> None:
        numbers = range(1, self.storage_servers + 1)
        self.until("all clients have found all bricks", lambda: all(map(self._is_connected, numbers)))

    def lose_storage(self, number: int) -> None:
        self.kill_process(self._brick(number).pid)

    def bring_back_storage(self, number: int) -> None:
        # Before it knows that the brick is gone, `start force` says success and leaves it off.
        self.until("the brick is known to be off", lambda: not self._brick(number).online)
        self._gluster("start", _VOLUME, "force")
        self.until("the brick is on", lambda: self._brick(number).online)
        self.until("all clients have found the brick", lambda: self._is_connected(number))

    def lose_metadata(self) -> None:
        """Kill the daemon that manages the volume; there is none that knows the names."""
        self.kill("glusterd")

    def bring_back_metadata(self) -> None:
        self._start_daemon()
        self.until("all bricks are on", lambda: all(brick.online for brick in self._bricks()))

    def _start_daemon(self) -> None:
        self.start("glusterd", ["glusterd", "-f", "glusterd.vol", "-N", "-l", "log/glusterd.log"])
        self.until("glusterd answers", lambda: self.tried([*_CLI, "volume", "info"]).returncode == 0)

    def _hide_replication(self) -> None:
        """Have glusterd find no geo-replication, which it would ask for its settings by 15 starts of a Python."""
        gone = self.directory / "gone"
        gone.write_text("#!/nonexistent\n")
        gone.chmod(0o755)
        for program in Path("/usr").glob("lib*/**/glusterfs/gsyncd"):
            self.run(["mount", "--bind", gone, program])

    def _make_brick(self, number: int) -> str:
        """Make the file system of a brick; how gluster calls the brick."""
        image, place = self.directory / f"image{number}", self.directory / f"brick{number}"
        place.mkdir()
        with image.open("wb"):
            self.run(["truncate", "-s", self.brick_size, image])
        self.run(["mkfs.xfs", "-q", image])
        self.run(["mount", "-o", "loop,discard", image, place])
        return f"{self.host}:{place}/b"

    def _gluster(self, *words: str) -> str:
        return self.run([*_CLI, "volume", *words])

    def _is_connected(self, number: int) -> bool:
        """Whether all clients are connected to a brick. They look for one that was lost every 3 s."""
        state = f".meta/graphs/active/{_VOLUME}-client-{number - 1}/private"
        return all("connected = 1" in (client / state).read_text() for client in (*self.clients, self.judge))

    def _bricks(self) -> list[_Brick]:
        told = ElementTree.fromstring(self.run([*_CLI, "--xml", "volume", "status", _VOLUME]))
        nodes = [{field.tag: field.text or "" for field in node} for node in told.iter("node")]
        return [_Brick(node["path"], node["status"] == "1", node["pid"]) for node in nodes if node["path"][:1] == "/"]

    def _brick(self, number: int) -> _Brick:
        (found,) = (brick for brick in self._bricks() if brick.path.endswith(f"/brick{number}/b"))
        return found
