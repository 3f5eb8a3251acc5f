"""How big new file systems are, and what is said of their labels. That trees fit: test_sizing.py, one folder up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.rules.sizes import GIB, MIB, content, file_system_for, smallest
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need

COUNTS = st.integers(0, 1_000_000_000)
TYPES = st.sampled_from(sizes.TYPES)


@st.composite
def needs(draw: st.DrawFn) -> Need:
    files, directories, symlinks = draw(COUNTS), draw(COUNTS), draw(st.integers(0, 1_000_000))
    data = draw(st.integers(0, 1 << 60))
    names = draw(st.integers(1, 255)) * (files + directories + symlinks)
    return Need(
        files=files,
        directories=directories,
        symlinks=symlinks,
        long_symlinks=draw(st.integers(0, symlinks)),
        entries=files + directories + symlinks,
        blocks=data + 4096 * files,
        data=data,
        name_bytes=names,
        directory_blocks=4096 * directories + 2 * names,
    )


@given(TYPES, needs(), needs())
def test_more_never_needs_less(kind: str, one: Need, more: Need) -> None:
    assert smallest(kind, one).bytes <= smallest(kind, one.plus(more)).bytes


@given(TYPES, needs())
def test_an_image_is_of_whole_mib_and_bigger_than_what_it_takes(kind: str, need: Need) -> None:
    made = smallest(kind, need)
    assert made.bytes % MIB == 0
    assert made.bytes > sizes.taken(made, need)[0]
    assert made.bytes >= need.blocks
    if kind == "ext4":
        assert made.inodes > need.inodes


@given(TYPES, st.integers(0, 10_000_000), st.integers(1, 1 << 40))
def test_files_of_some_size_waste_no_more_than_a_tenth_and_80_mib(kind: str, files: int, data: int) -> None:
    """xfs has 300 MiB at least. The bytes of names and their entries are small beside these."""
    need = Need(files=files, entries=files, blocks=data + 4096 * files, data=data, directories=1, name_bytes=8 * files)
    need = need.plus(Need(directory_blocks=4096 + 2 * 16 * files))
    most = content(need) * 11 // 10 + 80 * MIB
    assert smallest(kind, need).bytes <= (max(most, 300 * MIB) if kind == "xfs" else most)
    assert sizes.most_bytes(kind, need) == (max(most, 300 * MIB) if kind == "xfs" else most)


@given(TYPES, needs(), st.integers(0, 1 << 50), st.integers(0, 1 << 40))
def test_one_that_lacked_something_is_made_bigger(kind: str, need: Need, free: int, inodes: int) -> None:
    made = smallest(kind, need)
    lacks = sizes.missing(made, need, free, inodes)
    wanted, wanted_inodes = sizes.taken(made, need)
    assert (lacks == (0, 0)) == (free >= wanted and inodes >= wanted_inodes)
    again = sizes.bigger(made, lacks)
    assert again.bytes >= made.bytes + lacks[0] + MIB
    assert (again.type, again.optional) == (made.type, made.optional)
    if kind == "ext4":
        assert again.inodes >= made.inodes + lacks[1]
        assert str(again.inodes) in again.arguments


@given(TYPES, st.integers(16 * MIB, 1 << 60), st.integers(0, 1 << 60))
def test_an_image_grows_by_what_it_lacks_and_by_an_eighth(kind: str, size: int, lacks: int) -> None:
    grown = sizes.grown(kind, size, lacks)
    assert grown >= size + max(lacks, size // 8)
    assert grown % MIB == 0
    assert kind != "btrfs" or grown >= 256 * MIB, "Linux refuses to resize one to less"


def test_the_type_of_an_image_is_what_was_asked_or_xfs_from_one_gib_on() -> None:
    small, big = Need(blocks=GIB - 1), Need(blocks=GIB)
    assert file_system_for(small, "auto", True) == "ext4"
    assert file_system_for(big, "auto", True) == "xfs"
    assert file_system_for(big, "auto", False) == "ext4"
    assert file_system_for(small, "btrfs", True) == "btrfs"


def test_ext4_has_blocks_of_4096_bytes_no_reserve_and_a_journal_by_its_size() -> None:
    """mke2fs makes blocks of 1 KiB below 512 MiB."""
    for blocks, journal in ((0, 4), (200 * MIB, 16), (2 * GIB, 64), (20 * GIB, 128), (200 * GIB, 1024)):
        words = smallest("ext4", Need(blocks=blocks)).arguments
        assert words[:6] == ("-b", "4096", "-I", "256", "-m", "0")
        assert words[words.index("-J") + 1] == f"size={journal}"


def test_xfs_may_be_nothing_but_inodes() -> None:
    """mkfs.xfs lets a quarter of the space be inodes."""
    assert "maxpct=100" in smallest("xfs", Need(files=10_000_000, entries=10_000_000)).arguments
    assert smallest("xfs", Need(files=10_000, entries=10_000)).arguments == ()


def test_words_for_mkfs_come_last_and_the_label_before_them() -> None:
    made = smallest("btrfs", Need(), "lab", ["-m", "dup"])
    assert made.arguments == ("-m", "single", "-L", "lab", "-m", "dup")
    need = Need(files=100_000, entries=100_000)
    assert sizes.taken(made, need)[0] == 2 * sizes.taken(smallest("btrfs", Need()), need)[0], "the last word counts"


def test_small_blocks_take_less_for_small_files() -> None:
    """A file of 500 bytes takes 1 KiB where blocks have that, and not 4."""
    need = Need(files=10_000, entries=10_000, blocks=10_000 * 4096, data=10_000 * 500)
    usual = sizes.taken("ext4", need)[0]
    assert sizes.taken(MakeFileSystem("ext4", 0, ("-b", "1024", "-O", "none,extent")), need)[0] < usual / 2
    assert sizes.taken(MakeFileSystem("ext2", 0, ("-b", "1024", "-O", "none")), need)[0] < usual / 2
    assert sizes.taken(MakeFileSystem("ext4", 0, ("-b", "4096", "-C", "16384")), need)[0] > usual
    assert sizes.taken(MakeFileSystem("xfs", 0, ("-b", "size=1024")), need)[0] < sizes.taken("xfs", need)[0] / 2


def test_what_held_the_tree_before_lacks_nothing_that_is_only_estimated() -> None:
    need = Need(files=10, entries=10, blocks=100 * MIB, data=90 * MIB)
    made = MakeFileSystem("ext4", 128 * MIB)
    assert sizes.missing(made, need, 95 * MIB, 100) != (0, 0)
    assert sizes.missing(replace(made, held=True), need, 95 * MIB, 100) == (0, 0)
    assert sizes.missing(replace(made, held=True), need, 80 * MIB, 5) == (10 * MIB, 5)


@pytest.mark.parametrize(("kind", "most"), [("ext4", 16), ("xfs", 12), ("btrfs", 255)])
def test_a_label_that_is_too_long_or_no_line_is_refused(kind: str, most: int) -> None:
    smallest(kind, Need(), "x" * most)
    for label in ("x" * (most + 1), "ä" * (most // 2 + 1)):
        with pytest.raises(UsageError, match=f"{kind} stores {most} at most"):
            smallest(kind, Need(), label)
    for label in ("a\nb", "a\0b"):
        with pytest.raises(UsageError, match="a line break or a NUL"):
            smallest(kind, Need(), label)


@given(st.integers(64, 1 << 20), needs())
def test_a_volume_has_the_size_that_was_asked_and_inodes_for_its_tree(mib: int, need: Need) -> None:
    for kind in sizes.TYPES:
        made: MakeFileSystem = sizes.of_size(kind, mib * MIB, need, "lab")
        assert made.bytes == mib * MIB
        assert made.arguments[-2:] == ("-L", "lab")
        if kind == "ext4":
            assert int(made.arguments[made.arguments.index("-N") + 1]) == made.inodes
