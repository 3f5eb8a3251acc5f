"""The first process of a lab: makes the hosts, starts Slurm, obeys, and with it everything ends.

`keeper.py LAB HOST...` runs in mount, network, host name, IPC and process namespaces of its own, all of which the
kernel takes down when it ends, whatever it started and however it ended. It ends at the end of its standard input,
which is a pipe from whoever wants the lab: so it does not outlive that process, be it killed.

A line in, a line out: `off HOST` (power lost), `boot HOST`, `cut HOST` and `join HOST` (its network card). The answer
is `done`, or what went wrong. The first line out says that all nodes are idle.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.namespaces import UNSHARE

HEAD = "head"
_NETWORK = "10.77.0"
_PATIENCE = 60.0  # seconds for the daemons to come up

_SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={head}({head_address})
AuthType=auth/munge
# How long a credential of a job holds, and so how long a requeued job has to wait.
AuthInfo=cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SlurmdTimeout=10
JobRequeue=1
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
StateSaveLocation={lab}/state
SlurmctldPidFile=/run/slurmctld.pid
SlurmctldLogFile={lab}/log/slurmctld
SlurmdPidFile=/run/slurmd.pid
SlurmdLogFile={lab}/log/%n
SlurmdSpoolDir=/run/slurmd
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_MPI_CONF = "PMIxCliTmpDirBase=/run/node\nPMIxDirectConn=true\n"


class Keeper:
    """The lab from inside."""

    def __init__(self, lab: Path, names: Sequence[str]) -> None:
        self.lab = lab
        self.addresses = {name: f"{_NETWORK}.{number}" for number, name in enumerate(names, 1)}
        self.hosts: dict[str, subprocess.Popen[str]] = {}

    def start(self) -> None:
        self._write_files()
        _run("hostname", HEAD)
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run")
        _run("mount", "--bind", self.lab / "hosts", "/etc/hosts")
        self._name_pmix()
        Path("/run/node").mkdir()
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "br0", "type", "bridge")
        _run("ip", "address", "add", f"{_NETWORK}.254/24", "dev", "br0")
        _run("ip", "link", "set", "br0", "up")
        _run("sh", Path(__file__).with_name("munge.sh"), self.lab)
        log = (self.lab / "log/slurmctld.out").open("w")
        subprocess.Popen(["slurmctld", "-i", "-D"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for name in self.addresses:
            self._boot(name)
        self._until_idle(self.addresses)

    def _write_files(self) -> None:
        for name in ("log", "state"):
            (self.lab / name).mkdir()
        key = self.lab / "munge.key"
        key.touch(0o400)
        key.write_bytes(os.urandom(128))
        addresses = {**self.addresses, HEAD: f"{_NETWORK}.254", "localhost": "127.0.0.1"}
        lines = (f"{address} {name}\n" for name, address in addresses.items())
        (self.lab / "hosts").write_text("".join(lines))
        nodes = "\n".join(
            f"NodeName={name} NodeAddr={address} CPUs=8 RealMemory=4000" for name, address in self.addresses.items()
        )
        configuration = _SLURM_CONF.format(lab=self.lab, head=HEAD, head_address=addresses[HEAD], nodes=nodes)
        (self.lab / "slurm.conf").write_text(configuration)
        (self.lab / "mpi.conf").write_text(_MPI_CONF)

    def _name_pmix(self) -> None:
        """Debian's Slurm loads libpmix.so, which only libpmix-dev and a dozen packages with it would bring."""
        for library in Path("/usr/lib").glob("*/pmix2/lib/libpmix.so.2"):
            if not library.with_suffix("").exists():
                beside = self.lab / "pmix"
                shutil.copytree(library.parent, beside, symlinks=True)
                (beside / "libpmix.so").symlink_to(library.name)
                _run("mount", "--bind", beside, library.parent)

    def _boot(self, name: str) -> None:
        script = Path(__file__).with_name("host.sh")
        host = subprocess.Popen(
            [*UNSHARE, "sh", script, name, self.addresses[name], self.lab],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert host.stdin is not None
        self._expect(host, "unshared")
        # unshare itself is in the host's network already.
        _run("ip", "link", "add", _card(name), "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        _run("ip", "link", "set", _card(name), "master", "br0", "up")
        host.stdin.write("\n")
        host.stdin.flush()
        self._expect(host, "up")
        self.hosts[name] = host
        (self.lab / f"{name}.pid").write_text(str(host.pid))

    @staticmethod
    def _expect(host: subprocess.Popen[str], word: str) -> None:
        assert host.stdout is not None
        said = host.stdout.readline().strip()
        if said != word:
            raise OSError(f"a host is {said or 'gone'} instead of {word}")

    def boot(self, name: str) -> None:
        self._boot(name)
        self._until_idle([name])

    def off(self, name: str) -> None:
        host = self.hosts.pop(name)
        self.cut(name)  # first: who loses power does not even close its connections
        host.kill()  # the kernel kills the rest of the host, and its network card goes with the network
        host.wait()
        # That may take the kernel a while, and a host that is booted gets a card of the same name.
        subprocess.run(["ip", "link", "delete", _card(name)], stderr=subprocess.DEVNULL)

    def cut(self, name: str) -> None:
        _run("ip", "link", "set", _card(name), "down")

    def join(self, name: str) -> None:
        _run("ip", "link", "set", _card(name), "up")

    def _until_idle(self, names: Sequence[str] | dict[str, str]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            done = subprocess.run(
                ["sinfo", "-h", "-N", "-o", "%N %T", "-n", ",".join(names)], capture_output=True, text=True
            )
            if sorted(done.stdout.split("\n")[:-1]) == sorted(f"{name} idle" for name in names):
                return
            if time.monotonic() > deadline:
                raise OSError(f"not all nodes are idle after {_PATIENCE:.0f} s: {done.stdout!r} {done.stderr!r}")
            time.sleep(0.05)

    def obey(self, line: str) -> str:
        """Do what a line says; return what to answer."""
        verbs: dict[str, Callable[[str], None]] = {
            "off": self.off,
            "boot": self.boot,
            "cut": self.cut,
            "join": self.join,
        }
        verb, name = line.split()
        try:
            verbs[verb](name)
        except (OSError, KeyError) as error:
            return f"{line.strip()}: {error}"
        return "done"


def _card(name: str) -> str:
    return f"to-{name}"


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def _end(lab: Path) -> None:
    """Kill everything and remove what it wrote. The namespaces end with this process."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    shutil.rmtree(lab, ignore_errors=True)


def main(lab: Path, names: Sequence[str]) -> None:
    os.environ |= {"SLURM_CONF": str(lab / "slurm.conf"), "TMPDIR": "/run/node"}
    # Whoever wants the lab answers Ctrl-C; this process has its pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        keeper = Keeper(lab, names)
        try:
            keeper.start()
        except OSError as error:
            print(error, flush=True)
            sys.stdin.read()  # so that the logs can be read first
            return
        print("done", flush=True)
        for line in sys.stdin:
            print(keeper.obey(line), flush=True)
    finally:
        _end(lab)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
