"""Is the copy right? Else a contestant that copies nothing would win."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support import oracle

# rsync's words for a directory of which only the time differs.
_ONLY_A_DIRECTORY_TIME = re.compile(r"rsync: \.d\.\.t\S* ")


@dataclass(frozen=True)
class Judgement:
    """error: what is wrong, None if nothing is. remark: what is not wrong but saves time."""

    error: str | None = None
    remark: str = ""


def judge(src: Path, dst: Path) -> Judgement:
    """Count and bytes first, then content and metadata of everything."""
    wanted = size_of(src)
    found = size_of(dst)
    if wanted != found:
        return Judgement(f"wrong copy: {found[0]:,} files, {found[1]:,} bytes of {wanted[0]:,} and {wanted[1]:,}")
    return _by_rsync(src, dst) if shutil.which("rsync") else _by_diff(src, dst)


def size_of(root: Path) -> tuple[int, int]:
    """Entries that are no directories, and their bytes; (0, 0) for a root that is missing."""
    files = size = 0
    for here, _, names in os.walk(root):
        for name in names:
            files += 1
            size += os.lstat(os.path.join(here, name)).st_size
    return files, size


def _by_rsync(src: Path, dst: Path) -> Judgement:
    found = oracle.differences(src, dst)
    times = [line for line in found if _ONLY_A_DIRECTORY_TIME.match(line)]
    if len(times) < len(found):
        first = next(line for line in found if line not in times)
        return Judgement(f"wrong copy: {len(found)} differences, such as {first}")
    return Judgement(remark=f"leaves {len(times):,} directory times wrong" if times else "")


def _by_diff(src: Path, dst: Path) -> Judgement:
    done = subprocess.run(["diff", "-rq", "--no-dereference", src, dst], capture_output=True, text=True)
    if done.returncode:
        return Judgement(f"wrong copy: {(done.stdout or done.stderr).splitlines()[0]}")
    return Judgement(remark="metadata not verified (no rsync)")
