"""Helpers of the tests of file lists: lists by the tool, by find and by lstat."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import xxhash

from hpcp_mpi.operations.session import run
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from tests.support import launch, oracle
from tests.support.launch import Argument

EMPTY = "ef46db3751d8e999"


def made(source: Argument, file: Path, *, hashes: bool = True, nul: bool = False, **options: object) -> bytes:
    """Write a list in this process, whose limits a test may have lowered; return it."""
    report = listed(source, file, hashes=hashes, nul=nul, **options)
    assert report.failures == []
    return file.read_bytes()


def listed(source: Argument, file: Path, *, hashes: bool = True, nul: bool = False, **options: object) -> Report:
    request = Request(
        Verb.LIST,
        (os.fsencode(source),),
        options=Options(**options),  # type: ignore[arg-type]
        file_list=os.fsencode(file),
        hashes=hashes,
        nul=nul,
    )
    return run(request, {})


def expected(root: Path, prefix: str = "", *, hashes: bool = True, tail: int | None = 65536) -> set[bytes]:
    """The lines of a tree's list, from lstat and the files themselves; no name may need escapes."""
    lines = {(prefix or "./").encode()}
    for path, info in oracle.lstats(root).items():
        name = prefix.encode() + path
        place = os.fsencode(root) + b"/" + path
        if path == b".":
            continue
        if stat.S_ISDIR(info.st_mode):
            lines.add(name + b"/")
        elif not hashes:
            lines.add(name)
        elif stat.S_ISLNK(info.st_mode):
            lines.add(name + b":" + os.readlink(place))
        elif stat.S_ISREG(info.st_mode):
            lines.add(name + b":" + _hash(place, tail))
        else:
            lines.add(name + b":=" + _kind(info))
    return lines


def _hash(path: bytes, tail: int | None) -> bytes:
    if tail == 0:
        return b""
    content = Path(os.fsdecode(path)).read_bytes()
    return xxhash.xxh64(content if tail is None else content[-tail:]).hexdigest().encode()


def _kind(info: os.stat_result) -> bytes:
    if stat.S_ISFIFO(info.st_mode):
        return b"fifo"
    if stat.S_ISSOCK(info.st_mode):
        return b"socket"
    device = b"%d,%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
    return (b"block " if stat.S_ISBLK(info.st_mode) else b"char ") + device


def natural(name: bytes) -> list[object]:
    """Python's usual key of natural order, path component by path component."""
    parts = name.rstrip(b"/").split(b"/")
    directories = [part + b"/" for part in parts[:-1]] + [parts[-1] + (b"/" if name.endswith(b"/") else b"")]
    return [_component(part) for part in directories] if name != b"./" else []


def _component(part: bytes) -> tuple[list[object], bytes]:
    pieces = re.split(r"([0-9]+)", part.decode("utf-8", "surrogateescape"))
    return [int(piece) if at % 2 else piece.lower() for at, piece in enumerate(pieces)], part


def find(root: Path) -> set[bytes]:
    """All paths below a root, as find prints them."""
    done = subprocess.run(["find", ".", "-mindepth", "1", "-print0"], cwd=root, capture_output=True, check=True)
    return {path[2:] for path in done.stdout.split(b"\0") if path}


def run_with_input(args: Sequence[Argument], given: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run the tool with something on its standard input."""
    command, environment = launch.command_line(args, flavour="plain")
    return subprocess.run(command, input=given, capture_output=True, env=environment, timeout=60)


def names(lines: Iterable[bytes]) -> list[bytes]:
    """The names in lines that have nothing escaped."""
    return [line.partition(b":")[0] for line in lines]
