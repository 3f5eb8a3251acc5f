"""Tables written to disks that hold something, of both sector sizes."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.block import loops, probing, table_writing
from hpcp_mpi.host.block.probing import found_table
from hpcp_mpi.host.commands import Answer, answer_of
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Partition, Table

MIB = 1 << 20
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
UUID = "7E57D15C-0000-4000-8000-00000000D15C"
Disk = Callable[[int], int]
root = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """disk(size) is an open file of such a size with boot code and something in each MiB."""
    opened = []

    def of(size: int) -> int:
        opened.append(os.open(tmp_path / "disk", os.O_RDWR | os.O_CREAT, 0o600))
        os.truncate(opened[-1], size)
        os.pwrite(opened[-1], b"B" * 440, 0)
        for at in range(MIB, size - MIB, MIB):
            os.pwrite(opened[-1], b"content", at)
        return opened[-1]

    yield of
    for each in opened:
        os.close(each)


def a_gpt(sector: int, number: int = 7) -> Table:
    mib = MIB // sector
    partitions = (
        Partition(2, 30 * mib, mib, LINUX, UUID, "a\"b'\\ é", "RequiredPartition GUID:63"),
        Partition(number, mib, 20 * mib, LINUX, UUID.replace("7E57", "0000")),
    )
    return Table("gpt", UUID, sector, partitions, 2 + 128 * 128 // sector)


def kept(fd: int, size: int) -> bool:
    content = [os.pread(fd, 7, at) for at in range(MIB, size - MIB, MIB)]
    return os.pread(fd, 440, 0) == b"B" * 440 and set(content) == {b"content"}


@pytest.mark.parametrize("sector", [512, pytest.param(4096, marks=root)])
def test_an_sfdisk_that_knows_no_sector_sizes_will_do(disk: Disk, monkeypatch: pytest.MonkeyPatch, sector: int) -> None:
    """That of util-linux 2.32 (RHEL 8) prints none, and refuses a script with a line that it does not know."""

    def old(arguments: Sequence[bytes | str], *more: Any, **named: Any) -> Answer:
        assert not any(b"sector-size" in each for each in more if isinstance(each, bytes))
        done = answer_of(arguments, *more, **named)
        return done._replace(output=re.sub(rb',?\s*"sectorsize": *\d+', b"", done.output))

    monkeypatch.setattr(table_writing, "answer_of", old)
    monkeypatch.setattr(probing, "answer_of", old)
    assert table_writing.write(disk(64 * MIB), a_gpt(sector), b"disk").sector == sector


@pytest.mark.parametrize("sector", [512, pytest.param(4096, marks=root)])
def test_a_gpt_is_written_between_what_is_there(disk: Disk, tmp_path: Path, sector: int) -> None:
    fd = disk(64 * MIB)
    written = table_writing.write(fd, a_gpt(sector), b"disk")
    assert (written.partitions, written.id) == (a_gpt(sector).partitions, UUID)
    assert kept(fd, 64 * MIB)
    if sector == 512:
        judged = subprocess.run(["sgdisk", "--verify", tmp_path / "disk"], capture_output=True, text=True, check=True)
        assert "No problems found" in judged.stdout


def test_an_mbr_is_written_between_what_is_there(disk: Disk) -> None:
    fd = disk(64 * MIB)
    partitions = (
        Partition(1, 2048, 4096, "83", bootable=True),
        Partition(2, 8192, 20480, "f"),
        Partition(5, 10240, 2048, "82"),
        Partition(6, 14336, 2048, "83"),
    )
    table = Table("dos", "0xdeadbeef", 512, partitions)
    assert table_writing.write(fd, table, b"disk") == table
    assert os.pread(fd, 440, 0) == b"B" * 440
    assert os.pread(fd, 7, 5 * MIB) == b"content"


def test_a_table_that_does_not_fit_is_refused_when_it_is_tried() -> None:
    with pytest.raises(FatalError, match="partition table of disk cannot be written"):
        table_writing.tried(a_gpt(512), 30 * 2048, b"disk")


@pytest.mark.parametrize("sector", [512, pytest.param(4096, marks=root)])
def test_a_table_that_is_tried_is_the_one_that_is_written(disk: Disk, sector: int) -> None:
    tried = table_writing.tried(a_gpt(sector), 64 * MIB // sector, b"disk")
    assert tried == table_writing.write(disk(64 * MIB), a_gpt(sector), b"disk")
    assert tried.last > 60 * MIB // sector


def test_a_disk_of_an_exbibyte_can_be_tried() -> None:
    big = replace(a_gpt(512), partitions=(Partition(128, 2048, 1 << 50, LINUX, UUID),))
    assert table_writing.tried(big, (1 << 50) + 5000, b"disk").partitions == big.partitions


@root
def test_a_table_of_sectors_of_4096_is_read_from_a_loop_device(disk: Disk) -> None:
    fd = disk(64 * MIB)
    table_writing.write(fd, a_gpt(4096), b"disk")
    with loops.attach(fd, sector=4096) as loop:
        found = found_table(loop.path)
    assert found is not None
    assert found.table.partitions == a_gpt(4096).partitions
    with loops.attach(fd) as loop, pytest.raises(FatalError, match="sectors of 4096 bytes, and is read with 512"):
        found_table(loop.path)


@pytest.mark.parametrize("sector", [512, pytest.param(4096, marks=root)])
def test_names_may_have_any_character(disk: Disk, tmp_path: Path, sector: int) -> None:
    """sfdisk writes none beyond the first 65,536, as emoji are."""
    table = a_gpt(sector)
    partitions = (table.partitions[0], replace(table.partitions[1], name="\U0001f600 and \U00010000 \ue000\uffff"))
    fd = disk(64 * MIB)
    assert table_writing.write(fd, replace(table, partitions=partitions), b"disk").partitions == partitions
    assert kept(fd, 64 * MIB)
    if sector == 512:
        judged = subprocess.run(["sgdisk", "--verify", tmp_path / "disk"], capture_output=True, text=True, check=True)
        assert "No problems found" in judged.stdout
