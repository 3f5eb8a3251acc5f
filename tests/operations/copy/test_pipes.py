"""A pipe that has the name of a file by the time that it is opened, to be read or hashed: nothing waits for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpcp_mpi.host.hashing import differing
from hpcp_mpi.host.range_copy import opened
from hpcp_mpi.host.uncached_read import open_quietly
from hpcp_mpi.operations.compare import worker as compare
from hpcp_mpi.operations.copy import check
from hpcp_mpi.operations.list_files.values import Values
from hpcp_mpi.vocab.options import Options

CONTEXT: Any = SimpleNamespace(options=Options(), commands=SimpleNamespace(stopped=False))
SIZE = 100_000  # of the file that had the name


def read_range(directory: int) -> None:
    with opened(directory, b"pipe"):
        pytest.fail("it was taken for a file")


WAYS: dict[str, Callable[[int], object]] = {
    "check": lambda fd: check._digest(CONTEXT, b"pipe", fd, SIZE),
    "compare": lambda fd: compare._content(CONTEXT, fd, b"pipe", os.stat_result((0o100644, *[0] * 5, SIZE, 0, 0, 0))),
    "range": read_range,
    "list": lambda fd: Values(CONTEXT)._hash(b"pipe", fd),
}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/pipe").write_bytes(b"x" * SIZE)
    fd = os.open(tmp_path, os.O_RDONLY)
    signal.alarm(10)  # what waits for a pipe ends this process
    yield fd
    signal.alarm(0)
    os.close(fd)


@pytest.mark.parametrize("written_to", [False, True], ids=["nobody", "a writer"])
@pytest.mark.parametrize("way", WAYS)
def test_a_pipe_is_refused(way: str, written_to: bool, directory: int) -> None:
    """Also one at whose other end somebody waits and writes nothing."""
    other = os.open("pipe", os.O_RDWR, dir_fd=directory) if written_to else None
    try:
        with pytest.raises(OSError):
            WAYS[way](directory)
    finally:
        if other is not None:
            os.close(other)


def test_a_pipe_is_not_equal_to_a_file(directory: int) -> None:
    other = os.open("other", os.O_RDONLY, dir_fd=directory)
    try:
        assert differing([(b"pipe", SIZE)], directory, other, 64)
        assert differing([(b"pipe", SIZE)], other, directory, 64)
        os.close(open_quietly(b"pipe", directory))  # whoever opens it so looks at its type next
    finally:
        os.close(other)
