"""Blocks copied between files and devices."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.raw import copy_blocks, differing, write_zeros
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.vocab.errors import FatalError

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A source of 5 MiB and 1000 bytes with holes and zeros, and an empty target; open."""
    with open(tmp_path / "source", "wb") as file:
        file.truncate(5 * MIB + 1000)
        file.seek(MIB + 100)
        file.write(random.Random(1).randbytes(MIB))
        file.write(bytes(MIB))
        file.seek(5 * MIB + 999)
        file.write(b"x")
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT, 0o600)
    yield source, target
    os.close(source)
    os.close(target)


@pytest.mark.parametrize(("offset", "to", "length"), [(0, 0, 5 * MIB + 1000), (4096, 512, 4 * MIB), (MIB + 1, 7, 99)])
@pytest.mark.parametrize("zeros", [True, False])
def test_a_range_is_copied_and_nothing_beside_it(
    pair: tuple[int, int], offset: int, to: int, length: int, zeros: bool
) -> None:
    source, target = pair
    os.pwrite(target, b"\xff" * (6 * MIB), 0)
    if zeros:
        write_zeros(target, to, length, b"target")
    shown: list[int] = []
    result = copy_blocks(source, offset, target, to, length, progress=shown.append, zeros=zeros)
    content = os.pread(source, length, offset)
    assert os.pread(target, length, to) == content
    assert os.pread(target, to, 0) == b"\xff" * to
    assert os.pread(target, 6 * MIB, to + length) == b"\xff" * (6 * MIB - to - length)
    assert (result.bytes, sum(shown), result.bad) == (length, length, [])
    assert not differing(source, offset, target, to, length)


def test_a_new_file_gets_no_zeros(pair: tuple[int, int]) -> None:
    source, target = pair
    os.truncate(target, 5 * MIB + 1000)
    copy_blocks(source, 0, target, 0, 5 * MIB + 1000, zeros=True)
    assert os.fstat(target).st_blocks * 512 < 3 * MIB


def test_what_differs_is_found_where_it_is(pair: tuple[int, int]) -> None:
    source, target = pair
    copy_blocks(source, 0, target, 0, 5 * MIB)
    os.pwrite(target, b"!", 3 * MIB)
    assert differing(source, 0, target, 0, 5 * MIB) == [(3 * MIB, MIB)]


def test_a_source_that_ends_before_is_an_error(pair: tuple[int, int]) -> None:
    source, target = pair
    with pytest.raises(FatalError, match="ends at byte 5,243,880"):
        copy_blocks(source, 0, target, 0, 6 * MIB)


def test_a_full_target_is_an_error_that_says_where(pair: tuple[int, int]) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(FatalError, match="cannot write to disk at byte 0: No space left") as failed:
            copy_blocks(pair[0], 0, full, 0, MIB, shown=b"disk")
    finally:
        os.close(full)
    assert failed.value.remedy


def test_it_stops_when_it_is_told(pair: tuple[int, int]) -> None:
    with pytest.raises(Stopped):
        copy_blocks(pair[0], 0, pair[1], 0, MIB, stop=lambda: True)
    assert os.fstat(pair[1]).st_size == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
def test_what_cannot_be_read_becomes_zeros_and_is_named(tmp_path: Path) -> None:
    """The file of a loop device is cut while it is attached: what is no longer there is an I/O error."""
    content = random.Random(2).randbytes(3 * MIB)
    (tmp_path / "disk").write_bytes(content)
    file, target = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("disk", "target"))
    try:
        with attach(file) as loop:
            os.truncate(file, MIB + 3 * 4096)
            result = copy_blocks(loop.fd, 4096, target, 0, 3 * MIB - 4096)
        lost = 2 * MIB - 3 * 4096
        assert result.bad == [(MIB + 3 * 4096, lost)]
        assert os.pread(target, 3 * MIB, 0) == content[4096 : MIB + 3 * 4096] + bytes(lost)
    finally:
        os.close(file)
        os.close(target)
