"""MooseFS: a master, three chunkservers, every file on two of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.dfs.volume import PATIENCE, Argument, Volume

_CHUNKSERVERS = 3
_COMMON = """\
WORKING_USER = root
WORKING_GROUP = root
LOCK_MEMORY = 0
NICE_LEVEL = 0
"""
# A chunkserver refuses a master on 127.x.
_MASTER = """\
DATA_PATH = {directory}/master
EXPORTS_FILENAME = {directory}/exports.cfg
REPLICATIONS_DELAY_INIT = 5
MATOML_LISTEN_HOST = {address}
MATOCS_LISTEN_HOST = {address}
MATOCL_LISTEN_HOST = {address}
"""
_CHUNKSERVER = """\
DATA_PATH = {directory}/{label}
HDD_CONF_FILENAME = {directory}/{label}.hdd
HDD_LEAVE_SPACE_DEFAULT = 64MiB
HDD_TEST_FREQ = 0
BIND_HOST = {address}
MASTER_HOST = {address}
MASTER_RECONNECTION_DELAY = 1
CSSERV_LISTEN_HOST = {address}
CSSERV_LISTEN_PORT = {port}
"""
_EMPTY = Path("/var/lib/mfs/metadata.mfs.empty")
_REGISTERED = "chunkserver register end"


class MooseFS(Volume):
    name = "MooseFS"
    programs = ("mfsmaster", "mfschunkserver", "mfsmount", "mfssetgoal", "mfssettrashtime")
    time_step_ns = 10**9
    cache_seconds = 1.5  # attributes and names 1 s; as mounted here ACLs and other extended attributes, too

    @property
    def version(self) -> str:
        return subprocess.run(["mfsmaster", "-v"], capture_output=True, text=True).stdout.split()[1]

    @property
    def storage_servers(self) -> int:
        return _CHUNKSERVERS

    def start_servers(self) -> None:
        (self.directory / "exports.cfg").write_text("* / rw,alldirs,admin,maproot=0:0\n* . rw\n")
        self._configure("master", _COMMON + _MASTER)
        (self.directory / "master/metadata.mfs").write_bytes(_EMPTY.read_bytes())
        self._start_master()
        for number in range(1, _CHUNKSERVERS + 1):
            label = f"chunkserver{number}"
            self._configure(label, _COMMON + _CHUNKSERVER, port=29430 + number)
            data = self.directory / label / "data"
            data.mkdir()
            (self.directory / f"{label}.hdd").write_text(f"{data}\n")
            self._start_chunkserver(number)
        self.until("all chunkservers are registered", lambda: self._registrations() == _CHUNKSERVERS)

    def client_command(self, mountpoint: Path) -> list[Argument]:
        # By default it would remember for 30 s that a directory had no ACL: no test could wait for that each time.
        options = "mfsnice=0,mfsxattrcacheto=1"
        return ["mfsmount", mountpoint, "-f", "-H", self.address, "-P", "9421", "-o", options]

    def made(self) -> None:
        for words in (["mfssetgoal", "-r", "2"], ["mfssettrashtime", "-r", "0"]):  # trash would stay for a day
            subprocess.run(self.in_network([*words, self.clients[0]]), check=True, stdout=subprocess.DEVNULL)
        self.until("the chunkservers tell of their space", lambda: self._space() > (_CHUNKSERVERS - 0.5) * self._disk())

    def lose_storage(self, number: int) -> None:
        self.kill(f"chunkserver{number}")

    def bring_back_storage(self, number: int) -> None:
        before = self._registrations()
        self._start_chunkserver(number)
        self.until("the chunkserver is registered", lambda: self._registrations() > before)

    def lose_metadata(self) -> None:
        self.kill("master")

    def bring_back_metadata(self) -> None:
        self._start_master("-a")
        self.until("all chunkservers are registered", lambda: self._registrations() == _CHUNKSERVERS)
        for client in (*self.clients, self.judge):  # each has to find the master again
            subprocess.run(["stat", "-f", client], check=True, capture_output=True, timeout=PATIENCE)

    def _configure(self, label: str, text: str, **more: object) -> None:
        (self.directory / label).mkdir()
        values = {"directory": self.directory, "address": self.address, "label": label, **more}
        (self.directory / f"{label}.cfg").write_text(text.format(**values))

    def _start_master(self, *options: str) -> None:
        self.start("master", ["mfsmaster", "-c", "master.cfg", *options, "-f", "start"])
        self.until("the master is up", lambda: "initialized properly" in self._log())

    def _start_chunkserver(self, number: int) -> None:
        label = f"chunkserver{number}"
        self.start(label, ["mfschunkserver", "-c", f"{label}.cfg", "-f", "start"])

    def _space(self) -> int:
        """Bytes in all, as clients see it. A chunkserver that is registered still has none, and gets no chunks."""
        told = os.statvfs(self.clients[0])
        return told.f_blocks * told.f_frsize

    def _disk(self) -> int:
        """What one chunkserver takes for its space: all that it may use of the disk."""
        disk = os.statvfs(self.directory)
        return (disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize

    def _log(self) -> str:
        return (self.directory / "log/master").read_text(errors="replace")

    def _registrations(self) -> int:
        """How many chunkservers this master has registered, those that came back counted again."""
        return self._log().count(_REGISTERED)
