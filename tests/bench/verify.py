"""Is the copy right? Else a contestant that copies nothing would win."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.bench.inodes import different_data, is_sparse, unlike
from tests.support import oracle

# A line of rsync -i for what exists: how it changes, what it is, and a letter for each attribute that differs;
# blanks if none does.
_ITEM = re.compile(r"rsync: ([.h])([fdLDS])(\S{9}| {9}) ")
# What a copier may leave wrong and still take part, by the kind of entry: t times, x extended attributes, a ACLs.
_FORGIVEN = {"d": "tax", "L": "tax", "f": "ax", "D": "ax", "S": "ax"}


# Of more entries than these, content and metadata would take minutes.
MAX_IN_FULL = 1_000_000


@dataclass(frozen=True)
class Judgement:
    """
    error:  what is wrong, None if nothing is
    remark: what many do not keep, or what could not be looked at
    lost:   the remark says that something is not as in the source
    """

    error: str | None = None
    remark: str = ""
    lost: bool = False


def judge(src: Path, dst: Path) -> Judgement:
    """Count and bytes first, then content and metadata of everything."""
    wanted = size_of(src)
    found = size_of(dst)
    if wanted != found:
        return Judgement(f"wrong copy: {found[0]:,} files, {found[1]:,} bytes of {wanted[0]:,} and {wanted[1]:,}")
    if wanted[0] > MAX_IN_FULL:
        return Judgement(remark="verified by number and bytes only")
    return _by_rsync(src, dst) if shutil.which("rsync") else _by_diff(src, dst)


def judge_all(src: Path, dst: Path) -> Judgement:
    """As judge, and also which names are of one inode, holes, and times to the nanosecond; holes are not read."""
    if size_of(src) != size_of(dst) or not shutil.which("rsync"):
        return judge(src, dst)
    sparse = is_sparse(src)
    if sparse and (found := different_data(src, dst)) is not None:
        return Judgement(f"wrong copy: {found}")
    return _by_rsync(src, dst, checksum=not sparse, beside=unlike(src, dst))


def size_of(root: Path) -> tuple[int, int]:
    """Entries that are no directories, and their bytes; (0, 0) for a root that is missing."""
    files = size = 0
    for here, _, names in os.walk(root):
        for name in names:
            files += 1
            size += os.lstat(os.path.join(here, name)).st_size
    return files, size


def _by_rsync(src: Path, dst: Path, checksum: bool = True, beside: Counter[str] | None = None) -> Judgement:
    left: Counter[str] = Counter()
    serious = []
    found = oracle.differences(src, dst, checksum=checksum)
    for line in found:
        shortcomings = _shortcomings(line)
        left.update(shortcomings)
        if not shortcomings:
            serious.append(line)
    if serious:
        return Judgement(f"wrong copy: {len(found)} differences, such as {serious[0]}")
    left.update({what: count for what, count in (beside or {}).items() if what not in left})
    said = ", ".join(f"{count:,} {what}" for what, count in left.items())
    return Judgement(remark=f"wrong: {said}" if said else "", lost=bool(said))


def _shortcomings(line: str) -> list[str]:
    """What is not kept, if it is only what many do not keep: they would save no time by the rest."""
    item = _ITEM.match(line)
    if item is None:
        return []
    change, kind, letters = item[1], item[2], item[3].replace(".", "").strip()
    if letters.strip(_FORGIVEN[kind]):
        return []
    found = ["hard links"] if change == "h" else []
    found += ["directory times" if kind == "d" else "link times"] if "t" in letters else []
    return found + (["extended attributes"] if set(letters) & set("ax") else [])


def _by_diff(src: Path, dst: Path) -> Judgement:
    done = subprocess.run(["diff", "-rq", "--no-dereference", src, dst], capture_output=True, text=True)
    if done.returncode:
        return Judgement(f"wrong copy: {(done.stdout or done.stderr).splitlines()[0]}")
    return Judgement(remark="metadata not verified (no rsync)")
