"""Runs on a small tree during which a call of the storage fails, and the conditions that must hold afterwards.

Judged from outside: by lstat, by the bytes that are there, and by the program's own report.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.copies import PLAIN, STAGE
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.trees import Dir, Fifo, File, HardLink, Name, Node, Symlink, build

ERRNOS = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EREMOTEIO, errno.ETIMEDOUT)
WORDS = {number: os.strerror(number) for number in ERRNOS}
CHUNKS = ("--split-size", "100K", "-f", "2", "-j", "2")

# The verbs and their options. DST is the copy, SRC the source.
VERBS: dict[str, tuple[str, ...]] = {
    "new": ("SRC/", "DST", *CHUNKS),
    "again": ("SRC/", "DST", *CHUNKS),
    "all-list": ("SRC/", "DST", "-pfl", *CHUNKS),
    "mirror": ("SRC/", "DST", "-rme", "-rf", *CHUNKS),
    "verify": ("SRC/", "DST", "--verify", *CHUNKS),
    "move": ("-rm", "-rf", "SRC/", "-d", "DST", *CHUNKS),
    "remove": ("-rm", "-rf", *(f"DST/{name}" for name in ("a", "deep", "x", "y", "big", "top"))),
    "compare": ("-cfl", "SRC", "DST"),
}
_ONE_FILE = ("x/h1", "y/h2")
_OLD = ("again", "all-list", "mirror", "compare")


def source(root: Path) -> None:
    """Make a small tree with a bit of everything."""
    owner = (1000, 1000) if os.geteuid() == 0 else None
    files: dict[Name, Node] = {f"f{number}": File(b"a%d" % number * 100) for number in range(4)}
    build(root, {
        "a": Dir({**files, "own": File(b"own", owner=owner, xattrs={"user.k": b"v"})}),
        "deep": Dir({"er": Dir({"f": File(b"deeper"), "link": Symlink("f"), "fifo": Fifo()}), "g": File(b"g" * 5000)}),
        "x": Dir({"h1": File(b"hard" * 10), "u": File(b"u"), "m": File(b"m", mode=0o640)}, xattrs={"user.d": b"v"}),
        "y": Dir({"h2": HardLink("x/h1")}),
        "big": File(os.urandom(250_000)),
        "top": File(b"top", xattrs={"user.t": b"v"}),
    })  # fmt: skip


def destination(root: Path, src: Path, verb: str) -> None:
    """Make the destination as it is before the run."""
    root.mkdir()
    if verb not in (*_OLD, "remove"):
        return
    subprocess.run(["cp", "-a", f"{src}/.", root], check=True)
    if verb == "remove":
        return
    (root / "a/f0").write_bytes(b"old")
    (root / "a/f3").unlink()
    (root / "x/m").chmod(0o600)
    (root / "x").chmod(0o700)
    os.removexattr(root / "top", "user.t")
    os.utime(root / "deep/er", (1, 1))
    (root / "big").write_bytes(b"short")
    (root / "y/h2").unlink()
    (root / "deep/er/link").unlink()
    shutil.rmtree(root / "deep/er/f", ignore_errors=True)
    if verb in ("mirror", "compare"):
        build(root, {"extra": Dir({"e1": File(b"1"), "d": Dir({"e2": File(b"2")})})})
        (root / "a/extra").write_bytes(b"3")


Entry = tuple[Any, ...]


def entries(root: Path) -> dict[str, Entry]:
    """All entries by path, with type, mode, owner, mtime, xattrs and content, but without the link count."""
    found: dict[str, Entry] = {}
    for path in [root, *root.rglob("*")] if root.exists() else ():
        info = path.lstat()
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in sorted(
            os.listxattr(path, follow_symlinks=False)))  # fmt: skip
        kept = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, xattrs)
        found[str(path.relative_to(root))] = (*kept, content)
    return found


@dataclass
class Tried:
    """A run with a fault, and the errors found in it."""

    code: int
    output: str
    failures: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)


def attempt(
    place: Path, verb: str, side: str = "dst", world: World = PLAIN, timeout: float = 40, **fault: Any
) -> Tried:
    """Run a verb with a fault on one side; return what is wrong. With a trace instead, count the calls."""
    src, dst, trace = place / "src", place / "dst", fault.get("trace")
    source(src)
    destination(dst, src, verb)
    before = {"src": entries(src), "dst": entries(dst)}
    with ExitStack() as stack:
        mount = stack.enter_context(mounted(place / side, **fault))
        seen = {"SRC": src, "DST": dst, side.upper(): mount}
        report = place / "report.json"
        words = [_placed(word, seen) for word in VERBS[verb]]
        done = world.run(["--json", report, *words], timeout=timeout)
        tried = Tried(done.returncode, str(done))
        if report.exists():
            told = json.loads(report.read_text())
            tried.failures = {each["path"]: each["reason"] for each in told["failures"]}
            tried.notes = {each["path"]: each["note"] for each in told["notes"]}
        if done.left_behind:
            tried.wrong.append(f"left running: {done.left_behind}")
    if trace:
        tried.calls = Counter(line.split(" ", 1)[0] for line in Path(trace).read_text().splitlines())
    named = {_below(path, seen) for path in tried.failures}
    if named & set(_ONE_FILE):
        named |= set(_ONE_FILE)  # one inode, which may be named by either
    inodes = {(dst / path).lstat().st_ino for path in _ONE_FILE if (dst / path).exists()}
    if (
        tried.code in (0, 23)
        and verb not in ("remove", "compare")
        and not _excused(_ONE_FILE[0], named)
        and len(inodes) != 1
    ):
        tried.wrong.append("one file became two")
    _judge(tried, verb, before, {"src": entries(src), "dst": entries(dst)}, named, fault.get("fail_errno"), side)
    _again(tried, verb, place, before["src"])
    return tried


def _placed(word: str, seen: Mapping[str, Path]) -> str:
    for name, path in seen.items():
        word = word.replace(name, str(path))
    return word


def _below(path: str, seen: Mapping[str, Path]) -> str:
    """The path below the source or the destination."""
    for root in seen.values():
        if path == str(root) or path == f"{root}/":
            return "."
        if path.startswith(f"{root}/"):
            return path.removeprefix(f"{root}/")
    return path


def _judge(
    tried: Tried,
    verb: str,
    before: Mapping[str, dict[str, Entry]],
    after: Mapping[str, dict[str, Entry]],
    named: set[str],
    number: int | None,
    side: str,
) -> None:
    wrong = tried.wrong
    if "Traceback" in tried.output:
        wrong.append("a traceback")
    if tried.code == 1 and "hpcp-mpi: " in tried.output and before == after:
        return  # it refused to begin
    if tried.code not in ((0, 3, 23) if verb == "compare" else (0, 23)):
        wrong.append(f"exit {tried.code}")
    if (tried.code == 23) != bool(tried.failures):
        wrong.append(f"exit {tried.code} with failures {tried.failures}")
    if number is not None and not (verb == "move" and side == "src"):
        # A move also reports entries that it leaves there, without the error of the call.
        reasons = {path: why for path, why in tried.failures.items() if "nothing was removed here" not in why}
        wrong += [f"not the reason: {path}: {why}" for path, why in reasons.items() if WORDS[number] not in why]
    # Private directories may stay where they could not be removed; that is noted.
    left = {path for path in after["dst"] if Path(path).name.startswith(os.fsdecode(STAGE))}
    if left and not any("staging directory" in note for note in tried.notes.values()):
        wrong.append(f"left behind: {sorted(left)}")
    there = {path: each for path, each in after["dst"].items() if not any(_is_in(path, stage) for stage in left)}
    if verb == "remove":
        _judge_removed(wrong, there, named)
    elif verb == "compare":
        if after != before:
            wrong.append("a compare wrote")
    else:
        _judge_copied(wrong, verb, before, after["src"], there, named)
    if verb == "move":
        _judge_moved(wrong, before["src"], after["src"], there)
    elif verb != "remove" and after["src"] != before["src"]:
        wrong.append("the source is not what it was")


def _is_in(path: str, directory: str) -> bool:
    return directory == "." or path == directory or path.startswith(f"{directory}/")


def _excused(path: str, named: set[str]) -> bool:
    return any(_is_in(path, name) for name in named)


def _judge_removed(wrong: list[str], there: Mapping[str, Entry], named: set[str]) -> None:
    for path in there:
        below = any(_is_in(name, path) for name in named)
        if not below and not _excused(path, named) and path != ".":
            wrong.append(f"still there and not named: {path}")


def _judge_copied(
    wrong: list[str],
    verb: str,
    before: Mapping[str, dict[str, Entry]],
    kept: Mapping[str, Entry],
    there: Mapping[str, Entry],
    named: set[str],
) -> None:
    wanted, old = before["src"], before["dst"]
    for path, entry in wanted.items():
        found = there.get(path)
        if _excused(path, named):
            # A failed file may be there whole, or be what it was; it is never half of a file.
            contents = (None, entry[-1], old[path][-1] if path in old else None)
            if found is not None and stat.S_ISREG(found[0]) and found[-1] not in contents:
                wrong.append(f"in part: {path}")
            continue
        if found is None:
            wrong.append(f"missing: {path}")
        elif found != entry:
            wrong.append(f"not equal: {path}: {_difference(entry, found)}")
    extra = set(old) - set(wanted)
    gone = extra - set(there)
    if verb != "mirror" and gone:
        wrong.append(f"removed: {sorted(gone)}")
    if verb == "mirror" and not named and extra & set(there):
        wrong.append(f"not removed: {sorted(extra & set(there))}")
    if any(name in wanted for name in named - {"."}) and gone:
        wrong.append(f"removed after a failure: {sorted(gone)}")
    if set(there) - set(wanted) - set(old):
        wrong.append(f"came from nowhere: {sorted(set(there) - set(wanted) - set(old))}")


def _difference(entry: Entry, found: Entry) -> str:
    names = ("mode", "uid", "gid", "mtime", "xattrs", "content")
    return ", ".join(name for name, one, other in zip(names, entry, found, strict=True) if one != other)


def _judge_moved(
    wrong: list[str], wanted: Mapping[str, Entry], kept: Mapping[str, Entry], there: Mapping[str, Entry]
) -> None:
    for path, entry in wanted.items():
        if path not in kept and (path not in there or (there[path] != entry and not stat.S_ISDIR(entry[0]))):
            wrong.append(f"lost: {path}")


def _again(tried: Tried, verb: str, place: Path, wanted: dict[str, Entry]) -> None:
    """Check that the same run without the fault completes."""
    if tried.code == 0 or tried.wrong or verb == "compare":
        return
    src, dst = place / "src", place / "dst"
    words = [_placed(word, {"SRC": src, "DST": dst}) for word in VERBS[verb]]
    if verb == "remove":
        words = [*words[:2], *(word for word in words[2:] if os.path.lexists(word))]
    if len(words) == 2 or not src.exists():
        return
    done = PLAIN.run(words)
    if done.returncode:
        tried.wrong.append(f"the next run: {done}")
    elif verb == "remove":
        if os.listdir(dst):
            tried.wrong.append("the next run leaves something")
    else:
        found = entries(dst)
        wrong = [path for path, entry in wanted.items() if path not in found or found[path][-1] != entry[-1]]
        if verb != "move":
            wrong += [path for path, entry in wanted.items() if found.get(path) != entry]
        left = [path for path in found if path not in wanted]
        if wrong or left:
            tried.wrong.append(f"the next run leaves {sorted(set(wrong))} as they are, and {left}")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory in memory."""
    return tempfile.TemporaryDirectory(prefix="hpcp-mpi-test-", dir="/dev/shm")
