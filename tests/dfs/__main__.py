"""`make dfs`: a shell beside a volume of MooseFS or GlusterFS, with two clients and one that judges mounted."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from tests.dfs.glusterfs import GlusterFS
from tests.dfs.moosefs import MooseFS
from tests.dfs.volume import Volume
from tests.support import launch

KINDS: dict[str, type[Volume]] = {"moosefs": MooseFS, "glusterfs": GlusterFS}
WELCOME = """\
{name} {version} in {directory}: clients 1 and 2 at client1 and client2, and a third at judge. For example:
  mpiexec -n 4 $RANKS hpcp-mpi /usr/share/doc $SHARED/copy    (the ranks see clients 1 and 2 in turns at $SHARED)
  rsync -aHAX --checksum --delete -n -i /usr/share/doc/ judge/copy/
  ls log                                                      (what the servers and clients say)
`exit` takes it all down, and what is in there.
"""


def main(kind: str = "moosefs") -> int:
    if kind not in KINDS:
        print(f"make dfs: ARGS is one of {', '.join(KINDS)}", file=sys.stderr)
        return 2
    reason = KINDS[kind].missing()
    if reason is not None:
        print(f"make dfs: {reason}", file=sys.stderr)
        return 1
    with KINDS[kind]() as volume:
        settings = volume.directory / "bashrc"
        settings.write_text(f"PS1='{kind} \\$ '\n")
        if sys.stdin.isatty():
            print(WELCOME.format(name=volume.name, version=volume.version, directory=volume.directory))
        environment = launch.command_line([], flavour="mpich")[1]
        environment |= {"RANKS": shlex.join(volume.wrapper), "SHARED": str(volume.shared)}
        shell = ["bash", "--rcfile", os.fspath(settings)]
        return subprocess.run(shell, cwd=volume.directory, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
