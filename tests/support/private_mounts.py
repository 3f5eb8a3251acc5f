"""Shell scripts in a mount namespace of their own: no mount and no loop device is left, whatever ends the test.

in_private('on "$1" 1048576 4194304 "$room/a" -o ro; ls -A "$room/a"', image)

`on FILE OFFSET SIZE DIRECTORY [OPTIONS]` mounts a part of a file by a loop device that goes with the mount.
$room is an empty tmpfs that is gone when the script ends.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_PREPARED = """
set -euo pipefail
room=/tmp/hpcp-mpi-test.$$
mkdir -m 0700 "$room"
trap 'cd /; umount -R "$room" 2>/dev/null || true; rmdir "$room"' EXIT
mount -t tmpfs -o mode=0700 none "$room"
on() {
    local file=$1 offset=$2 size=$3 directory=$4
    shift 4
    mkdir -p "$directory"
    mount -o "loop,offset=$offset,sizelimit=$size" "$@" "$file" "$directory"
}
"""


def in_private(script: str, *arguments: str | Path | int, timeout: float = 60) -> str:
    """Run a bash script with all errors fatal and return what it printed. Needs root."""
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _PREPARED + script, "bash"]
    ended = subprocess.run([*command, *map(str, arguments)], capture_output=True, timeout=timeout)
    said = ended.stderr.decode(errors="replace")
    assert ended.returncode == 0, f"exit code {ended.returncode} of {script!r} with {arguments}: {said}"
    return ended.stdout.decode(errors="surrogateescape")
