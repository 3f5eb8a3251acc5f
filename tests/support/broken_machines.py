"""Machines on which something is missing or broken, as wrappers of a run: it and all that it starts see them, alone.

run = ImageRuns(place, wrapper=without("sfdisk"))            # a program is not there
ImageRuns(place, wrapper=failing("mkfs.xfs"))                # it fails
ImageRuns(place, wrapper=small(place / "small", 60))         # a tmpfs of so many MiB, gone afterwards
ImageRuns(place, wrapper=bad_blocks(image, place / "seen", [(offset, length)]))  # of the file in there
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.support.launch import REPOSITORY, Argument

_PRIVATE = ("unshare", "--mount", "--propagation", "private", "bash", "-c")


def wrapped(script: str, *arguments: str | Path | int, after: str = "") -> list[Argument]:
    """A wrapper that runs a script first, with $1 and so on, and another one when the run has ended."""
    count = len(arguments)
    run = f'shift {count}\n"$@"\ncode=$?\n{after}\nexit $code\n' if after else f'shift {count}\nexec "$@"\n'
    return [*_PRIVATE, f"set -e\n{script}\nset +e\n{run}", "bash", *map(str, arguments)]


def _hidden(program: str, under: str) -> list[Argument]:
    found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    assert found is not None, program
    # Several names may be links to one file, which would go with it: mkfs.ext4 is mke2fs.
    return wrapped('mount --bind "$2" "$(realpath "$1")"', found, under)


def without(program: str) -> list[Argument]:
    return _hidden(program, "/dev/null")


def failing(program: str) -> list[Argument]:
    return _hidden(program, "/bin/false")


def small(directory: Path, mib: int, meanwhile: str = "") -> list[Argument]:
    """Mount a tmpfs. meanwhile: a script that is run beside the tool, with the directory as $1."""
    beside = f'( trap "" TERM; {meanwhile} ) >/dev/null 2>&1 &' if meanwhile else ""
    return wrapped(f'mkdir -p "$1"; mount -t tmpfs -o size="$2"m none "$1"\n{beside}', directory, mib)


def on_device(file: Path, link: Path) -> list[Argument]:
    """Attach a file, which an earlier wrapper may have to show first, as a block device that `link` leads to."""
    return ["python3", "-c", _ON_DEVICE, str(REPOSITORY), str(file), str(link)]


_ON_DEVICE = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from hpcp_mpi.host.block import loops
with loops.attach(os.open(sys.argv[2], os.O_RDWR | os.O_CLOEXEC), writable=True) as loop:
    os.symlink(loop.path, sys.argv[3])
    sys.exit(subprocess.run(sys.argv[4:]).returncode)
"""


def bad_blocks(image: Path, directory: Path, bad: Sequence[tuple[int, int]]) -> list[Argument]:
    """Show an image, read-only, as directory/NAME with ranges that cannot be read."""
    lines = ["0x0 ? 1"]
    at = 0
    for offset, length in sorted(bad):
        lines += [f"{at:#x} {offset - at:#x} +", f"{offset:#x} {length:#x} -"]
        at = offset + length
    lines.append(f"{at:#x} {image.stat().st_size - at:#x} +")
    map_file = directory.with_name(directory.name + ".map")
    map_file.write_text("\n".join(lines) + "\n")
    server = f"--readonly --filter=ddrescue file {_quoted(image)} ddrescue-mapfile={_quoted(map_file)}"
    return _served(server, directory, image.name)


def failing_writes(image: Path, directory: Path, after: Path) -> list[Argument]:
    """Show an image as directory/NAME; writing fails as soon as the file `after` is there."""
    filters = (
        f"--filter=error file {_quoted(image)} error=EIO error-pwrite-rate=100% error-pwrite-file={_quoted(after)}"
    )
    return _served(filters, directory, image.name)


def _served(server: str, directory: Path, name: str) -> list[Argument]:
    directory.mkdir(exist_ok=True)
    start = f"""
nbdfuse "$1/$2" --command nbdkit -s --log=null {server} &
for _ in $(seq 200); do [ -s "$1/$2" ] && break; sleep 0.02; done
[ -s "$1/$2" ]
"""
    after = 'for _ in $(seq 50); do fusermount3 -u "$directory" && break; sleep 0.1; done; wait'
    return wrapped(start + "directory=$1", directory, name, after=after)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
