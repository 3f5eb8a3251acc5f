"""Mounts of faultfs.c, a file system that fails, fills up, forgets and waits on demand.

with mounted(backing, eio_read="broken") as mountpoint:
    ...
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("faultfs.c")


@functools.cache
def unavailable() -> str | None:
    """The reason why file systems cannot be mounted here, or None."""
    missing = [tool for tool in ("gcc", "pkg-config", "fusermount3") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {' '.join(missing)}"
    if subprocess.run(["pkg-config", "--exists", "fuse3"]).returncode:
        return "not installed: libfuse3-dev"
    return None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "no access to /dev/fuse"


@functools.cache
def program() -> Path:
    """Build faultfs once per session, in a directory of its own, where no other user can plant a program."""
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-faultfs-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True)
    target = place / "faultfs"
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(target), str(SOURCE), *flags.stdout.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return target


@contextmanager
def mounted(
    backing: Path,
    *,
    meta_us: int = 0,
    data_us: int = 0,
    eio_read: str = "",
    eio_from: int | None = None,
    eio_until: int | None = None,
    eio_write: str = "",
    eio_list: str = "",
    eio_unlink: str = "",
    flip_read: str = "",
    vanish: str = "",
    enospc_after: int | None = None,
    entry_timeout: float = 0,
    fold: int = 0,
    no_locks: int = 0,
    moose: int = 0,
    refuse_xattr: str = "",
    most_xattr: int | None = None,
    latest: int | None = None,
    no_blocks: int = 0,
    own_inodes: int = 0,
    fail_op: str = "",
    fail_errno: int | None = None,
    fail_path: str = "",
    fail_first: int | None = None,
    fail_count: int | None = None,
    trace: Path | str = "",
) -> Iterator[Path]:
    """Yield a directory that shows backing through the given faults (see faultfs.c and failing.h); unmounted on the way
    out.

    Texts match anywhere in the path below backing and may not hold commas. As root, others may use it too.
    """
    faults: dict[str, object] = {
        "meta_us": meta_us,
        "data_us": data_us,
        "eio_read": eio_read,
        "eio_from": eio_from,
        "eio_until": eio_until,
        "eio_write": eio_write,
        "eio_list": eio_list,
        "eio_unlink": eio_unlink,
        "flip_read": flip_read,
        "vanish": vanish,
        "enospc_after": enospc_after,
        "entry_timeout": entry_timeout,
        "fold": fold,
        "no_locks": no_locks,
        "moose": moose,
        "refuse_xattr": refuse_xattr,
        "most_xattr": most_xattr,
        "latest": latest,
        "no_blocks": no_blocks,
        "own_inodes": own_inodes,
        "fail_op": fail_op,
        "fail_errno": fail_errno,
        "fail_path": fail_path,
        "fail_first": fail_first,
        "fail_count": fail_count,
        "trace": trace,
        "max_threads": 64,
    }
    options = [f"{name}={value}" for name, value in faults.items() if value not in ("", None)]
    if os.geteuid() == 0:
        # The kernel checks permissions, because the daemon, as root, would let everyone do everything.
        options += ["allow_other", "default_permissions"]
    mountpoint = Path(tempfile.mkdtemp(prefix="hpcp-mpi-mount-"))
    try:
        with served(backing, mountpoint, options):
            yield mountpoint
    finally:
        mountpoint.rmdir()


@contextmanager
def served(backing: Path, mountpoint: Path, options: list[str]) -> Iterator[int]:
    """Yield the pid of the process that shows backing at mountpoint. Raises RuntimeError."""
    command = [str(program()), str(backing), str(mountpoint), "-f", "-o", ",".join(options)]
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _wait_until_mounted(daemon, mountpoint)
        yield daemon.pid
    finally:
        _unmount(daemon, mountpoint)


def _wait_until_mounted(daemon: subprocess.Popen[bytes], mountpoint: Path) -> None:
    deadline = time.monotonic() + 10
    # Asked of the kernel: looking at the mountpoint would be a call that may be one to fail.
    while f" {mountpoint} " not in Path("/proc/self/mountinfo").read_text():
        if daemon.poll() is not None:
            assert daemon.stderr is not None
            raise RuntimeError(f"faultfs: {daemon.stderr.read().decode(errors='replace')}")
        if time.monotonic() > deadline:
            raise RuntimeError("faultfs did not mount within 10 s")
        time.sleep(0.002)


def _unmount(daemon: subprocess.Popen[bytes], mountpoint: Path) -> None:
    """Unmount it in any case: politely, then while it is in use; also when the daemon died and left a dead mount."""
    if subprocess.run(["fusermount3", "-u", mountpoint], capture_output=True).returncode:
        subprocess.run(["fusermount3", "-u", "-z", mountpoint], capture_output=True)
    try:
        daemon.wait(1)
    except subprocess.TimeoutExpired:  # a process still holds a descriptor in there
        daemon.kill()
        daemon.wait()
    if daemon.stderr is not None:
        daemon.stderr.close()
