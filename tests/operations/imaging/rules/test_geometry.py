"""The geometry of file systems, from what their tools printed: recorded/ has the command in each first line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcp_mpi.operations.imaging.rules import likeness
from hpcp_mpi.operations.imaging.rules.geometry import MIB, Geometry
from hpcp_mpi.operations.imaging.rules.sizes import GIB
from hpcp_mpi.operations.imaging.rules.swap import parse_swap
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need

RECORDED = Path(__file__).parent.parent / "recorded"
UUID = "01234567-89ab-cdef-0123-456789abcdef"
# What the clone's mkfs gets of each, as "option value" (a comma in the option: a part of the value); `~`: it is tried.
WORDS = {
    "ext2": "-b 1024; -I 256; -N 16384; -r 3276; "
    "-O none,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file",
    "ext2-revision-0": "-r 0; -O none; -I 128",
    "ext2-small-blocks": "-b 1024; -I 128; -N 32768",
    "ext3": "-b 2048; -J size=8; -O, has_journal",
    "ext4": "-b 1024; -J size=4; -G 16; -e continue; -O, 64bit; -O, metadata_csum; -i 0d; -c -1",
    "ext4-big": "-b 4096; -J size=1024; -N 13107200; -r 2621440",
    "ext4-bigalloc": "-C 16384; -O, bigalloc",
    "ext4-casefold": "-E encoding=utf8-12.1; -O, casefold",
    "ext4-fast-commit": "-J size=8,fast_commit_size=512; -O, fast_commit",
    "ext4-meta-bg": "-O, meta_bg",
    "ext4-mmp-quota": "-E mmp_update_interval=7; -E quotatype=usr:grp:prj; -O, ea_inode; -O, inline_data",
    "ext4-no-checksums": "-b 1024; -r 2424",
    "ext4-orphan-file": "-O, orphan_file; -O, metadata_csum_seed",
    "ext4-sparse-super2": "-E num_backup_sb=1; -O, sparse_super2",
    "ext4-stripes": "-g 4096; -E stride=16; -E stripe_width=32; -e panic; -N 4992",
    "ext4-tuned": "-G 8; -I 512; -c 20; -i 30d; -e remount-ro; -u 5; -g 7; -r 1000; "
    "-E mount_opts=data=ordered; -E hash_alg=tea",
    "ext4-uninit-bg": "-O, uninit_bg",
    "xfs": "-b size=4096; -m crc=1; -m reflink=1; -m bigtime=1; -i sparse=1; -i size=512; -n size=4096; ~-i nrext64=0; "
    "~-m rmapbt=0",
    "xfs-ascii-ci": "-b size=1024; -n size=8192; -n version=ci",
    "xfs-big": "-i maxpct=5",
    "xfs-no-reflink": "-i size=1024; ~-m reflink=0; ~-m bigtime=0; ~-m inobtcount=0",
    "xfs-old": "-m crc=0; -n ftype=0; -i attr=1; -i projid32bit=0; -l version=1,lazy-count=0",
    "xfs-rmapbt-nrext64": "-m rmapbt=1; -i nrext64=1; -i maxpct=50",
    "xfs-sector-4096": "-s size=4096; ~-d sunit=128,swidth=512",
    "btrfs": "--nodesize 16384; --sectorsize 4096; --metadata dup; --data single",
    "btrfs-blake2": "--checksum blake2",
    "btrfs-mixed": "--mixed; --metadata single; --data single",
    "btrfs-old": "--nodesize 4096",
    "btrfs-single-dup": "--metadata single; --data dup",
    "btrfs-xxhash": "--checksum xxhash",
}
OBSTACLES = {
    "btrfs-raid1": "it has several devices",
    "ext3-external-journal": "its journal is on another device",
    "ext4-encrypt": "it may hold encrypted files",
    "ext4-verity": "it may hold files with fs-verity",
    "xfs-external-log": "its log is on another device",
}
FORGED = "ext4-forged-label"
SIZES = {"ext4-big": 200 * GIB, "xfs-big": 2048 * GIB, "xfs-sector-4096": 4294443008}  # of stripes, all whole


def text_of(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text().partition("\n")[2]


def geometry_of(name: str) -> Geometry:
    return likeness.parsed(name.split("-")[0], text_of(name), b"a label", UUID)


def words_of(made: MakeFileSystem) -> list[str]:
    """Each option with its value, and each part of a value with commas; of what is only tried, with ~ in front."""
    commands = [
        ("", made.arguments),
        *(("", words[1:]) for words in made.tune),
        *(("~", each) for each in made.optional),
    ]
    found = []
    for mark, words in commands:
        for option, value in zip(words, (*words[1:], ""), strict=True):
            found += [f"{mark}{option} {value}", f"{mark}{option}"]
            found += [f"{option}, {part}" for part in value.split(",")]
    return found


def test_all_that_is_recorded_is_expected_to_be_something() -> None:
    assert {path.stem for path in RECORDED.iterdir()} == {*WORDS, *OBSTACLES, FORGED}
    assert len(WORDS) + len(OBSTACLES) >= 30


@pytest.mark.parametrize("name", WORDS)
def test_a_clone_is_made_as_the_recorded_one_was(name: str) -> None:
    geometry = geometry_of(name)
    assert geometry.obstacle == ""
    assert geometry.size == SIZES.get(name, (320 if name.startswith(("xfs", "btrfs")) else 64) * MIB)
    made = likeness.made_like(geometry, geometry.size, Need())
    assert made.bytes == geometry.size
    assert [word for word in WORDS[name].split("; ") if word not in words_of(made)] == []
    label = "--label" if geometry.type == "btrfs" else "-L"
    assert made.arguments[made.arguments.index(label) + 1] == "a label"


@pytest.mark.parametrize("name", [*WORDS, *OBSTACLES])
def test_its_uuid_is_given_when_it_is_made_of_btrfs_at_the_end(name: str) -> None:
    if name.startswith("btrfs-raid"):
        return
    geometry = geometry_of(name)
    made = likeness.made_like(geometry, geometry.size, Need())
    if geometry.type == "btrfs":
        assert made.finish == (("btrfstune", "-f", "-U", UUID),)
        now = likeness.made_like(geometry, geometry.size, Need(), uuid_now=True)
        assert (now.finish, now.arguments[-2:]) == ((), ("--uuid", UUID))
    else:
        assert (f"uuid={UUID}" if geometry.type == "xfs" else UUID) in made.arguments


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_a_copy_of_files_would_not_clone_says_so(name: str) -> None:
    assert geometry_of(name).obstacle.startswith(OBSTACLES[name])


def test_a_label_that_forges_a_line_is_noticed() -> None:
    with pytest.raises(FatalError, match="Block size is there twice"):
        geometry_of(FORGED)


@pytest.mark.parametrize(
    ("name", "line", "other"),
    [
        ("ext4", "Default mount options:    user_xattr acl", "Default mount options:    acl -f"),
        ("ext4", "Default directory hash:   half_md4", "Default directory hash:   siphash"),
        ("ext4", "Block size:               1024", "Block size:               many"),
        ("ext4", "Block count:              65536", "Block count:              0"),
        ("xfs", "blocks=81920", "blocks=none"),
        ("btrfs", "sectorsize\t\t4096", "sectorsize\t\t"),
    ],
)
def test_what_is_not_understood_is_refused(name: str, line: str, other: str) -> None:
    text = text_of(name)
    assert line in text
    with pytest.raises(FatalError, match=r"the geometry of this \w+ is not understood"):
        likeness.parsed(name, text.replace(line, other), b"", UUID)


def test_an_unknown_feature_goes_to_mke2fs_which_refuses_it_by_name() -> None:
    text = text_of("ext4").replace("metadata_csum", "FEATURE_C12")
    made = likeness.made_like(likeness.parsed("ext4", text, b"", UUID), 64 * MIB, Need())
    assert "FEATURE_C12" in made.arguments[made.arguments.index("-O") + 1].split(",")


def test_an_unknown_feature_of_xfs_or_btrfs_is_an_obstacle() -> None:
    xfs = text_of("xfs").replace("nrext64=0", "nrext64=0 wormholes=1")
    assert likeness.parsed("xfs", xfs, b"", UUID).obstacle == "it has the feature wormholes=1, which is not known here"
    btrfs = text_of("btrfs").replace("incompat_flags\t\t0x341", "incompat_flags\t\t0x2000341")
    assert "incompat 0x2000000" in likeness.parsed("btrfs", btrfs, b"", UUID).obstacle


def test_what_a_newer_xfs_info_prints_is_known() -> None:
    """The lines that xfsprogs 6.12 and 6.15 have in addition."""
    text = text_of("xfs-rmapbt-nrext64")
    text = text.replace("nrext64=1\n", "nrext64=1\n         =                       exchange=1   metadir=0\n")
    text = text.replace("ftype=1\n", "ftype=1, parent=1\n")
    text += "         =                       rgcount=0    rgsize=0 extents\n"
    text += "         =                       zoned=0      start=0 reserved=0\n"
    geometry = likeness.parsed("xfs", text, b"", UUID)
    assert geometry.obstacle == ""
    words = words_of(likeness.made_like(geometry, geometry.size, Need()))
    assert [word for word in ("-i exchange=1", "-n parent=1", "~-m metadir=0") if word not in words] == []


def test_an_unclean_ext_is_made_without_what_is_passing() -> None:
    text = text_of("ext4").replace("filetype extent", "filetype needs_recovery extent orphan_present")
    made = likeness.made_like(likeness.parsed("ext4", text, b"", UUID), 64 * MIB, Need())
    assert "needs_recovery" not in made.arguments[made.arguments.index("-O") + 1]
    assert "orphan_present" not in made.arguments[made.arguments.index("-O") + 1]


def test_a_resized_clone_keeps_its_ratios() -> None:
    geometry = geometry_of("ext4-big")
    half = likeness.made_like(geometry, geometry.size // 2, Need())
    assert half.inodes == 13107200 // 2
    assert "-r 1310720" in words_of(half)
    small = likeness.made_like(geometry, GIB, Need(files=100_000))
    assert small.inodes >= 105_000
    assert "-J size=32" in words_of(small), "the journal of 1 GiB would be all of it"


def test_a_smaller_xfs_may_have_more_of_its_space_as_inodes() -> None:
    geometry = geometry_of("xfs-big")
    assert "-i maxpct=5" in words_of(likeness.made_like(geometry, GIB, Need(files=1000)))
    made = likeness.made_like(geometry, GIB, Need(files=1_000_000))
    assert "-i maxpct=51" in words_of(made) or "-i maxpct=50" in words_of(made)


@pytest.mark.parametrize("name", WORDS)
def test_two_equal_file_systems_have_no_differences_and_one_with_another_label_has(name: str) -> None:
    geometry = geometry_of(name)
    assert likeness.differences(geometry, geometry) == []
    other = likeness.parsed(geometry.type, text_of(name), b"another", UUID)
    assert likeness.differences(geometry, other) == ["label : b'a label', b'another'"] or likeness.differences(
        geometry, other
    ) == ["label: b'a label', b'another'"]


@pytest.mark.parametrize("name", WORDS)
def test_the_smallest_clone_grows_with_what_is_in_it(name: str) -> None:
    geometry = geometry_of(name)
    few = Need(files=100, entries=100, directories=1, blocks=100 * 4096, data=100_000, name_bytes=1000)
    sizes = [
        likeness.smallest_like(geometry, need) for need in (Need(), few, few.plus(few), Need(blocks=GIB, data=GIB))
    ]
    assert sizes == sorted(sizes)
    assert GIB < sizes[-1] < GIB * (3 if "dup" in geometry.fields.get("data profile", "") else 2)


@pytest.mark.parametrize("name", WORDS)
def test_a_clone_of_the_same_size_holds_what_its_source_holds_however_full_that_is(name: str) -> None:
    geometry = geometry_of(name)
    full = Need(files=1, entries=1, blocks=geometry.size - MIB, data=geometry.size - MIB)
    assert likeness.smallest_like(geometry, full) == geometry.size
    assert likeness.made_like(geometry, geometry.size, full).held
    assert not likeness.made_like(geometry, geometry.size - MIB, full).held


def swap_header(page: int, order: str = "<", signature: bytes = b"SWAPSPACE2", label: bytes = b"sw") -> bytes:
    import struct

    header = bytearray(65536)
    struct.pack_into(f"{order}III16s16s", header, 1024, 1, 255, 0, bytes(range(16)), label)
    header[page - 10 : page - 10 + len(signature)] = signature
    return bytes(header)


@pytest.mark.parametrize("page", [4096, 16384, 65536])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_swap_area_says_its_page_label_and_uuid(page: int, order: str) -> None:
    found = parse_swap(swap_header(page, order))
    assert found is not None
    assert (found.block, found.label, found.size) == (page, b"sw", 256 * page)
    assert found.uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert "hibernated" not in found.fields


def test_a_swap_area_with_a_sleeping_system_is_known() -> None:
    found = parse_swap(swap_header(4096, signature=b"S1SUSPEND\0"))
    assert found is not None
    assert found.fields["hibernated"] == "yes"
    assert parse_swap(bytes(65536)) is None
    assert parse_swap(b"") is None
