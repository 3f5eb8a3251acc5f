"""Signatures and partition tables of real files, made by sfdisk, sgdisk and mkfs."""

import os
import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.host.block import probing
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import Table

MIB = 1 << 20
GPT = b"""label: gpt
4 : start=2048, size=8192, name="boot", attrs="RequiredPartition NoBlockIOProtocol LegacyBIOSBootable GUID:48,60,63"
2 : start=20480, size=40960, name="r\\x22oo\\x5ct \xc3\xa9\xe2\x98\x83"
3 : start=12288, size=4096, type=swap
"""
MBR = b"""label: dos
label-id: 0x12345678
1 : start=2048, size=10240, type=83, bootable
2 : start=12288, size=61440, type=f
3 : start=73728, size=10240, type=82
5 : start=14336, size=14336, type=83
6 : start=32768, size=14336, type=83
"""


def disk(path: Path, script: bytes, size: int = 64 * MIB) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run(["sfdisk", "--quiet", path], input=script, check=True)
    return path


def changed(path: Path, at: int, content: bytes) -> Path:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)
    return path


def table_of(path: Path) -> Table | None:
    return probing.table_of(os.fsencode(path))


def refusal(path: Path) -> str:
    with pytest.raises(FatalError) as refused:
        probing.found_table(os.fsencode(path))
    assert refused.value.remedy
    return refused.value.message


def test_a_gpt_is_read_with_all_names_and_attributes(tmp_path: Path) -> None:
    table = table_of(disk(tmp_path / "a1", GPT))  # sfdisk puts a p between a name that ends in a digit and the number
    assert table is not None
    assert (table.label, table.sector, table.length, table.last) == ("gpt", 512, 128, 131038)
    assert [(each.number, each.start, each.size, each.name) for each in table.partitions] == [
        (2, 20480, 40960, 'r"oo\\t é☃'),
        (3, 12288, 4096, ""),
        (4, 2048, 8192, "boot"),
    ]
    assert table.partitions[2].attributes == "RequiredPartition NoBlockIOProtocol LegacyBIOSBootable GUID:48,60,63"


def test_an_mbr_is_read_with_logical_partitions(tmp_path: Path) -> None:
    table = table_of(disk(tmp_path / "a.img", MBR))
    assert table is not None
    assert (table.label, table.id) == ("dos", "0x12345678")
    assert [(each.number, each.type, each.bootable) for each in table.partitions] == [
        (1, "83", True),
        (2, "f", False),
        (3, "82", False),
        (5, "83", False),
        (6, "83", False),
    ]


def test_a_gpt_that_is_cut_short_is_no_mbr(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", GPT)
    os.truncate(path, 20 * MIB)
    assert refusal(path) == f"{path} is cut short: partition 2 ends at byte 31,457,280, and there are 20,971,520 bytes"
    os.truncate(path, 40 * MIB)  # all partitions are there, the backup of the table is not
    assert "its partition table ends at byte 67,108,864" in refusal(path)


def test_an_mbr_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", MBR)
    os.truncate(path, 20 * MIB)
    assert "partition 6 ends at byte 24,117,248" in refusal(path)


@pytest.mark.parametrize("at", [512 + 40, 1024 + 32])
def test_a_gpt_whose_first_copy_is_damaged_is_refused(tmp_path: Path, at: int) -> None:
    """In its header, and in its entries."""
    assert "damaged" in refusal(changed(disk(tmp_path / "a.img", GPT), at, b"\x77"))


def test_an_erased_first_copy_is_damage_and_no_mbr(tmp_path: Path) -> None:
    assert "damaged" in refusal(changed(disk(tmp_path / "a.img", GPT), 512, bytes(512)))


def test_a_gpt_without_its_mbr_is_damaged(tmp_path: Path) -> None:
    assert "without its protective MBR" in refusal(changed(disk(tmp_path / "a.img", GPT), 0, bytes(512)))


def test_only_the_backup_is_damaged_so_the_table_is_good(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", GPT)
    before = probing.found_table(os.fsencode(path))
    changed(path, 64 * MIB - 512, bytes(512))
    after = probing.found_table(os.fsencode(path))
    assert before is not None
    assert after is not None
    assert (before.table, before.backup_damaged, after.backup_damaged) == (after.table, False, True)


def test_a_backup_that_is_not_at_the_end_is_good(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", GPT)
    os.truncate(path, 80 * MIB)
    found = probing.found_table(os.fsencode(path))
    assert found is not None
    assert not found.backup_damaged


def test_a_hybrid_mbr_is_seen(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", GPT)
    subprocess.run(["sgdisk", "--hybrid", "2:3", path], check=True, stdout=subprocess.DEVNULL)
    found = probing.found_table(os.fsencode(path))
    assert found is not None
    assert found.hybrid
    assert len(found.table.partitions) == 3


def test_partitions_that_lie_on_each_other_are_refused(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", MBR)
    changed(path, 446 + 2 * 16 + 8, (4096).to_bytes(4, "little"))  # the third begins within the first
    assert "the partitions 1 and 3 lie on each other" in refusal(path)


def test_a_table_of_64_entries_keeps_its_length(tmp_path: Path) -> None:
    path = disk(tmp_path / "a.img", GPT)
    subprocess.run(["sgdisk", "--resize-table=64", path], check=True, stdout=subprocess.DEVNULL)
    table = table_of(path)
    assert table is not None
    assert table.length == 64


def test_other_tables_are_refused_by_their_name(tmp_path: Path) -> None:
    assert "partition table of kind sun" in refusal(disk(tmp_path / "a.img", b"label: sun\n"))


@pytest.mark.parametrize("make", [["mkfs.ext4", "-q", "-F"], ["mkfs.vfat"], ["mkswap", "-q"], ["true"]])
def test_a_whole_file_system_has_no_table(tmp_path: Path, make: list[str]) -> None:
    """sfdisk shows the boot sector of FAT as an empty MBR."""
    path = tmp_path / "a.img"
    with open(path, "wb") as file:
        file.truncate(8 * MIB)
    subprocess.run([*make, path], check=True, stdout=subprocess.DEVNULL)
    assert table_of(path) is None


def test_labels_are_exact(tmp_path: Path) -> None:
    path, label = tmp_path / "a.img", 'a é$"\\x'
    with open(path, "wb") as file:
        file.truncate(8 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", label, path], check=True)
    content = probing.content_of(os.fsencode(path))
    assert (content.type, content.usage, content.label, content.several) == ("ext4", "filesystem", label, False)
    assert (
        content.uuid == subprocess.check_output(["blkid", "-p", "-o", "value", "-s", "UUID", path], text=True).strip()
    )


def test_two_signatures_are_several_and_none_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    with open(path, "wb") as file:
        file.truncate(16 * MIB)
    assert probing.content_of(os.fsencode(path)) == probing.Content()
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    with open(path, "rb") as file:
        superblock = file.read(4096)
    subprocess.run(["mkfs.vfat", path], check=True, stdout=subprocess.DEVNULL)
    changed(path, 1024, superblock[1024:2048])
    assert probing.content_of(os.fsencode(path)).several


def test_what_cannot_be_read_is_no_empty_device(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="cannot be looked at"):
        probing.content_of(os.fsencode(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("begin", "word", "remedy"),
    [
        (b"QFI\xfb", "qcow2", "qemu-img convert -O raw"),
        (b"KDMV", "VMDK", "qemu-img convert -O raw"),
        (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d"),
        (b"\x1f\x8b\x08", "gzip", "gzip -d"),
    ],
)
def test_packed_images_are_refused_with_the_command_that_unpacks(
    tmp_path: Path, begin: bytes, word: str, remedy: str
) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(begin + bytes(4096))
    with open(path, "rb") as file, pytest.raises(FatalError, match=word) as refused:
        probing.refuse_packed(file.fileno(), os.fsencode(path))
    assert remedy in refused.value.remedy


def test_a_table_of_sectors_of_4096_is_known_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(bytes(4096) + b"EFI PART" + bytes(8192))
    with open(path, "rb") as file:
        assert probing.sector_of(file.fileno()) == 4096
    assert "sectors of 4096" in refusal(path)
