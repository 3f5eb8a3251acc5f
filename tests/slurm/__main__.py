"""`make cluster`: a shell on the head of a cluster of four hosts, in which sinfo, srun and sbatch work."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

from tests.slurm.cluster import Cluster, missing
from tests.slurm.conftest import HOSTS
from tests.slurm.lab import Lab

WELCOME = """\
Four hosts, {hosts}, with a real Slurm. You are on their head, in a directory that all of them see. For example:
  sinfo
  srun --mpi=pmi2 -N3 --ntasks-per-node=2 hpcp-mpi /usr/share/doc copy
  nsenter -t "$(cat {directory}/n2.pid)" -m -n -u -i bash      (on n2; its daemons log to {directory}/log)
`exit` takes it all down, and what is in here.
"""


def main() -> int:
    reason = missing()
    if reason is not None:
        print(f"make cluster: {reason}", file=sys.stderr)
        return 1
    with Lab(HOSTS) as lab:
        place = Path(tempfile.mkdtemp(dir=lab.shared))
        settings = lab.directory / "bashrc"
        settings.write_text("PS1='cluster \\$ '\n")
        shell = ["bash", "--rcfile", os.fspath(settings)]
        if sys.stdin.isatty():
            print(WELCOME.format(hosts=", ".join(HOSTS), directory=lab.directory))
            # A terminal of its own: job control needs one whose session is among the processes that a shell can see.
            shell = ["script", "--quiet", "--return", "--command", shlex.join(shell), os.devnull]
        return lab.start(shell, env=Cluster(lab, place).environment("mpich"), cwd=place).wait()


if __name__ == "__main__":
    sys.exit(main())
