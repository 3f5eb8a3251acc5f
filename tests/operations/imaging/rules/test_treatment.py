"""What is done with each partition."""

import pytest

from hpcp_mpi.operations.imaging.rules.treatment import Facts, Kind, Treatment, treatment_of
from hpcp_mpi.vocab.image_options import Content, Partition, Table

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"


def treat(type: str, usage: str = "filesystem", facts: Facts | None = None, gpt_type: str = LINUX) -> Treatment:
    partition = Partition(3, 2048, 4096, gpt_type)
    content = Content(type=type, usage=usage)
    return treatment_of(content, partition, Table("gpt", "X", 512, (partition,)), facts or Facts())


@pytest.mark.parametrize("type", ["ext2", "ext3", "ext4", "xfs", "btrfs"])
def test_file_systems_that_we_can_make_are_copied_by_files(type: str) -> None:
    assert treat(type) == Treatment(Kind.FILES, may_shrink=True, may_grow=True)
    assert treat(type, facts=Facts(live=True)).kind is Kind.FILES
    assert treat(type, facts=Facts(raw=True)) == Treatment(Kind.RAW, "--raw", may_grow=True)


@pytest.mark.parametrize("type", ["vfat", "exfat", "ntfs", "f2fs", "hfsplus", "udf", "iso9660", "squashfs", "erofs"])
def test_others_are_copied_as_they_are_and_may_get_more_room(type: str) -> None:
    found = treat(type)
    assert (found.kind, found.may_grow, found.may_shrink) == (Kind.RAW, True, False)
    assert treat(type, facts=Facts(live=True)).kind is (Kind.RAW if type == "vfat" else Kind.REFUSED)


@pytest.mark.parametrize(
    ("type", "usage"),
    [
        ("crypto_LUKS", "crypto"),
        ("LVM2_member", "raid"),
        ("linux_raid_member", "raid"),
        ("zfs_member", "filesystem"),
        ("bcache", "other"),
    ],
)
def test_what_others_are_made_of_keeps_its_size_and_is_not_copied_in_use(type: str, usage: str) -> None:
    found = treat(type, usage)
    assert (found.kind, found.may_grow, found.may_shrink) == (Kind.RAW, False, False)
    assert treat(type, usage, Facts(held="dm-0")).kind is Kind.REFUSED
    assert treat(type, usage, Facts(raw=True, held="dm-0")).kind is Kind.REFUSED


def test_swap_is_made_anew_and_a_hibernated_system_is_said() -> None:
    assert treat("swap", "other") == Treatment(Kind.SWAP, may_shrink=True, may_grow=True)
    assert "hibernated" in treat("swsuspend", "other").reason
    assert treat("swap", "other", Facts(held="swap")).kind is Kind.SWAP


def test_boot_programs_are_raw_whatever_is_found_in_them() -> None:
    for type in ("", "ext2", "vfat"):
        assert treat(type, gpt_type=BIOS_BOOT).kind is Kind.RAW
    assert treat("").kind is Kind.RAW


def test_an_extended_partition_is_part_of_the_table() -> None:
    partition = Partition(2, 2048, 4096, "f")
    assert treatment_of(Content(), partition, Table("dos", "1", 512, (partition,)), Facts()).kind is Kind.TABLE


def test_doubt_is_refused_and_names_raw() -> None:
    partition = Partition(3, 2048, 4096, LINUX)
    table = Table("gpt", "X", 512, (partition,))
    several = treatment_of(Content(several=True), partition, table, Facts())
    assert several.kind is Kind.REFUSED
    assert "--raw 3" in several.remedy
    assert treatment_of(Content(several=True), partition, table, Facts(raw=True)).kind is Kind.RAW


def test_a_file_system_that_cannot_be_made_again_is_raw_and_only_if_it_is_not_mounted() -> None:
    facts = Facts(by_files="it has its log on another device")
    assert treat("xfs", facts=facts) == Treatment(Kind.RAW, "it has its log on another device")
    assert treat("xfs", facts=Facts(by_files="x", live=True)).kind is Kind.REFUSED
