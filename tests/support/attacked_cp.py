"""A `cp` that is attacked at the worst moment, and the tool with that `cp`.

    with attacked(b"tree/sub", before="mv sub aside; ln -s /root/private sub", after="...", cwd=src) as place:
        PLAIN.run([src, dst], **using(place))

The commands run as `nobody`, in the moment between cp's lstat of what it is to open and its opening it. As a script,
this module is the tool that finds such a `cp` first.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("attacked_cp.c")
AS_NOBODY = "setpriv --reuid nobody --regid nogroup --clear-groups --"


@functools.cache
def unavailable() -> str | None:
    """The reason why cp cannot be attacked here, or None."""
    missing = [tool for tool in ("gcc", "setpriv") if shutil.which(tool) is None]
    return f"not installed: {' '.join(missing)}" if missing else None


@contextmanager
def attacked(at: str, before: str, after: str, cwd: Path) -> Iterator[Path]:
    """Yield a directory with a `cp` for PATH. at: the end of the path at whose opening `before` runs, in cwd; `after`
    runs when that cp ends.
    """
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-attacked-"))
    try:
        place.chmod(0o755)
        library = place / "attack.so"
        # The declaration of what dlsym returns says nothing of its arguments, which C23 forbids.
        flags = ["-O2", "-Wall", "-std=gnu11", "-shared", "-fPIC"]
        done = subprocess.run(["gcc", *flags, "-o", library, SOURCE, "-ldl"], capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        (place / "before").write_text(f"#!/bin/sh -e\ncd {shlex.quote(str(cwd))}\n{before}\n")
        (place / "after").write_text(f"#!/bin/sh -e\ncd {shlex.quote(str(cwd))}\n{after}\n")
        real = shutil.which("cp", path="/usr/bin:/bin")
        (place / "cp").write_text(
            f"""#!/bin/sh
export ATTACK_AT={shlex.quote(at)}
export ATTACK_BEFORE="{AS_NOBODY} sh {place}/before && touch {place}/happened"
export ATTACK_AFTER="{AS_NOBODY} sh {place}/after"
LD_PRELOAD={library} exec {real} "$@"
"""
        )
        (place / "cp").chmod(0o755)
        yield place
    finally:
        shutil.rmtree(place)


def using(place: Path, margin: float = 0.0) -> dict[str, Any]:
    """Return the setting of a run of the tool with the `cp` of a place.

    margin: seconds before the run from which on a change in a source counts
    """
    return {
        "python_args": (__file__,),
        "env": {"ATTACKED_CP": str(place), "ATTACKED_MARGIN": str(margin)},
    }


if __name__ == "__main__":
    from hpcp_mpi.cli.main import main
    from hpcp_mpi.host import commands, unchanged

    commands.ENVIRONMENT["PATH"] = os.environ["ATTACKED_CP"] + ":" + commands.ENVIRONMENT["PATH"]
    commands._STUCK, commands._LOOK = 1.0, 0.2
    unchanged._MARGIN = float(os.environ["ATTACKED_MARGIN"])
    sys.exit(main(sys.argv[1:], os.environ))
