"""File systems made for tests: common ones, in images, and one with the limits of MooseFS.

with mounted("xfs", place) as directory:
    ...
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import faultfs

MIB = 1 << 20
MAKING: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "ext4": (64 * MIB, ("mkfs.ext4", "-q", "-I", "256")),
    "xfs": (320 * MIB, ("mkfs.xfs", "-q", "-m", "bigtime=0,rmapbt=0,reflink=0")),
    "btrfs": (128 * MIB, ("mkfs.btrfs", "-q")),
}
KINDS = ("tmpfs", *MAKING, "moose")


def missing() -> list[str]:
    """The programs that are not installed."""
    return [command[0] for _, command in MAKING.values() if shutil.which(command[0]) is None]


@contextmanager
def mounted(kind: str, place: Path) -> Iterator[Path]:
    """Yield a new file system of that kind, made and mounted below place, which is on tmpfs. Needs root."""
    at = place / kind
    at.mkdir()
    if kind == "tmpfs":
        yield at
    elif kind == "moose":
        with faultfs.mounted(at, moose=1) as mount:
            yield mount
    else:
        size, command = MAKING[kind]
        image = place / f"{kind}.image"
        with open(image, "wb") as file:
            file.truncate(size)  # sparse
        subprocess.run([*command, image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, at], check=True)
        try:
            yield at
        finally:
            subprocess.run(["umount", "-l", at], check=True)


@contextmanager
def all_mounted() -> Iterator[dict[str, Path]]:
    """Yield where one of each file system is mounted, by kind."""
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir="/dev/shm"))
    try:
        with ExitStack() as stack:
            yield {kind: stack.enter_context(mounted(kind, place)) for kind in KINDS}
    finally:
        shutil.rmtree(place)
