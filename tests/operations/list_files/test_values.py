"""Whatever sizes files have, and in whatever order they come: their hashes are those of their ends, and what is no file
has none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.operations.list_files import values as entry_values
from hpcp_mpi.operations.list_files.values import Values
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options

SMALL = 100  # bytes that are read at once here
SIZES = (0, 1, 99, 100, 101, 0, 0, 300, 5, 100, 101, 7, 8)


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Values]:
    monkeypatch.setattr(entry_values, "_SMALL", SMALL)
    root = root_of(os.fsencode(tmp_path))

    def make(**options: int | bool) -> Values:
        chosen = Options(**options)  # type: ignore[arg-type]
        job = Job(chosen, (root,), "token", root.path, root, abilities=Abilities())
        return Values(JobContext(job, Commands(), 1))

    return make


def of(values: Values, directory: Path, names: list[bytes]) -> tuple[list[bytes], dict[bytes, OSError]]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return values.of(names, {}, fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("options", [{}, {"hash_size": 40}, {"hash_size": 250}, {"full_hash": True}], ids=str)
@pytest.mark.parametrize("start", range(0, len(SIZES), 3))
def test_hashes_are_those_of_the_ends_of_files(
    tmp_path: Path, values: Callable[..., Values], options: dict[str, int], start: int
) -> None:
    tail = len(SIZES) * SMALL if options.get("full_hash") else options.get("hash_size", 64 << 10)
    wanted = []
    names = []
    for number, size in enumerate(SIZES[start:] + SIZES[:start]):
        content = os.urandom(size)
        (tmp_path / str(number)).write_bytes(content)
        names.append(b"%d" % number)
        wanted.append(xxhash.xxh64_hexdigest(content[-tail:]).encode())
    reader = values(**options)
    assert of(reader, tmp_path, names) == (wanted, {})
    assert of(reader, tmp_path, names[::-1]) == (wanted[::-1], {})


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink", "nothing"])
def test_what_became_something_else_has_no_hash(tmp_path: Path, values: Callable[..., Values], kind: str) -> None:
    names = [b"%d" % number for number in range(10)]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"small")
    other = tmp_path / "6"
    other.unlink()
    if kind == "fifo":
        os.mkfifo(other)
    elif kind == "directory":
        other.mkdir()
    elif kind == "symlink":
        other.symlink_to("7")
    found, failed = of(values(), tmp_path, names)
    hashed = xxhash.xxh64_hexdigest(b"small").encode()
    assert found == [hashed] * 6 + [b""] + [hashed] * 3
    assert failed.keys() == {b"6"}


def test_descriptors_are_closed_whatever_happens(tmp_path: Path, values: Callable[..., Values]) -> None:
    names = [b"%d" % number for number in range(10)]
    for name in names[:8]:
        (tmp_path / os.fsdecode(name)).write_bytes(b"small")
    (tmp_path / "8").mkdir()
    before = os.listdir("/proc/self/fd")
    of(values(), tmp_path, names)
    assert os.listdir("/proc/self/fd") == before
