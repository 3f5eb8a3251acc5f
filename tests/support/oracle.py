"""Independent judges of whether a copy is equal: rsync for content, ACLs and xattrs, lstat for all that rsync misses.

    assert_equal_trees(src, dst, sockets=False)

All paths in arguments and answers are relative to the roots. `exclude` prunes entries with all below them.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.trees import Name, Root, at

# rsync refuses longer paths, below its own root included; they are compared here instead.
RSYNC_MAX_PATH = 3900
# By so many bytes two file systems may differ in what they allocate (tails, extent maps, xattr blocks).
BLOCK_SLACK = 64 << 10


def assert_equal_trees(
    src: Root,
    dst: Root,
    *,
    exclude: Iterable[Name] = (),
    sockets: bool = True,
    top: bool = True,
    owners: bool = True,
    sparse: bool = True,
    time_step_ns: int = 1,
) -> None:
    """Fail with a readable list unless dst is src in every respect.

    sockets: False where they are noted, not copied; dst must have none of them then
    top:     also the metadata of the two roots themselves
    owners:  False where the copy was made by a user who cannot give files away
    sparse:  also the holes
    time_step_ns: what dst rounds times down to
    """
    skipped = [os.fsencode(name) for name in exclude]
    if not sockets:
        skipped += [path for path, info in lstats(src).items() if stat.S_ISSOCK(info.st_mode)]
        stray = [path for path, info in lstats(dst).items() if stat.S_ISSOCK(info.st_mode)]
        assert not stray, f"sockets were copied: {stray}"
    found = differences(src, dst, exclude=skipped, top=top, owners=owners)
    found += lstat_differences(src, dst, exclude=skipped, top=top, owners=owners, time_step_ns=time_step_ns)
    found += hard_link_differences(src, dst, exclude=skipped)
    if sparse:
        found += sparse_differences(src, dst, exclude=skipped)
    if found:
        shown = "\n".join(f"  {line}" for line in found[:40])
        more = f"\n  ... and {len(found) - 40} more" if len(found) > 40 else ""
        raise AssertionError(f"{dst!s} is not a copy of {src!s}; {len(found)} findings:\n{shown}{more}")


def differences(
    src: Root,
    dst: Root,
    *,
    checksum: bool = True,
    exclude: Iterable[Name] = (),
    top: bool = True,
    owners: bool = True,
) -> list[str]:
    """The changes that `rsync -aHAX --checksum --delete -n -i` would make in dst, one line each; odd bytes as \\#ooo.

    It misses times below a second, hard links that only dst has, and holes. Raises when rsync cannot be
    run; its complaints (unreadable, vanished) count as differences.
    """
    too_long = [path for path in entries(src) if len(path) > RSYNC_MAX_PATH]
    tops = {path.split(b"/", 1)[0] for path in too_long}
    command = ["rsync", "-aHAX", "--numeric-ids", "--delete", "-n", "-i", "--from0"]
    command += ["--checksum"] if checksum else []
    command += [] if owners else ["--no-owner", "--no-group"]
    with tempfile.NamedTemporaryFile() as patterns:
        patterns.write(b"\0".join(_pattern(os.fsencode(name)) for name in (*exclude, *tops)))
        patterns.flush()
        done = subprocess.run(
            [
                *command,
                f"--exclude-from={patterns.name}",
                "--",
                os.fsencode(src) + b"/",
                os.fsencode(dst) + b"/",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},  # escapes all that is not ASCII: one line, one entry
            timeout=300,
        )
    lines = done.stdout.decode("ascii").splitlines() + done.stderr.decode("ascii", "backslashreplace").splitlines()
    if done.returncode and not lines:
        lines = [f"exit status {done.returncode}"]
    if not top:
        lines = [line for line in lines if not re.fullmatch(r"\.d\S+ \./", line)]
    return [f"rsync: {line}" for line in lines]


def _pattern(path: bytes) -> bytes:
    """rsync's anchored exclude pattern for one path. Backslashes escape only in patterns with wildcards."""
    if re.search(rb"[*?[]", path):
        path = re.sub(rb"([*?[\\])", rb"\\\1", path)
    return b"/" + path


def entries(root: Root, exclude: Iterable[Name] = ()) -> Iterator[bytes]:
    for path, _, _ in _walk(root, exclude):
        yield path


def _walk(root: Root, exclude: Iterable[Name] = ()) -> Iterator[tuple[bytes, int, bytes]]:
    """Every entry below root as path, descriptor of its directory, name. Works beyond PATH_MAX."""

    def stop(error: OSError) -> None:
        raise error

    pruned = {os.fsencode(name) for name in exclude}
    start = os.fsencode(root)
    for here, dirs, files, fd in os.fwalk(start, onerror=stop, follow_symlinks=False):
        below = here[len(start) :].lstrip(b"/")

        def path_of(name: bytes, below: bytes = below) -> bytes:
            return below + b"/" + name if below else name

        dirs[:] = sorted(name for name in dirs if path_of(name) not in pruned)
        for name in (*dirs, *files):
            if path_of(name) not in pruned:
                yield path_of(name), fd, name


def lstats(root: Root, exclude: Iterable[Name] = ()) -> dict[bytes, os.stat_result]:
    """lstat of every entry by path; b"." is the root itself."""
    found = {b".": os.lstat(root)}
    found |= {path: os.lstat(name, dir_fd=fd) for path, fd, name in _walk(root, exclude)}
    return found


def lstat_differences(
    src: Root,
    dst: Root,
    *,
    exclude: Iterable[Name] = (),
    top: bool = True,
    owners: bool = True,
    time_step_ns: int = 1,
) -> list[str]:
    """Type, mode, owner, size, ns mtime, device and link target of all entries; for those too deep for
    rsync also content and xattrs."""
    exclude = list(exclude)
    ours, theirs = _records(src, exclude, top, owners), _records(dst, exclude, top, owners)
    found = [f"lstat: missing: {path!r}" for path in sorted(ours.keys() - theirs.keys())]
    found += [f"lstat: extra: {path!r}" for path in sorted(theirs.keys() - ours.keys())]
    for path in sorted(ours.keys() & theirs.keys()):
        for key, value in ours[path].items():
            if key == "mtime_ns" and isinstance(value, int):
                value -= value % time_step_ns
            if theirs[path].get(key) != value:
                found.append(f"lstat: {path!r}: {key} {value} became {theirs[path].get(key)}")
    return found


def exact_times(src: Root, dst: Root, *, exclude: Iterable[Name] = (), top: bool = True) -> list[str]:
    """Files, links and directories (all that both have) whose mtimes differ, be it by a nanosecond."""
    exclude = list(exclude)
    ours, theirs = lstats(src, exclude), lstats(dst, exclude)
    return [
        f"mtime: {path!r}: {ours[path].st_mtime_ns} became {theirs[path].st_mtime_ns}"
        for path in sorted(ours.keys() & theirs.keys())
        if ours[path].st_mtime_ns != theirs[path].st_mtime_ns and (top or path != b".")
    ]


def _records(root: Root, exclude: list[Name], top: bool, owners: bool) -> dict[bytes, dict[str, object]]:
    found = {path: _record(fd, name, len(path) > RSYNC_MAX_PATH, owners) for path, fd, name in _walk(root, exclude)}
    if top:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found[b"."] = _record(fd, b".", False, owners)
        finally:
            os.close(fd)
    return found


def _record(fd: int, name: bytes, beyond_rsync: bool, owners: bool) -> dict[str, object]:
    info = os.lstat(name, dir_fd=fd)
    kind = stat.S_IFMT(info.st_mode)
    record: dict[str, object] = {"mode": stat.filemode(info.st_mode), "mtime_ns": info.st_mtime_ns}
    if owners:
        record |= {"uid": info.st_uid, "gid": info.st_gid}
    if kind == stat.S_IFREG:
        record["size"] = info.st_size
    elif kind == stat.S_IFLNK:
        record["target"] = os.readlink(name, dir_fd=fd)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        record["device"] = (os.major(info.st_rdev), os.minor(info.st_rdev))
    if beyond_rsync:
        keys = os.listxattr(at(fd, name), follow_symlinks=False)
        record["xattrs"] = {key: os.getxattr(at(fd, name), key, follow_symlinks=False) for key in sorted(keys)}
        if kind == stat.S_IFREG:
            record["sha256"] = hashlib.sha256(Path(os.fsdecode(at(fd, name))).read_bytes()).hexdigest()
    return record


def hard_link_groups(root: Root, exclude: Iterable[Name] = ()) -> set[frozenset[bytes]]:
    """The names of each inode that has more than one name inside the tree."""
    names = defaultdict(set)
    for path, info in lstats(root, exclude).items():
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            names[info.st_dev, info.st_ino].add(path)
    return {frozenset(paths) for paths in names.values() if len(paths) > 1}


def hard_link_differences(src: Root, dst: Root, *, exclude: Iterable[Name] = ()) -> list[str]:
    exclude = list(exclude)
    ours, theirs = hard_link_groups(src, exclude), hard_link_groups(dst, exclude)
    lost = [f"hard links: broken: {sorted(group)}" for group in ours - theirs]
    return sorted(lost) + sorted(f"hard links: only in the copy: {sorted(group)}" for group in theirs - ours)


def sparse_differences(src: Root, dst: Root, *, exclude: Iterable[Name] = (), dense: bool = True) -> list[str]:
    """Files whose holes were filled, and, if dense, files whose zeros became holes."""
    exclude = list(exclude)
    ours, theirs = lstats(src, exclude), lstats(dst, exclude)
    found = []
    for path in sorted(ours.keys() & theirs.keys()):
        if not stat.S_ISREG(ours[path].st_mode) or not stat.S_ISREG(theirs[path].st_mode):
            continue
        before, after = ours[path].st_blocks * 512, theirs[path].st_blocks * 512
        if after > before + BLOCK_SLACK:
            found.append(f"sparse: {path!r}: {before} allocated bytes became {after}")
        elif dense and after < before - BLOCK_SLACK:
            found.append(f"dense: {path!r}: {before} allocated bytes became {after}")
    return found
