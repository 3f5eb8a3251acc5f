"""File systems made for one run: one that is slow, an ext4 nobody has written to, a tmpfs without a limit on files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import faultfs

# Where mkfs and losetup are, for users whose PATH does not say.
_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class NotMounted(Exception):
    """A file system that should be there is not."""


def slow_unavailable() -> str | None:
    """Why there is no slow file system here; None if there is one. It needs what faultfs needs."""
    return faultfs.unavailable()


def ext4_unavailable() -> str | None:
    """Why no ext4 can be made and mounted here; None if it can."""
    if os.geteuid() != 0:
        return "needs root, to mount a fresh ext4"
    for tool, package in (("mkfs.ext4", "e2fsprogs"), ("losetup", "mount"), ("mount", "mount")):
        if shutil.which(tool, path=_SBIN) is None:
            return f"{tool} is not installed: apt-get install {package}"
    found = subprocess.run(["losetup", "-f"], capture_output=True, text=True, env={**os.environ, "PATH": _SBIN})
    return None if found.returncode == 0 else f"there is no loop device ({found.stderr.strip()})"


@dataclass(frozen=True)
class Slow:
    """server: the process that serves it."""

    mountpoint: Path
    server: int


@contextmanager
def slow(backing: Path, *, meta_us: int, data_us: int, entry_timeout: float) -> Iterator[Slow]:
    """Yield a directory that shows backing, where each operation first sleeps so many microseconds.

    entry_timeout: seconds for which the kernel may remember names. It remembers no attributes.
    """
    options = [f"meta_us={meta_us}", f"data_us={data_us}", f"entry_timeout={entry_timeout}", "attr_timeout=0"]
    options += ["max_threads=128", *(["allow_other"] if os.geteuid() == 0 else [])]
    with _mountpoint() as mountpoint, ExitStack() as stack:
        try:
            server = stack.enter_context(faultfs.served(backing, mountpoint, options))
        except RuntimeError as error:
            raise NotMounted(str(error)) from None
        yield Slow(mountpoint, server)


@contextmanager
def fresh_ext4(disk: Path, *, content: int, entries: int) -> Iterator[Path]:
    """Yield an empty ext4 with room for so many bytes and entries, made in a sparse file below disk.

    Always a new one: where a tree was just deleted, ext4's search for a free inode steps over the deleted ones,
    and the same copy takes ten times as long.
    """
    # One inode for 16 KiB is what mkfs makes by default; a file may take a block more than its bytes.
    size = max(content + 4096 * entries, 16384 * entries) * 5 // 4 + (256 << 20)
    with tempfile.NamedTemporaryFile(prefix="hpcp-mpi-bench-", suffix=".ext4", dir=disk) as image:
        image.truncate(size)
        initialised = "lazy_itable_init=0,lazy_journal_init=0"  # else the kernel goes on with that during the run
        _run("mkfs.ext4", "-q", "-F", "-E", initialised, image.name)
        with _mountpoint() as mountpoint, _mounted(mountpoint, "-o", "loop", image.name):
            yield mountpoint


@contextmanager
def big_tmpfs(size: int) -> Iterator[Path]:
    """Yield a tmpfs for `size` bytes and any number of files. Needs root."""
    with _mountpoint() as mountpoint, _mounted(mountpoint, "-t", "tmpfs", "-o", f"size={size},nr_inodes=0", "none"):
        yield mountpoint


@contextmanager
def _mountpoint() -> Iterator[Path]:
    """Below a directory that is closed to others: a server that is root would do what they ask for."""
    closed = Path(tempfile.mkdtemp(prefix="hpcp-mpi-bench-mount-"))
    made = closed / "mnt"
    made.mkdir()
    try:
        yield made
    finally:
        made.rmdir()
        closed.rmdir()


@contextmanager
def _mounted(mountpoint: Path, *how: str) -> Iterator[None]:
    _run("mount", *how, str(mountpoint))
    try:
        yield
    finally:
        if subprocess.run(["umount", mountpoint], capture_output=True).returncode:
            subprocess.run(["umount", "-l", mountpoint], check=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": _SBIN})
    if done.returncode:
        raise NotMounted(f"{command[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}")
