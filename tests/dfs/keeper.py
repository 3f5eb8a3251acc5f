"""The process on which a volume depends: its servers, in namespaces of their own, and its clients, which are not.

`keeper.py DIRECTORY LOCK NAME ADDRESS` ends at the end of its standard input, a pipe from whoever wants the volume, and
unmounts the clients, ends everything and removes the directory. If it is killed, the kernel ends the processes, and
dead mounts stay until the next volume is made.

A line in, JSON of a command, starts a client; the answer is `done`. The first line out is the number of the process
whose namespaces the servers are in.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.namespaces import UNSHARE, remove, unmount

_UNTIL_I_END = ("setpriv", "--pdeathsig", "KILL")


def main(directory: Path, lock: int, name: str, address: str) -> None:
    # Whoever wants the volume answers Ctrl-C; this process has its pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = (directory / "log/clients").open("w")
    script = Path(__file__).with_name("servers.sh")
    # The servers' first process holds the lock too: the directory is needed until the kernel has taken it down.
    servers = subprocess.Popen(
        [*_UNTIL_I_END, *UNSHARE, "sh", script, directory, name, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        pass_fds=[lock],
        text=True,
    )
    processes = [servers]
    try:
        assert servers.stdout is not None
        said = servers.stdout.readline().strip()
        print(servers.pid if said == "up" else "the servers' namespaces did not come up", flush=True)
        for line in sys.stdin:
            words = [*_UNTIL_I_END, *json.loads(line)]
            processes.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True))
            print("done", flush=True)
    finally:
        unmount(directory)
        for process in reversed(processes):
            process.kill()
            process.wait()
        remove(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5])
