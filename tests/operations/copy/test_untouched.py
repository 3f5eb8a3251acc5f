"""Where nothing changed, nothing is written: not even a time of a directory."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import TINY_CHUNKS, changed, copy, state
from tests.support.effort import each_pair
from tests.support.launch import command_line
from tests.support.marks import needs_commands, worlds
from tests.support.torture import torture
from tests.support.trees import Dir, Fifo, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync")
LISTINGS = pytest.mark.parametrize("listing", [(), ("-pfl",)], ids=["rank-0-lists", "all-list"])
WRITING = (
    "write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,"
    "mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,rename,renameat,renameat2,"
    "chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,utimes,futimesat,utime,"
    "setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,open,openat,openat2,creat,ioctl"
)


@each_pair
@LISTINGS
@pytest.mark.parametrize("hashes", [("-hs", "0"), (), ("-fh",)], ids=["lstat", "tails", "whole"])
@pytest.mark.parametrize("world", worlds((3,), launchers=("plain", "mpich")))
def test_no_inode_and_no_time_changes(
    world: object, hashes: tuple[str, ...], listing: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    torture(src, as_root=os.geteuid() == 0, beyond_path_max=False)
    copy(src, dst)
    before, times = state(dst), {path: info.st_mtime_ns for path, info in oracle.lstats(dst).items()}
    again = copy(src, dst, *hashes, *listing, world=world)  # type: ignore[arg-type]
    assert again.copied_entries == 0
    assert changed(before, state(dst)) == set()
    assert {path: info.st_mtime_ns for path, info in oracle.lstats(dst).items()} == times


@needs_commands("strace")
@LISTINGS
@pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])
def test_no_system_call_even_tries_to_write_below_the_destination(
    chunks: tuple[str, ...], listing: tuple[str, ...], on_tmpfs: Path
) -> None:
    src, dst, log = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "strace"
    build(src, {
        "d": Dir({"f": File(b"f"), "twin": HardLink("d/f"), "x": File(b"x", xattrs={"user.a": b"b"})}),
        "link": Symlink("d"), "pipe": Fifo(), "empty": Dir(mode=0o555), ".hidden": File(b"h"),
    })  # fmt: skip
    copy(src, dst)
    command, environment = command_line(["-hs", "0", *listing, *chunks, src, dst], flavour="plain")
    tracing = ["strace", "-f", "-y", "-qq", "-e", f"trace={WRITING}", "-o", log]
    done = subprocess.run([*tracing, *command], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # Where a call was interrupted by another thread's, its first half has the arguments.
    lines = [line for line in log.read_text().splitlines() if os.fspath(dst) in line and " resumed>" not in line]
    # What the file system can store is tried on one file that has no name.
    assert [line for line in lines if writes(line) and "(deleted)" not in line] == []


def writes(line: str) -> bool:
    """Return whether a line of strace changes a file. Opening for reading does not."""
    call = re.search(r"(\w+)\(", line)
    assert call is not None, line
    if call[1] in ("open", "openat", "openat2"):
        return bool(re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)", line))
    if call[1] == "ioctl" and re.search(r"FS_IOC_(GETFLAGS|FSGETXATTR)", line):
        return False
    return call[1] != "write" or f"<{os.sep}dev{os.sep}shm" in line.split(",")[0]
